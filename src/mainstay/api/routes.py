"""The route table's type, and finding the route of a request.

One table feeds dispatch, the published OpenAPI document and the authorisation tests.
"""

import difflib
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote

from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.kit.errors import MainstayError, NotFoundError
from mainstay.platform.identity.actions import Action

_SHOWN_PATH = 100
_NOT_SERVED = (
    "responses",
    "conversations",
    "files",
    "uploads",
    "batches",
    "moderations",
    "vector_stores",
    "audio",
    "images",
    "fine_tuning",
    "evals",
    "realtime",
    "messages",
)
"""APIs of the vendors that callers know and this version does not have."""

Handler = Callable[[Exchange], Awaitable[None]]


class RouteGroup(Protocol):
    """The addresses of one area, and what handles them."""

    def routes(self, dialect: Dialect) -> "Iterable[Route]":
        """Yield every route of the area."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method on one path.

    `path` may hold parameters: `{name}` is one segment, `{name:path}` the rest. `request` and `response` are
    msgspec types for the published document; `streams` says that the answer may be server-sent events.
    """

    method: str
    path: str
    action: Action
    dialect: Dialect
    handler: Handler
    summary: str
    request: type | None = None
    response: type | None = None
    streams: bool = False
    project: str = ""
    """The parameter that names a project, if there is one: whoever has the action there may pass."""
    is_narrowed: bool = False
    """Whoever has the action somewhere may pass: the handler shows what he may see, and checks what a body names."""
    status: int = 200
    """Of a success."""
    query: tuple[str, ...] = ()
    is_visit_that_changes: bool = False
    """Whether a GET changes something, as coming back from an identity provider does."""

    @property
    def changes_something(self) -> bool:
        """Whether a success must be in force before it is told of."""
        return self.method != "GET" or self.is_visit_that_changes


class Router:
    """Finds routes: a dictionary for the fixed paths, one expression each for the others."""

    def __init__(self, routes: Iterable[Route], fallback: Dialect, azure: Dialect) -> None:
        self.routes = tuple(routes)
        self._fixed: dict[str, dict[str, Route]] = {}
        patterns: dict[str, dict[str, Route]] = {}
        for route in self.routes:
            table = patterns if "{" in route.path else self._fixed
            table.setdefault(route.path, {})[route.method] = route
        self._patterns = [(_expression(path), methods) for path, methods in patterns.items()]
        self._fallback = fallback
        self._dialects = {"openai": azure}
        for route in self.routes:
            self._dialects.setdefault(_area(route.path), route.dialect)

    def find(self, method: str, path: str, raw_path: bytes) -> tuple[Route, Mapping[str, str]]:
        """Return the route and its parameters. Raises NotFoundError, or status 405 for the wrong method.

        Parameters are matched on the undecoded path, so that `%2F` in a name stays inside it.
        """
        methods = self._fixed.get(path)
        parameters: Mapping[str, str] = {}
        if methods is None:
            methods, parameters = self._match(raw_path)
        route = methods.get(method) or (methods.get("GET") if method == "HEAD" else None)
        if route is not None:
            return route, parameters
        if methods:
            allowed = ", ".join(sorted(methods))
            raise MainstayError(
                f"{method} is not possible on {path}; it takes {allowed}.",
                status=405,
                type="invalid_request_error",
                code="method_not_allowed",
            )
        raise NotFoundError(
            f"{method} {path[:_SHOWN_PATH]} is not an address of this service.{self._hint(path)} Base URLs end in /v1 "
            "(OpenAI), /openai/v1 or /openai/deployments/NAME (Azure OpenAI); /openapi.json lists all.",
            code="unknown_url",
        )

    def dialect_of(self, path: str) -> Dialect:
        """The dialect in which to speak of a path that has no route."""
        return self._dialects.get(_area(path), self._fallback)

    def _hint(self, path: str) -> str:
        if any(f"/{name}" in path for name in _NOT_SERVED):
            return " This version serves chat completions, completions, embeddings and models."
        close = difflib.get_close_matches(path, self._fixed, n=1, cutoff=0.85) if len(path) <= _SHOWN_PATH else []
        return f" Did you mean {close[0]}?" if close else ""

    def _match(self, raw_path: bytes) -> tuple[dict[str, Route], Mapping[str, str]]:
        path = raw_path.decode("ascii", "replace")
        for expression, methods in self._patterns:
            found = expression.fullmatch(path)
            if found is not None:
                return methods, {name: unquote(value) for name, value in found.groupdict().items()}
        return {}, {}


def _area(path: str) -> str:
    """The first segment of a path: what is below it speaks one dialect."""
    return path.lstrip("/").partition("/")[0]


def _expression(path: str) -> re.Pattern[str]:
    escaped = re.escape(path).replace(r"\{", "{").replace(r"\}", "}")
    escaped = re.sub(r"\{(\w+):path\}", r"(?P<\1>.+)", escaped)
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", escaped))
