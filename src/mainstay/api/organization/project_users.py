"""`/v1/organization/projects/{project}/users`: who has a role in a project, as owners and members."""

from collections.abc import Iterator
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from mainstay.api.admin.requests import Body, Patch, act_of, page_request, query, read
from mainstay.api.admin.responses import Deleted, ListOf, show, show_page
from mainstay.api.admin.times import seconds
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.organization.parts import Parts
from mainstay.api.organization.shapes import PAGE, PROJECT, PROJECT_ROLES, role_id_of, role_name
from mainstay.api.routes import Route
from mainstay.kit.errors import ConflictError, InvalidRequestError, NotFoundError
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.held_roles import HeldRole
from mainstay.platform.identity.user_filter import UserFilter
from mainstay.platform.identity.users import User

_PATH = PROJECT + "/users"
_ONE = _PATH + "/{user}"


class MemberBody(Body, frozen=True, kw_only=True):
    """A user of the organisation, named by id or address, and a role in the project."""

    role: str
    user_id: str | None = None
    email: str | None = None


class MemberPatch(Patch, frozen=True, kw_only=True):
    """Owner or member."""

    role: str | UnsetType = UNSET


class ProjectUser(msgspec.Struct, frozen=True, kw_only=True):
    """A user of a project as OpenAI shows it."""

    id: str
    object: Literal["organization.project.user"] = "organization.project.user"
    email: str
    name: str
    role: str
    added_at: int


class ProjectUserRoutes:
    """A project's people in OpenAI's shape."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        create = self._parts.idempotency.of(self._create)
        look, write, one = Action.READ_BINDINGS, Action.WRITE_BINDINGS, ProjectUser
        for method, path, action, handler, summary, request, response in (
            ("GET", _PATH, look, self._list, "Who has a role in the project.", None, ListOf[ProjectUser]),
            ("POST", _PATH, write, create, "Give a user a role in the project.", MemberBody, one),
            ("GET", _ONE, look, self._show, "One user of the project.", None, one),
            ("POST", _ONE, write, self._update, "Change a user's role in the project.", MemberPatch, one),
            ("DELETE", _ONE, write, self._delete, "Take a user's roles in the project away.", None, Deleted),
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
                project="project",
                query=PAGE if response is ListOf[ProjectUser] else (),
            )

    async def _list(self, exchange: Exchange) -> None:
        page, _ = page_request(exchange)
        organisation_id, project_id = exchange.caller.organisation_id, exchange.parameters["project"]
        await self._parts.projects.get(organisation_id, project_id)
        found = await self._parts.users.list(organisation_id, page, UserFilter(project_id=project_id))
        held = await self._parts.held_roles.in_project(organisation_id, project_id, [one.id for one in found.items])
        await show_page(exchange, found, lambda user: _shown(user, held[user.id]))

    async def _create(self, exchange: Exchange) -> None:
        body = await read(exchange, MemberBody)
        user = await self._named(exchange, body)
        await self._parts.projects.get(user.organisation_id, exchange.parameters["project"])
        if await self._held(exchange, user):
            raise ConflictError(f"'{user.email}' has a role in the project already; change it.", code="already_exists")
        await self._give(exchange, user, role_id_of(body.role, PROJECT_ROLES), [])
        await self._answer(exchange, user)

    async def _show(self, exchange: Exchange) -> None:
        query(exchange)
        user, _ = await self._found(exchange)
        await self._answer(exchange, user)

    async def _update(self, exchange: Exchange) -> None:
        body = await read(exchange, MemberPatch)
        user, held = await self._found(exchange)
        if body.role is not UNSET:
            role_id = role_id_of(body.role, PROJECT_ROLES)
            # The other of the two is taken away; roles that OpenAI has no name for stay.
            others = [one for one in held if one.role_id != role_id and one.role_id in PROJECT_ROLES.values()]
            if others or role_id not in [one.role_id for one in held]:
                await self._give(exchange, user, role_id, others)
        await self._answer(exchange, user)

    async def _delete(self, exchange: Exchange) -> None:
        query(exchange)
        user, held = await self._found(exchange)
        await self._exchange(exchange, user, None, held)
        await show(exchange, Deleted(id=user.id, object="organization.project.user.deleted"))

    async def _give(self, exchange: Exchange, user: User, role_id: str, instead_of: list[HeldRole]) -> None:
        await self._parts.giving.require_role(exchange.caller, role_id, exchange.parameters["project"])
        await self._exchange(exchange, user, role_id, instead_of)

    async def _exchange(self, exchange: Exchange, user: User, role_id: str | None, instead_of: list[HeldRole]) -> None:
        await self._parts.exchange.exchange(
            act_of(exchange),
            exchange.caller.organisation_id,
            user.id,
            role_id=role_id,
            instead_of=[one.role_id for one in instead_of],
            project_id=exchange.parameters["project"],
        )

    async def _answer(self, exchange: Exchange, user: User) -> None:
        await show(exchange, _shown(user, await self._held(exchange, user)))

    async def _named(self, exchange: Exchange, body: MemberBody) -> User:
        if (body.user_id is None) == (body.email is None):
            raise InvalidRequestError("Name the user by 'user_id' or by 'email'.", param="user_id")
        organisation_id = exchange.caller.organisation_id
        if body.user_id is not None:
            return await self._parts.users.get(organisation_id, body.user_id)
        user = await self._parts.users.find_by_email(organisation_id, body.email or "")
        if user is None:
            raise NotFoundError(f"There is no user '{(body.email or '')[:80]}' in the organisation.", param="email")
        return user

    async def _found(self, exchange: Exchange) -> tuple[User, list[HeldRole]]:
        user = await self._parts.users.get(exchange.caller.organisation_id, exchange.parameters["user"])
        held = await self._held(exchange, user)
        if not held:
            raise NotFoundError(f"'{user.id}' has no role in the project of its own.")
        return user, held

    async def _held(self, exchange: Exchange, user: User) -> list[HeldRole]:
        held = await self._parts.held_roles.in_project(user.organisation_id, exchange.parameters["project"], [user.id])
        return held[user.id]


def _shown(user: User, held: list[HeldRole]) -> ProjectUser:
    return ProjectUser(
        id=user.id,
        email=user.email,
        name=user.name,
        role=role_name(held, PROJECT_ROLES),
        added_at=seconds(held[0].created_at_ms if held else user.created_at_ms),
    )
