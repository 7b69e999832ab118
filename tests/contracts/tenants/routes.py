"""The routes of the published document, and the address of each for a tenant's things."""

import re
from dataclasses import dataclass
from typing import Any

from tests.contracts.tenants.samples import bodies
from tests.contracts.tenants.world import Tenant

_PARAMETER = re.compile(r"\{(\w+)\}")
_MODEL_CALL = re.compile(r"/(chat/completions|completions|embeddings)$")
_SHARED = {"rest": "x", "model": "", "event": "1"}


@dataclass(frozen=True)
class Route:
    """One method on one address."""

    method: str
    path: str
    action: str
    has_body: bool

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def parameters(self) -> list[str]:
        return _PARAMETER.findall(self.path)

    @property
    def is_of_all(self) -> bool:
        """Whether the address names nothing that belongs to a tenant."""
        # Audit events are numbered for each organisation: 1 is the caller's own first.
        is_shared = any(part in self.path for part in ("/Schemas/", "/ResourceTypes/", "/audit/events/"))
        return is_shared or not set(self.parameters) - {"rest", "model", "deployment"}

    def address(self, tenant: Tenant) -> str:
        """Return the address of this tenant's things."""
        filled = _PARAMETER.sub(lambda found: self._id(found[1], tenant), self.path)
        if "/oidc/" in filled:
            return filled
        return filled + ("?api-version=2024-10-21" if filled.startswith("/openai/") else "")

    def body(self, tenant: Tenant) -> Any:
        """Return a good body that names this tenant's things."""
        if self.method in {"GET", "DELETE"}:
            return None
        if _MODEL_CALL.search(self.path):
            return bodies(tenant)["chat"] | {"prompt": "x", "input": "x"}
        known = bodies(tenant)
        assert str(self) in known or not self.has_body, f"{self} takes a body; add a good one to samples.py"
        return known.get(str(self))

    def _id(self, name: str, tenant: Tenant) -> str:
        ids = tenant.ids
        if name == "id":
            kind = self.path.split("/")[3]
            return {"Users": ids["user"], "Groups": ids["group"]}.get(kind, "User")
        if name == "deployment":
            return ids["deployment"] if self.path.startswith("/admin") else tenant.canary
        if name == "model":
            return tenant.canary
        if name == "binding" and "/projects/" in self.path:
            return ids["project_binding"]
        if name == "key" and "/my/" in self.path:
            return ids["my_key"]
        if name == "provider" and "/oidc/" in self.path:
            return ids["identity_provider"]
        return ids.get(name) or _SHARED[name]


def read_routes(document: dict[str, Any]) -> list[Route]:
    """Return every route of the published document."""
    return [
        Route(method.upper(), path, operation["x-action"], "requestBody" in operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
