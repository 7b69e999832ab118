"""`/v1/organization/users`: the people of the organisation, as owners and readers."""

from collections.abc import Iterator
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from mainstay.api.admin.requests import Patch, act_of, page_of, query, read
from mainstay.api.admin.responses import Deleted, ListOf, show, show_page
from mainstay.api.admin.times import seconds
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.organization.parts import Parts
from mainstay.api.organization.shapes import ORGANISATION_ROLES, PAGE, ROOT, repeated, role_id_of, role_name
from mainstay.api.routes import Route
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.held_roles import HeldRole
from mainstay.platform.identity.roles import OWNER
from mainstay.platform.identity.user_filter import UserFilter
from mainstay.platform.identity.users import User

_PATH = ROOT + "/users"
_ONE = _PATH + "/{user}"


class UserPatch(Patch, frozen=True, kw_only=True):
    """Owner or reader."""

    role: str | UnsetType = UNSET


class OrganizationUser(msgspec.Struct, frozen=True, kw_only=True):
    """A user as OpenAI shows it."""

    id: str
    object: Literal["organization.user"] = "organization.user"
    email: str
    name: str
    role: str
    added_at: int
    created: int
    is_scim_managed: bool
    is_service_account: bool = False
    disabled: bool
    """Whether the user is deactivated."""


class OrganizationUserRoutes:
    """People in OpenAI's shape."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        one = OrganizationUser
        for method, path, action, handler, summary, request, response in (
            ("GET", _PATH, Action.READ_USERS, self._list, "The users.", None, ListOf[OrganizationUser]),
            ("GET", _ONE, Action.READ_USERS, self._show, "One user.", None, one),
            ("POST", _ONE, Action.WRITE_BINDINGS, self._update, "Make an owner or reader.", UserPatch, one),
            ("DELETE", _ONE, Action.WRITE_USERS, self._delete, "Delete a user.", None, Deleted),
        ):
            yield Route(
                method=method,
                path=path,
                action=action,
                dialect=dialect,
                handler=handler,
                summary=summary,
                request=request,
                response=response,
                query=(*PAGE, "emails") if path == _PATH else (),
            )

    async def _list(self, exchange: Exchange) -> None:
        once, several = repeated(exchange, PAGE, ("emails",))
        page, emails = page_of(once), several.get("emails")
        organisation_id = exchange.caller.organisation_id
        found = await self._parts.users.list(organisation_id, page, UserFilter(emails=emails))
        held = await self._parts.held_roles.in_organisation(organisation_id, [user.id for user in found.items])
        await show_page(exchange, found, lambda user: _shown(user, held[user.id]))

    async def _show(self, exchange: Exchange) -> None:
        query(exchange)
        await self._answer(exchange, await self._found(exchange))

    async def _update(self, exchange: Exchange) -> None:
        body = await read(exchange, UserPatch)
        user = await self._found(exchange)
        if body.role is not UNSET:
            await self._give(exchange, user, role_id_of(body.role, ORGANISATION_ROLES))
        await self._answer(exchange, user)

    async def _give(self, exchange: Exchange, user: User, role_id: str) -> None:
        """Bind the role if it is not; one who shall not be an owner loses that."""
        caller, held = exchange.caller, [one.role_id for one in await self._held(user)]
        instead_of = [OWNER.id] if role_id != OWNER.id and OWNER.id in held else []
        if instead_of:
            self._parts.authority.require_owner(caller)
        if role_id not in held:
            await self._parts.giving.require_role(caller, role_id)
        elif not instead_of:
            return
        await self._parts.exchange.exchange(
            act_of(exchange), caller.organisation_id, user.id, role_id=role_id, instead_of=instead_of
        )

    async def _delete(self, exchange: Exchange) -> None:
        query(exchange)
        user = await self._found(exchange)
        self._parts.giving.require_not_an_owner(exchange.caller, user.id)
        await self._parts.users.delete(act_of(exchange), user.organisation_id, user.id)
        await self._parts.writing.notice()
        await show(exchange, Deleted(id=user.id, object="organization.user.deleted"))

    async def _answer(self, exchange: Exchange, user: User) -> None:
        await show(exchange, _shown(user, await self._held(user)))

    async def _held(self, user: User) -> list[HeldRole]:
        return (await self._parts.held_roles.in_organisation(user.organisation_id, [user.id]))[user.id]

    async def _found(self, exchange: Exchange) -> User:
        return await self._parts.users.get(exchange.caller.organisation_id, exchange.parameters["user"])


def _shown(user: User, held: list[HeldRole]) -> OrganizationUser:
    at = seconds(user.created_at_ms)
    return OrganizationUser(
        id=user.id,
        email=user.email,
        name=user.name,
        role=role_name(held, ORGANISATION_ROLES),
        added_at=at,
        created=at,
        is_scim_managed=user.user_name is not None,
        disabled=not user.is_active,
    )
