"""Sessions and sign-in links of the organisation's people, for administrators."""

from collections.abc import Iterator

import msgspec

from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.admin.requests import act_of, page_request
from mainstay.api.admin.responses import Deleted, ListOf, show, show_page
from mainstay.api.auth.door import SessionObject, show_session
from mainstay.api.auth.own import SessionsEnded
from mainstay.api.auth.pages import LINK
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.routes import Route
from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.authorize import Authority
from mainstay.platform.identity.sessions import Sessions
from mainstay.platform.identity.sign_in_links import SignInLinks

_IS_OPEN = {"true": True, "false": False}


class SignInLinkObject(msgspec.Struct, frozen=True, kw_only=True):
    """A link that signs a user in once; nobody can ask for it again."""

    object: str = "sign_in_link"
    id: str
    """The user."""
    url: str
    expires_at: int


class AdminSessions:
    """The routes of sessions and sign-in links."""

    def __init__(
        self,
        sessions: Sessions,
        links: SignInLinks,
        authority: Authority,
        *,
        idempotency: Idempotency,
        public_url: str | None,
    ) -> None:
        self._sessions = sessions
        self._links = links
        self._authority = authority
        self._idempotency = idempotency
        self._public_url = public_url

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield the routes."""
        yield Route(
            method="GET",
            path="/admin/v1/sessions",
            action=Action.READ_SESSIONS,
            dialect=dialect,
            handler=self.list,
            summary="Sessions; those that are open, unless `open=false` asks for all.",
            response=ListOf[SessionObject],
            query=("limit", "after", "order", "user", "open"),
        )
        yield Route(
            method="GET",
            path="/admin/v1/sessions/{session}",
            action=Action.READ_SESSIONS,
            dialect=dialect,
            handler=self.show,
            summary="One session.",
            response=SessionObject,
        )
        yield Route(
            method="DELETE",
            path="/admin/v1/sessions/{session}",
            action=Action.WRITE_SESSIONS,
            dialect=dialect,
            handler=self.end,
            summary="End a session, and whatever is being answered to it.",
            response=Deleted,
        )
        yield Route(
            method="DELETE",
            path="/admin/v1/users/{user}/sessions",
            action=Action.WRITE_SESSIONS,
            dialect=dialect,
            handler=self.end_all,
            summary="End every session of a user.",
            response=SessionsEnded,
        )
        yield Route(
            method="POST",
            path="/admin/v1/users/{user}/sign_in_links",
            action=Action.WRITE_USERS,
            dialect=dialect,
            handler=self._idempotency.of(self.create_link),
            summary="Make a link that signs a user in once. Only for users who may do no more than you.",
            response=SignInLinkObject,
            status=201,
        )

    async def list(self, exchange: Exchange) -> None:
        """The sessions."""
        page, asked = page_request(exchange, "user", "open")
        is_open = _IS_OPEN.get(asked.get("open", "true"))
        if is_open is None:
            raise InvalidRequestError("'open' must be true or false.", param="open")
        found = await self._sessions.list(
            exchange.caller.organisation_id, page, principal_id=asked.get("user"), is_open=is_open
        )
        await show_page(exchange, found, lambda one: show_session(one, current_id=exchange.caller.key_id))

    async def show(self, exchange: Exchange) -> None:
        """One session."""
        caller = exchange.caller
        session = await self._sessions.get(caller.organisation_id, exchange.parameters["session"])
        await show(exchange, show_session(session, current_id=caller.key_id))

    async def end(self, exchange: Exchange) -> None:
        """End a session."""
        ended = await self._sessions.revoke(
            act_of(exchange), exchange.caller.organisation_id, exchange.parameters["session"]
        )
        await show(exchange, Deleted(id=ended.id, object="session.deleted"))

    async def end_all(self, exchange: Exchange) -> None:
        """End every session of a user."""
        count = await self._sessions.revoke_all(
            act_of(exchange), exchange.caller.organisation_id, exchange.parameters["user"]
        )
        await show(exchange, SessionsEnded(count=count))

    async def create_link(self, exchange: Exchange) -> None:
        """Make a link, for a user in whose name the caller could act anyway."""
        caller, user_id = exchange.caller, exchange.parameters["user"]
        self._authority.require_covers_principal(caller, user_id)
        secret, expires_at_ms = await self._links.create(act_of(exchange), caller.organisation_id, user_id)
        host = exchange.headers.get(b"host", b"").decode("latin-1")
        url = link_url(self._public_url or f"http://{host}", secret)
        await show(exchange, SignInLinkObject(id=user_id, url=url, expires_at=expires_at_ms // 1000), status=201)


def link_url(origin: str, secret: str) -> str:
    """Return where a sign-in link leads."""
    return f"{origin}{LINK}?token={secret}"
