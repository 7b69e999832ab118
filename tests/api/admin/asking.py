"""Asks administration's routes without a network: one caller, one request, the whole answer."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import msgspec

from mainstay.api.dialects import AzureDialect, Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.routes import Route, RouteGroup, Router
from mainstay.kit.errors import MainstayError
from mainstay.platform.identity.caller import Caller, Scope

_DIALECT, _AZURE = Dialect("here"), AzureDialect("here")


@dataclass(frozen=True)
class Told:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def message(self) -> str:
        return self.json["error"]["message"]


def caller_of(organisation_id: str, **more: Any) -> Caller:
    """Return an administrator's key."""
    return Caller(
        **({"key_id": "key_1", "project_id": "proj_1", "scopes": frozenset({Scope.ADMIN})} | more),
        organisation_id=organisation_id,
    )


class Asking:
    """The routes of some areas."""

    def __init__(self, groups: Iterable[RouteGroup]) -> None:
        self.routes: list[Route] = [route for group in groups for route in group.routes(_DIALECT)]
        self._router = Router(self.routes, _DIALECT, _AZURE)

    async def __call__(
        self, caller: Caller, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Told:
        """Send a request; `body` is sent as JSON, bytes as they are."""
        path, _, query = path.partition("?")
        sent: list[dict[str, Any]] = []
        content = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        scope = {
            "method": method,
            "path": unquote(path),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
            "client": ("192.0.2.1", 1),
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        exchange = Exchange(scope, receive, send, body_limit=1 << 20)
        exchange.request_id = "req_1"
        exchange.dialect = _DIALECT
        exchange.caller = caller
        try:
            route, exchange.parameters = self._router.find(method, scope["path"], path.encode())
            await route.handler(exchange)
        except MainstayError as error:
            await exchange.fail(error)
        head = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Told(sent[0]["status"], head, b"".join(message["body"] for message in sent[1:]))
