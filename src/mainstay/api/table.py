"""The route table: every address of the service, in one list."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace

from mainstay.api.dialects import AzureDialect, Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.health import Health, Readiness
from mainstay.api.model_calls import ModelCalls
from mainstay.api.model_list import ModelLists
from mainstay.api.openapi import OpenApi
from mainstay.api.retired import RETIRED, refuse_retired
from mainstay.api.routes import Handler, Route, RouteGroup
from mainstay.api.usage import KNOWN as USAGE_KNOWN
from mainstay.api.usage import OF_PROJECT as USAGE_OF_PROJECT
from mainstay.api.usage import UsageReports
from mainstay.inference import Operation
from mainstay.platform.identity.actions import Action
from mainstay.platform.metering.usage import UsageReport
from mainstay.protocol.chat import ChatCompletion, ChatCompletionRequest
from mainstay.protocol.completions import Completion, CompletionRequest
from mainstay.protocol.embeddings import EmbeddingList, EmbeddingRequest
from mainstay.protocol.models import Model, ModelList


@dataclass(frozen=True, slots=True)
class Handlers:
    """What the routes are handled by."""

    model_calls: ModelCalls
    model_lists: ModelLists
    usage: UsageReports
    health: Health
    openapi: OpenApi
    groups: tuple[RouteGroup, ...] = ()
    """Administration, sign-in and provisioning, area by area."""
    settle: Callable[[], Awaitable[None]] | None = None
    """Puts in force, in every worker, what such a route has written."""


@dataclass(frozen=True, slots=True)
class _ModelCall:
    operation: Operation
    path: str
    summary: str
    request: type
    response: type


_MODEL_CALLS = (
    _ModelCall(Operation.CHAT, "/chat/completions", "Answer a conversation.", ChatCompletionRequest, ChatCompletion),
    _ModelCall(Operation.COMPLETIONS, "/completions", "Continue or fill in a text.", CompletionRequest, Completion),
    _ModelCall(Operation.EMBEDDINGS, "/embeddings", "Embed texts as vectors.", EmbeddingRequest, EmbeddingList),
)
_OPENAI_BASES = ("/v1", "")
_AZURE_V1_BASE = "/openai/v1"
_AZURE_CLASSIC = "/openai"
_AZURE_DEPLOYMENT = "/openai/deployments/{deployment}"
_API_VERSION = ("api-version",)


def build_routes(handlers: Handlers, openai: Dialect, azure: AzureDialect) -> Iterator[Route]:
    """Yield every route."""
    yield from _operational(handlers, openai)
    for group in handlers.groups:
        for route in group.routes(openai):
            yield route if handlers.settle is None else settled(route, handlers.settle)
    for base in _OPENAI_BASES:
        yield from _model_routes(base, handlers, openai)
    yield from _model_routes(_AZURE_V1_BASE, handlers, azure)
    yield from _classic_routes(handlers, azure)
    for base, dialect in (("/v1", openai), (_AZURE_V1_BASE, azure), (_AZURE_CLASSIC, azure)):
        yield from _retired_routes(base, dialect)


def settled(route: Route, settle: Callable[[], Awaitable[None]]) -> Route:
    """Return the route, made to tell of a change only when it is in force: whoever reads it can rely on it."""
    if not route.changes_something:
        return route
    handler = route.handler

    async def handle(exchange: Exchange) -> None:
        exchange.before_success = settle
        await handler(exchange)

    return replace(route, handler=handle)


def _model_routes(base: str, handlers: Handlers, dialect: Dialect) -> Iterator[Route]:
    yield from _call_routes(base, dialect, handlers.model_calls.handler)
    lists = handlers.model_lists
    yield _list_route(base + "/models", dialect, lists.list, ModelList)
    yield _list_route(base + "/models/{model:path}", dialect, lists.show, Model)


def _classic_routes(handlers: Handlers, azure: Dialect) -> Iterator[Route]:
    yield from _call_routes(_AZURE_DEPLOYMENT, azure, handlers.model_calls.classic_handler, _API_VERSION)
    lists = handlers.model_lists
    for path in ("/models", "/deployments"):
        yield _list_route(_AZURE_CLASSIC + path, azure, lists.list_classic, ModelList, query=_API_VERSION)
    yield _list_route(_AZURE_CLASSIC + "/models/{model}", azure, lists.show, Model, query=_API_VERSION)


def _call_routes(
    base: str, dialect: Dialect, handler_of: Callable[[Operation], Handler], query: tuple[str, ...] = ()
) -> Iterator[Route]:
    for call in _MODEL_CALLS:
        yield Route(
            method="POST",
            path=base + call.path,
            action=Action.CALL_MODEL,
            dialect=dialect,
            handler=handler_of(call.operation),
            summary=call.summary,
            request=call.request,
            response=call.response,
            streams=call.operation is not Operation.EMBEDDINGS,
            query=query,
        )


def _list_route(path: str, dialect: Dialect, handler: Handler, response: type, *, query: tuple[str, ...] = ()) -> Route:
    return Route(
        method="GET",
        path=path,
        action=Action.READ_MODELS,
        dialect=dialect,
        handler=handler,
        summary="The deployments that the key may use.",
        response=response,
        query=query,
    )


def _operational(handlers: Handlers, openai: Dialect) -> Iterator[Route]:
    health = handlers.health
    for path, handler, summary, response in (
        ("/livez", health.live, "Is the process alive?", None),
        ("/readyz", health.ready, "Can calls be answered?", Readiness),
        ("/openapi.json", handlers.openapi.show, "This document.", None),
    ):
        yield Route(
            method="GET",
            path=path,
            action=Action.PUBLIC,
            dialect=openai,
            handler=handler,
            summary=summary,
            response=response,
        )
    yield Route(
        method="GET",
        path="/metrics",
        action=Action.READ_METRICS,
        dialect=openai,
        handler=health.metrics,
        summary="Prometheus metrics.",
    )
    for path, handler, project, query in (
        ("/admin/v1/usage", handlers.usage.show, "", USAGE_KNOWN),
        ("/admin/v1/projects/{project}/usage", handlers.usage.show_project, "project", USAGE_OF_PROJECT),
    ):
        yield Route(
            method="GET",
            path=path,
            action=Action.READ_USAGE,
            dialect=openai,
            handler=handler,
            summary="Calls, tokens and cost by key, user, model, day and more.",
            response=UsageReport,
            project=project,
            query=query,
        )


def _retired_routes(base: str, dialect: Dialect) -> Iterator[Route]:
    for name in RETIRED:
        for method in ("GET", "POST", "DELETE"):
            for tail in ("", "/{rest:path}"):
                yield Route(
                    method=method,
                    path=f"{base}/{name}{tail}",
                    action=Action.PUBLIC,
                    dialect=dialect,
                    handler=refuse_retired,
                    summary=RETIRED[name],
                )
