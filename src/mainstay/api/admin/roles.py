"""`/admin/v1/roles`: what may be bound. Built-in roles are listed too; nobody changes them."""

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
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.authorize import Authority
from mainstay.platform.identity.role_store import NewRole, RoleChanges, Roles, StoredRole

_PATH = "/admin/v1/roles"
_ONE = _PATH + "/{role}"


class RoleBody(Body, frozen=True, kw_only=True):
    """A new role."""

    name: str
    actions: list[str]
    description: str = ""


class RolePatch(Patch, frozen=True, kw_only=True):
    """What of a role shall be otherwise."""

    name: str | UnsetType = UNSET
    actions: list[str] | UnsetType = UNSET
    description: str | UnsetType = UNSET


class RoleObject(msgspec.Struct, frozen=True, kw_only=True):
    """A role."""

    id: str
    object: Literal["role"] = "role"
    name: str
    description: str
    actions: tuple[str, ...]
    is_built_in: bool
    created_at: int
    version: int


class RoleRoutes:
    """Administration of roles."""

    def __init__(self, roles: Roles, authority: Authority, idempotency: Idempotency) -> None:
        self._roles = roles
        self._authority = authority
        self._idempotency = idempotency

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        yield Route(
            method="GET",
            path=_PATH,
            action=Action.READ_ROLES,
            dialect=dialect,
            handler=self._list,
            summary="The roles, built-in ones included.",
            response=ListOf[RoleObject],
            query=("limit", "after", "order"),
        )
        yield Route(
            method="POST",
            path=_PATH,
            action=Action.WRITE_ROLES,
            dialect=dialect,
            handler=self._idempotency.of(self._create),
            summary="Make a role of what you may do yourself.",
            request=RoleBody,
            response=RoleObject,
            status=201,
        )
        for method, action, handler, summary, request, response in (
            ("GET", Action.READ_ROLES, self._show, "One role.", None, RoleObject),
            ("PATCH", Action.WRITE_ROLES, self._update, "Change a role.", RolePatch, RoleObject),
            ("DELETE", Action.WRITE_ROLES, self._delete, "Delete a role that nobody has.", None, Deleted),
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
        page, _ = page_request(exchange)
        await show_page(exchange, await self._roles.list(exchange.caller.organisation_id, page), _shown)

    async def _create(self, exchange: Exchange) -> None:
        body = await read(exchange, RoleBody)
        wanted = NewRole(name=body.name, actions=body.actions, description=body.description)
        self._require_covers(exchange, body.actions)
        role = await self._roles.create(act_of(exchange), exchange.caller.organisation_id, wanted)
        await show(exchange, _shown(role), version=role.version, status=201)

    async def _show(self, exchange: Exchange) -> None:
        query(exchange)
        role = await self._roles.get(exchange.caller.organisation_id, exchange.parameters["role"])
        await show(exchange, _shown(role), version=role.version)

    async def _update(self, exchange: Exchange) -> None:
        body = await read(exchange, RolePatch)
        if body.actions is not UNSET:
            self._require_covers(exchange, body.actions)
        role = await self._roles.update(
            act_of(exchange),
            exchange.caller.organisation_id,
            exchange.parameters["role"],
            RoleChanges(name=body.name, actions=body.actions, description=body.description),
            expected_version=expected_version(exchange),
        )
        await show(exchange, _shown(role), version=role.version)

    async def _delete(self, exchange: Exchange) -> None:
        role_id = exchange.parameters["role"]
        await self._roles.delete(
            act_of(exchange), exchange.caller.organisation_id, role_id, expected_version=expected_version(exchange)
        )
        await show(exchange, Deleted(id=role_id, object="role"))

    def _require_covers(self, exchange: Exchange, actions: list[str]) -> None:
        """What is no action at all is refused by the store, in better words."""
        known = frozenset(Action(action) for action in actions if action in set(Action))
        self._authority.require_covers(exchange.caller, known)


def _shown(role: StoredRole) -> RoleObject:
    return RoleObject(
        id=role.id,
        name=role.name,
        description=role.description,
        actions=tuple(action.value for action in role.actions),
        is_built_in=role.is_built_in,
        created_at=seconds(role.created_at_ms),
        version=role.version,
    )
