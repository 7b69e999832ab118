"""`/admin/v1/grants`: who is viewer, editor or owner of one resource. Owners of a resource share it themselves."""

from collections.abc import Callable, Collection, Iterator
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.admin.requests import Body, Patch, act_of, expected_version, page_request, query, read
from mainstay.api.admin.responses import Deleted, ListOf, show, show_page
from mainstay.api.admin.times import milliseconds, seconds
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.routes import Route
from mainstay.kit.errors import InvalidRequestError, NotFoundError
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.authorize import Authority, Resource
from mainstay.platform.identity.caller import Caller
from mainstay.platform.identity.directory import EVERYONE
from mainstay.platform.identity.grant_levels import Level, actions_granted
from mainstay.platform.identity.grants import GrantFilter, Grants, NewGrant, StoredGrant, require_grantable

_PATH = "/admin/v1/grants"
_ONE = _PATH + "/{grant}"
_SHOWN_EVERYONE = "everyone"

DeploymentNames = Callable[[str], Collection[str]]
"""The names of the deployments that an organisation has."""


class GrantBody(Body, frozen=True, kw_only=True):
    """What shall be granted; the principal is an id, or the word everyone."""

    resource_type: str
    resource_id: str
    principal_id: str
    level: Level
    expires_at: int | None = None


class GrantPatch(Patch, frozen=True, kw_only=True):
    """What of a grant shall be otherwise."""

    level: Level | UnsetType = UNSET
    expires_at: int | UnsetType | None = UNSET


class GrantObject(msgspec.Struct, frozen=True, kw_only=True):
    """What someone, or everyone in the organisation, may do with one resource."""

    id: str
    object: Literal["grant"] = "grant"
    resource_type: str
    resource_id: str
    principal_id: str
    level: Level
    expires_at: int | None
    created_by: str
    created_at: int
    version: int


class GrantRoutes:
    """Administration of grants."""

    def __init__(
        self, grants: Grants, authority: Authority, idempotency: Idempotency, deployments: DeploymentNames
    ) -> None:
        self._grants = grants
        self._authority = authority
        self._idempotency = idempotency
        self._deployments = deployments

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        yield Route(
            method="GET",
            path=_PATH,
            action=Action.READ_GRANTS,
            dialect=dialect,
            handler=self._list,
            summary="What is granted; whoever owns a resource only asks for that one.",
            response=ListOf[GrantObject],
            is_narrowed=True,
            query=("limit", "after", "order", "resource_type", "resource_id", "principal"),
        )
        yield Route(
            method="POST",
            path=_PATH,
            action=Action.WRITE_GRANTS,
            dialect=dialect,
            handler=self._idempotency.of(self._create),
            summary="Share a resource.",
            request=GrantBody,
            response=GrantObject,
            is_narrowed=True,
            status=201,
        )
        for method, action, handler, summary, request, response in (
            ("GET", Action.READ_GRANTS, self._show, "One grant.", None, GrantObject),
            ("PATCH", Action.WRITE_GRANTS, self._update, "Change level or end.", GrantPatch, GrantObject),
            ("DELETE", Action.WRITE_GRANTS, self._delete, "Take a grant back.", None, Deleted),
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
                is_narrowed=True,
            )

    async def _list(self, exchange: Exchange) -> None:
        page, asked = page_request(exchange, "resource_type", "resource_id", "principal")
        type_, id_ = asked.get("resource_type"), asked.get("resource_id")
        resource = None if type_ is None or id_ is None else _resource(type_, id_)
        self._authority.authorize(exchange.caller, Action.READ_GRANTS, resource)
        principal = asked.get("principal")
        chosen = GrantFilter(
            resource_type=type_, resource_id=id_, principal_id=None if principal is None else _kept(principal)
        )
        found = await self._grants.list(exchange.caller.organisation_id, page, chosen)
        await show_page(exchange, found, _shown)

    async def _create(self, exchange: Exchange) -> None:
        body = await read(exchange, GrantBody)
        require_grantable(body.resource_type)
        caller = exchange.caller
        self._require_may_give(caller, _resource(body.resource_type, body.resource_id), body.level)
        if body.resource_type == "deployment" and body.resource_id not in self._deployments(caller.organisation_id):
            raise NotFoundError(f"There is no deployment '{body.resource_id[:80]}'.", param="resource_id")
        if not body.principal_id:
            raise InvalidRequestError("A grant needs the id of a principal, or everyone.", param="principal_id")
        grant = await self._grants.create(
            act_of(exchange),
            caller.organisation_id,
            NewGrant(
                resource_type=body.resource_type,
                resource_id=body.resource_id,
                principal_id=_kept(body.principal_id),
                level=body.level,
                expires_at_ms=milliseconds(body.expires_at),
            ),
        )
        await show(exchange, _shown(grant), version=grant.version, status=201)

    async def _show(self, exchange: Exchange) -> None:
        query(exchange)
        grant = await self._found(exchange, Action.READ_GRANTS)
        await show(exchange, _shown(grant), version=grant.version)

    async def _update(self, exchange: Exchange) -> None:
        body = await read(exchange, GrantPatch)
        grant = await self._found(exchange, Action.WRITE_GRANTS)
        level = grant.level if body.level is UNSET else body.level
        self._require_may_give(exchange.caller, _resource(grant.resource_type, grant.resource_id), level)
        changed = await self._grants.update(
            act_of(exchange),
            exchange.caller.organisation_id,
            grant.id,
            level=level,
            expires_at_ms=grant.expires_at_ms if body.expires_at is UNSET else milliseconds(body.expires_at),
            expected_version=expected_version(exchange),
        )
        await show(exchange, _shown(changed), version=changed.version)

    async def _delete(self, exchange: Exchange) -> None:
        grant = await self._found(exchange, Action.WRITE_GRANTS)
        await self._grants.delete(
            act_of(exchange), exchange.caller.organisation_id, grant.id, expected_version=expected_version(exchange)
        )
        await show(exchange, Deleted(id=grant.id, object="grant"))

    async def _found(self, exchange: Exchange, action: Action) -> StoredGrant:
        """Return the grant that the address names, if the caller may do `action` to its resource."""
        grant = await self._grants.get(exchange.caller.organisation_id, exchange.parameters["grant"])
        self._authority.authorize(exchange.caller, action, _resource(grant.resource_type, grant.resource_id))
        return grant

    def _require_may_give(self, caller: Caller, resource: Resource, level: Level) -> None:
        self._authority.authorize(caller, Action.WRITE_GRANTS, resource)
        self._authority.require_covers(caller, actions_granted(resource.type, level), resource)


def _resource(type_: str, id_: str) -> Resource:
    return Resource(type=type_, id=id_, project_id=id_ if type_ == "project" else None)


def _kept(principal: str) -> str:
    return EVERYONE if principal == _SHOWN_EVERYONE else principal


def _shown(grant: StoredGrant) -> GrantObject:
    return GrantObject(
        id=grant.id,
        resource_type=grant.resource_type,
        resource_id=grant.resource_id,
        principal_id=grant.principal_id or _SHOWN_EVERYONE,
        level=grant.level,
        expires_at=seconds(grant.expires_at_ms),
        created_by=grant.created_by,
        created_at=seconds(grant.created_at_ms),
        version=grant.version,
    )
