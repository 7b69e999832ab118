"""An organisation with one of everything, made through the API, each name and secret a canary."""

import secrets
from dataclasses import dataclass, field
from typing import Any

from tests.contracts.tenants.asking import Site, Told, cookie
from tests.contracts.tenants.issuer import Issuer

AUDIENCE = "api://mainstay"


@dataclass
class Tenant:
    """What was made, by the name that addresses have for it, and every credential of it."""

    letter: str
    organisation_id: str
    ids: dict[str, str] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    """Credential -> the headers of a request with it."""
    keys: dict[str, str] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    """What may appear nowhere but where it was handed out."""

    @property
    def canary(self) -> str:
        """Part of every name."""
        return f"canary-{self.letter}-{self.letter * 6}"


class Builder:
    """Makes an organisation."""

    def __init__(self, site: Site, operator_key: str, issuer: Issuer) -> None:
        self._site = site
        self._operator = {"authorization": f"Bearer {operator_key}"}
        self._issuer = issuer

    def make(self, letter: str) -> Tenant:
        """Make one of everything in an organisation of its own."""
        made = self._create(
            "/admin/v1/organisations",
            {"name": f"Organisation {letter}", "owner": {"email": f"owner@{letter}.example", "name": "Owner"}},
            self._operator,
        )
        tenant = Tenant(letter, made["id"])
        tenant.ids |= {"organisation": made["id"], "project": made["project_id"], "owner": made["owner_id"]}
        self._sign_in(tenant)
        self._people(tenant)
        self._permissions(tenant)
        self._models(tenant)
        self._sign_in_settings(tenant)
        self._keys(tenant)
        return tenant

    def _sign_in(self, tenant: Tenant) -> None:
        inside = self._operator | {"x-mainstay-organisation": tenant.organisation_id}
        for name in ("owner", "spare"):
            link = self._create(f"/admin/v1/users/{tenant.ids['owner']}/sign_in_links", None, inside)
            token = link["url"].partition("token=")[2]
            told = self._site.ask("POST", "/auth/link", {"origin": self._site.url}, {"token": token})
            assert told.status == 201, told.body
            value = told.headers["set-cookie"].partition("=")[2].partition(";")[0]
            tenant.secrets += [token, value]
            if name == "owner":
                tenant.headers["cookie"] = cookie(value, self._site.url)
            else:
                found = self._site.ask("GET", "/admin/v1/sessions", tenant.headers["cookie"]).json["data"]
                tenant.ids["session"] = found[-1]["id"]

    def _people(self, tenant: Tenant) -> None:
        named, root = tenant.canary, "/admin/v1"
        user = {"email": f"{named}@{tenant.letter}.example", "name": named, "role": "role_member"}
        self._make(tenant, "user", f"{root}/users", user)
        self._make(tenant, "group", f"{root}/groups", {"name": named})
        self._post(tenant, f"{root}/groups/{tenant.ids['group']}/members", {"member_ids": [tenant.ids["user"]]})
        tenant.ids["member"] = tenant.ids["user"]
        account = {"name": named, "project_id": tenant.ids["project"]}
        self._make(tenant, "service_account", f"{root}/service_accounts", account)

    def _permissions(self, tenant: Tenant) -> None:
        ids, root = tenant.ids, "/admin/v1"
        self._make(tenant, "role", f"{root}/roles", {"name": tenant.canary, "actions": ["projects:read"]})
        self._make(tenant, "binding", f"{root}/bindings", {"principal_id": ids["user"], "role_id": ids["role"]})
        bound = {"principal_id": ids["group"], "role_id": "role_builder"}
        self._make(tenant, "project_binding", f"{root}/projects/{ids['project']}/bindings", bound)
        member = {"principal_id": ids["user"], "role_id": "role_member"}
        self._post(tenant, f"{root}/projects/{ids['project']}/bindings", member)
        grant = {"resource_type": "project", "resource_id": ids["project"], "principal_id": ids["group"]}
        self._make(tenant, "grant", f"{root}/grants", grant | {"level": "viewer"})
        policy = {"scope_type": "group", "scope_id": ids["group"], "key": "keys.max_lifetime_days", "value": 365}
        self._make(tenant, "policy", f"{root}/policies", policy)

    def _models(self, tenant: Tenant) -> None:
        root, secret = "/admin/v1", f"vendor-secret-{tenant.letter}-{secrets.token_hex(8)}"
        tenant.secrets.append(secret)
        provider = {"name": tenant.canary, "kind": "openai", "base_url": "http://127.0.0.1:9/v1", "api_key": secret}
        self._make(tenant, "provider", f"{root}/providers", provider)
        targets = [{"provider": tenant.canary, "model": "any"}]
        self._make(tenant, "deployment", f"{root}/deployments", {"name": tenant.canary, "targets": targets})
        scope = {"type": "user", "id": tenant.ids["user"]}
        self._make(tenant, "limit", f"{root}/limits", {"scope": scope, "requests_per_minute": 1000})
        self._make(tenant, "budget", f"{root}/budgets", {"scope": scope, "period": "month", "tokens": 10**9})
        hook = {"name": tenant.canary, "url": "http://127.0.0.1:9/hook"}
        made = self._make(tenant, "webhook", f"{root}/audit/webhooks", hook)
        tenant.secrets.append(made["secret"])

    def _sign_in_settings(self, tenant: Tenant) -> None:
        root, secret = "/admin/v1", f"client-secret-{tenant.letter}-{secrets.token_hex(8)}"
        tenant.secrets.append(secret)
        provider = {
            "name": tenant.canary,
            "issuer": self._issuer.url,
            "client_id": f"client-{tenant.letter}",
            "client_secret": secret,
            "settings": {
                "api_tokens": {"audiences": [f"{AUDIENCE}-{tenant.letter}"], "scopes": ["inference", "admin"]}
            },
        }
        path = f"{root}/identity_providers"
        self._make(tenant, "identity_provider", path, provider)
        identity = {"subject": f"subject-{tenant.letter}", "user_id": tenant.ids["user"]}
        self._post(tenant, f"{path}/{tenant.ids['identity_provider']}/identities", identity)
        self._make(tenant, "domain", f"{root}/domains", {"name": f"{tenant.canary}.example"})
        good = self._issuer.token(f"subject-{tenant.letter}", aud=f"{AUDIENCE}-{tenant.letter}")
        foreign = self._issuer.token(f"subject-{tenant.letter}", aud="api://another")
        tenant.headers["token"] = {"authorization": f"Bearer {good}"}
        tenant.headers["token for another"] = {"authorization": f"Bearer {foreign}"}

    def _keys(self, tenant: Tenant) -> None:
        for name, more in (
            ("admin", {"scopes": ["admin"]}),
            ("inference", {"scopes": ["inference"]}),
            ("scim", {"scopes": ["scim"]}),
            ("revoked", {"scopes": ["admin"]}),
            ("elsewhere", {"scopes": ["admin"], "networks": ["192.0.2.0/24"]}),
            ("spare", {"scopes": ["inference"]}),
        ):
            body = {"name": f"{tenant.canary} {name}", "project_id": tenant.ids["project"]} | more
            made = self._post(tenant, "/admin/v1/keys", body).json
            tenant.keys[name] = made["value"]
            tenant.secrets.append(made["value"])
            tenant.headers[name] = {"authorization": f"Bearer {made['value']}"}
            if name == "revoked":
                told = self._site.ask("DELETE", f"/admin/v1/keys/{made['id']}", tenant.headers["cookie"])
                assert told.status == 200, told.body
            if name == "spare":
                tenant.ids["key"] = made["id"]
            if name == "elsewhere":
                tenant.ids["admin_key"] = made["id"]
        mine = self._post(tenant, "/admin/v1/my/keys", {"name": tenant.canary}).json
        tenant.secrets.append(mine["value"])
        tenant.ids["my_key"] = mine["id"]

    def _make(self, tenant: Tenant, name: str, path: str, body: Any) -> dict[str, Any]:
        made = self._post(tenant, path, body).json
        tenant.ids[name] = made["id"]
        return made

    def _post(self, tenant: Tenant, path: str, body: Any) -> Told:
        told = self._site.ask("POST", path, tenant.headers["cookie"], body)
        assert told.status in {200, 201}, (path, told.status, told.body)
        return told

    def _create(self, path: str, body: Any, headers: dict[str, str]) -> dict[str, Any]:
        told = self._site.ask("POST", path, headers, body)
        assert told.status == 201, (path, told.status, told.body)
        return told.json
