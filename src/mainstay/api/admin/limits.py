"""`/admin/v1/limits`: requests and tokens per minute of organisations, projects, groups, users and keys."""

from collections.abc import Iterator
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.admin.requests import Body, Patch, act_of, expected_version, page_request, query, read
from mainstay.api.admin.responses import Deleted, ListOf, show, show_page
from mainstay.api.admin.times import seconds
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.routes import Route
from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.identity.actions import Action
from mainstay.platform.metering.limit_store import Limit, Limits
from mainstay.platform.metering.scope_refs import ScopeRef, ScopeType

_PATH = "/admin/v1/limits"
_ONE = _PATH + "/{limit}"
_OF_PROJECT = "/admin/v1/projects/{project}/limits"
_PAGE = ("limit", "after", "order")


class LimitBody(Body, frozen=True, kw_only=True):
    """A limit for all that a scope does together; 0 lets nothing pass."""

    scope: ScopeRef
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


class LimitPatch(Patch, frozen=True, kw_only=True):
    """What of a limit shall be otherwise; null lifts it."""

    requests_per_minute: int | UnsetType | None = UNSET
    tokens_per_minute: int | UnsetType | None = UNSET


class LimitObject(msgspec.Struct, frozen=True, kw_only=True):
    """A limit; null is none."""

    id: str
    object: Literal["limit"] = "limit"
    scope: ScopeRef
    requests_per_minute: int | None
    tokens_per_minute: int | None
    created_at: int
    version: int


class LimitRoutes:
    """Administration of limits."""

    def __init__(self, limits: Limits, idempotency: Idempotency) -> None:
        self._limits = limits
        self._idempotency = idempotency

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        yield Route(
            method="GET",
            path=_PATH,
            action=Action.READ_LIMITS,
            dialect=dialect,
            handler=self._list,
            summary="The limits, of one scope or all.",
            response=ListOf[LimitObject],
            query=(*_PAGE, *SCOPE_FILTERS),
        )
        yield Route(
            method="GET",
            path=_OF_PROJECT,
            action=Action.READ_LIMITS,
            dialect=dialect,
            handler=self._list_of_project,
            summary="The limit of a project.",
            response=ListOf[LimitObject],
            project="project",
            query=_PAGE,
        )
        yield Route(
            method="POST",
            path=_PATH,
            action=Action.WRITE_LIMITS,
            dialect=dialect,
            handler=self._idempotency.of(self._create),
            summary="Limit what a scope does in a minute.",
            request=LimitBody,
            response=LimitObject,
            status=201,
        )
        for method, action, handler, summary, request, response in (
            ("GET", Action.READ_LIMITS, self._show, "One limit.", None, LimitObject),
            ("PATCH", Action.WRITE_LIMITS, self._update, "Change a limit.", LimitPatch, LimitObject),
            ("DELETE", Action.WRITE_LIMITS, self._delete, "Lift a limit.", None, Deleted),
        ):
            yield Route(
                method=method,
                path=_ONE,
                action=action,
                dialect=dialect,
                handler=handler,
                summary=summary,
                request=request,
                response=response,
            )

    async def _list(self, exchange: Exchange) -> None:
        page, asked = page_request(exchange, *SCOPE_FILTERS)
        scope_type, scope_id = scope_asked(asked)
        found = await self._limits.list(exchange.caller.organisation_id, page, scope_type=scope_type, scope_id=scope_id)
        await show_page(exchange, found, _shown)

    async def _list_of_project(self, exchange: Exchange) -> None:
        page, _ = page_request(exchange)
        found = await self._limits.list(
            exchange.caller.organisation_id,
            page,
            scope_type=ScopeType.PROJECT,
            scope_id=exchange.parameters["project"],
        )
        await show_page(exchange, found, _shown)

    async def _create(self, exchange: Exchange) -> None:
        body = await read(exchange, LimitBody)
        limit = await self._limits.create(
            act_of(exchange),
            exchange.caller.organisation_id,
            body.scope,
            requests_per_minute=body.requests_per_minute,
            tokens_per_minute=body.tokens_per_minute,
        )
        await show(exchange, _shown(limit), version=limit.version, status=201)

    async def _show(self, exchange: Exchange) -> None:
        query(exchange)
        limit = await self._limits.get(exchange.caller.organisation_id, exchange.parameters["limit"])
        await show(exchange, _shown(limit), version=limit.version)

    async def _update(self, exchange: Exchange) -> None:
        body = await read(exchange, LimitPatch)
        limit = await self._limits.update(
            act_of(exchange),
            exchange.caller.organisation_id,
            exchange.parameters["limit"],
            requests_per_minute=body.requests_per_minute,
            tokens_per_minute=body.tokens_per_minute,
            expected_version=expected_version(exchange),
        )
        await show(exchange, _shown(limit), version=limit.version)

    async def _delete(self, exchange: Exchange) -> None:
        limit = await self._limits.delete(
            act_of(exchange),
            exchange.caller.organisation_id,
            exchange.parameters["limit"],
            expected_version=expected_version(exchange),
        )
        await show(exchange, Deleted(id=limit.id, object="limit"))


SCOPE_FILTERS = ("scope_type", "scope_id")


def scope_asked(asked: dict[str, str]) -> tuple[ScopeType | None, str | None]:
    """Return which scopes a list is asked for. Raises InvalidRequestError."""
    scope_type = asked.get("scope_type")
    if scope_type is not None and scope_type not in set(ScopeType):
        raise InvalidRequestError(f"'scope_type' must be one of {', '.join(ScopeType)}.", param="scope_type")
    return None if scope_type is None else ScopeType(scope_type), asked.get("scope_id")


def _shown(limit: Limit) -> LimitObject:
    return LimitObject(
        id=limit.id,
        scope=limit.scope,
        requests_per_minute=limit.requests_per_minute,
        tokens_per_minute=limit.tokens_per_minute,
        created_at=seconds(limit.created_at_ms),
        version=limit.version,
    )
