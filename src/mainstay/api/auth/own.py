"""What everyone may know and do about himself: who he is here, his sessions, his password."""

from collections.abc import Iterator

import msgspec

from mainstay.api.admin.requests import Body, act_of, page_request, query, read
from mainstay.api.admin.responses import Deleted, ListOf, show, show_page
from mainstay.api.auth.door import Door, SessionObject, require_session, show_session
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.routes import Handler, Route
from mainstay.kit.database import Database
from mainstay.platform.audit.events import ActorType
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.caller import Caller

_WHO = (
    "SELECT o.name, (SELECT p.name FROM principals p WHERE p.id = :principal_id), "
    "(SELECT u.email FROM users u WHERE u.principal_id = :principal_id) "
    "FROM organisations o WHERE o.id = :organisation_id"
)


class CallerObject(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asking, and what he may do in the whole organisation."""

    object: str = "caller"
    type: ActorType
    credential_id: str
    principal_id: str | None
    name: str | None
    email: str | None
    organisation_id: str
    organisation_name: str
    project_id: str
    expires_at: int | None
    actions: list[str]


class NewPassword(Body, frozen=True, kw_only=True):
    """The password from now on, and the present one; after signing in with a link that may be left out."""

    new_password: str
    current_password: str | None = None


class PasswordSet(msgspec.Struct, frozen=True, kw_only=True):
    """The password is set; every other session has ended."""

    object: str = "password"
    is_set: bool = True


class SessionsEnded(msgspec.Struct, frozen=True, kw_only=True):
    """How many other sessions there were."""

    object: str = "sessions_ended"
    count: int


class Own:
    """The routes for what is one's own."""

    def __init__(self, door: Door, database: Database) -> None:
        self._door = door
        self._database = database

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield the routes."""

        def route(
            method: str,
            path: str,
            handler: Handler,
            summary: str,
            *,
            response: type,
            request: type | None = None,
            query: tuple[str, ...] = (),
        ) -> Route:
            return Route(
                method=method,
                path=path,
                action=Action.SELF,
                dialect=dialect,
                handler=handler,
                summary=summary,
                request=request,
                response=response,
                query=query,
            )

        yield route("GET", "/auth/session", self.who, "Who is asking, and what he may do.", response=CallerObject)
        yield route(
            "GET",
            "/auth/sessions",
            self.list,
            "One's own open sessions.",
            response=ListOf[SessionObject],
            query=("limit", "after", "order"),
        )
        yield route("DELETE", "/auth/sessions", self.end_others, "End all other sessions.", response=SessionsEnded)
        yield route("DELETE", "/auth/sessions/{session}", self.end, "End one's own session.", response=Deleted)
        yield route(
            "PUT", "/auth/password", self.set_password, "Set one's password.", request=NewPassword, response=PasswordSet
        )

    async def who(self, exchange: Exchange) -> None:
        """The caller."""
        query(exchange)
        await show(exchange, await self.describe(exchange.caller))

    async def describe(self, caller: Caller) -> CallerObject:
        """Return what there is to say of a caller."""
        rows = await self._database.fetch(
            _WHO, {"principal_id": caller.principal_id or "", "organisation_id": caller.organisation_id}
        )
        organisation_name, name, email = rows[0] if rows else ("", None, None)
        return CallerObject(
            type=caller.actor_type,
            credential_id=caller.key_id,
            principal_id=caller.principal_id,
            name=name,
            email=email,
            organisation_id=caller.organisation_id,
            organisation_name=organisation_name,
            project_id=caller.project_id,
            expires_at=None if caller.expires_at is None else int(caller.expires_at),
            actions=sorted(self._door.authority.actions_of(caller)),
        )

    async def list(self, exchange: Exchange) -> None:
        """The caller's open sessions."""
        caller = exchange.caller
        principal_id = require_session(caller)
        page, _ = page_request(exchange)
        found = await self._door.sessions.list(caller.organisation_id, page, principal_id=principal_id)
        await show_page(exchange, found, lambda one: show_session(one, current_id=caller.key_id))

    async def end(self, exchange: Exchange) -> None:
        """End one of them."""
        caller = exchange.caller
        principal_id = require_session(caller)
        session_id = exchange.parameters["session"]
        ended = await self._door.sessions.revoke(
            act_of(exchange), caller.organisation_id, session_id, principal_id=principal_id
        )
        await show(exchange, Deleted(id=ended.id, object="session.deleted"))

    async def end_others(self, exchange: Exchange) -> None:
        """End all but this one."""
        caller = exchange.caller
        principal_id = require_session(caller)
        count = await self._door.sessions.revoke_all(
            act_of(exchange), caller.organisation_id, principal_id, but=caller.key_id
        )
        await show(exchange, SessionsEnded(count=count))

    async def set_password(self, exchange: Exchange) -> None:
        """Set the caller's password."""
        caller = exchange.caller
        principal_id = require_session(caller)
        body = await read(exchange, NewPassword)
        await self._door.by_password.change(
            act_of(exchange),
            caller.organisation_id,
            principal_id,
            session_id=caller.key_id,
            current=body.current_password,
            new=body.new_password,
        )
        await show(exchange, PasswordSet())
