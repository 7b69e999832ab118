"""`/admin/v1/users`: the people of the organisation."""

from collections.abc import Iterator
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from mainstay.api.admin.giving import Giving
from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.admin.requests import Body, Patch, act_of, expected_version, page_request, query, read
from mainstay.api.admin.responses import Deleted, ListOf, show, show_page
from mainstay.api.admin.times import seconds
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.routes import Route
from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.principals import PrincipalStatus
from mainstay.platform.identity.roles import MEMBER
from mainstay.platform.identity.user_filter import UserFilter
from mainstay.platform.identity.users import NewUser, User, UserChanges, Users

_PATH = "/admin/v1/users"
_ONE = _PATH + "/{user}"


class UserBody(Body, frozen=True, kw_only=True):
    """A new user, who has `role` in the organisation; null is none."""

    email: str
    name: str
    role: str | None = MEMBER.id


class UserPatch(Patch, frozen=True, kw_only=True):
    """What of a user shall be otherwise; one who is deactivated is signed out, and keys and streams end."""

    email: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    status: PrincipalStatus | UnsetType = UNSET


class UserObject(msgspec.Struct, frozen=True, kw_only=True):
    """A user; `user_name` and `external_id` are set by a directory."""

    id: str
    object: Literal["user"] = "user"
    email: str
    name: str
    status: PrincipalStatus
    user_name: str | None
    external_id: str | None
    has_password: bool
    last_active_at: int | None
    created_at: int
    updated_at: int
    version: int


class UserRoutes:
    """Administration of users."""

    def __init__(self, users: Users, giving: Giving, idempotency: Idempotency) -> None:
        self._users = users
        self._giving = giving
        self._idempotency = idempotency

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        yield Route(
            method="GET",
            path=_PATH,
            action=Action.READ_USERS,
            dialect=dialect,
            handler=self._list,
            summary="The users; `search` looks in names and addresses, `project` for those with a role there.",
            response=ListOf[UserObject],
            query=("limit", "after", "order", "email", "status", "search", "project"),
        )
        yield Route(
            method="POST",
            path=_PATH,
            action=Action.WRITE_USERS,
            dialect=dialect,
            handler=self._idempotency.of(self._create),
            summary="Make a user.",
            request=UserBody,
            response=UserObject,
            status=201,
        )
        for method, action, handler, summary, request, response in (
            ("GET", Action.READ_USERS, self._show, "One user.", None, UserObject),
            ("PATCH", Action.WRITE_USERS, self._update, "Change a user.", UserPatch, UserObject),
            ("DELETE", Action.WRITE_USERS, self._delete, "Delete a user and all that was given.", None, Deleted),
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
        page, asked = page_request(exchange, "email", "status", "search", "project")
        wanted = UserFilter(
            emails=[asked["email"]] if "email" in asked else None,
            status=status_of(asked.get("status")),
            search=asked.get("search"),
            project_id=asked.get("project"),
        )
        await show_page(exchange, await self._users.list(exchange.caller.organisation_id, page, wanted), _shown)

    async def _create(self, exchange: Exchange) -> None:
        body = await read(exchange, UserBody)
        caller = exchange.caller
        if body.role is not None:
            await self._giving.require_role(caller, body.role)
        wanted = NewUser(email=body.email, name=body.name, role_id=body.role)
        user = await self._users.create(act_of(exchange), caller.organisation_id, wanted)
        await show(exchange, _shown(user), version=user.version, status=201)

    async def _show(self, exchange: Exchange) -> None:
        query(exchange)
        user = await self._found(exchange)
        await show(exchange, _shown(user), version=user.version)

    async def _update(self, exchange: Exchange) -> None:
        body = await read(exchange, UserPatch)
        user = await self._found(exchange)
        self._giving.require_not_an_owner(exchange.caller, user.id)
        if body.email is not UNSET and body.email != user.email:
            # Whoever has the address may sign in as the user.
            self._giving.require_principal(exchange.caller, user.id)
        changed = await self._users.update(
            act_of(exchange),
            exchange.caller.organisation_id,
            user.id,
            UserChanges(email=body.email, name=body.name, status=body.status),
            expected_version=expected_version(exchange),
        )
        await show(exchange, _shown(changed), version=changed.version)

    async def _delete(self, exchange: Exchange) -> None:
        query(exchange)
        user = await self._found(exchange)
        self._giving.require_not_an_owner(exchange.caller, user.id)
        await self._users.delete(
            act_of(exchange), exchange.caller.organisation_id, user.id, expected_version=expected_version(exchange)
        )
        await show(exchange, Deleted(id=user.id, object="user"))

    async def _found(self, exchange: Exchange) -> User:
        return await self._users.get(exchange.caller.organisation_id, exchange.parameters["user"])


def status_of(text: str | None) -> PrincipalStatus | None:
    """Return the status that a query asks for. Raises InvalidRequestError."""
    if text is None:
        return None
    try:
        return PrincipalStatus(text)
    except ValueError:
        raise InvalidRequestError("'status' must be active or deactivated.", param="status") from None


def _shown(user: User) -> UserObject:
    return UserObject(
        id=user.id,
        email=user.email,
        name=user.name,
        status=user.status,
        user_name=user.user_name,
        external_id=user.external_id,
        has_password=user.has_password,
        last_active_at=seconds(user.last_active_at_ms),
        created_at=seconds(user.created_at_ms),
        updated_at=seconds(user.updated_at_ms),
        version=user.version,
    )
