"""Signing in and out, for programs that speak JSON: the workspace is one."""

from collections.abc import Iterator

import msgspec

from mainstay.api.admin.requests import Body, query, read
from mainstay.api.admin.responses import show
from mainstay.api.auth.door import Door, SessionObject, show_session
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange, Header
from mainstay.api.routes import Route
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.sessions import Begun
from mainstay.platform.identity.sign_in_options import SignInOptions


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """An identity provider that one may sign in with, by going to `start_url` in the browser."""

    id: str
    name: str
    start_url: str


class SignInOptionsObject(msgspec.Struct, frozen=True, kw_only=True):
    """How one may sign in. Ask again with `email` where `needs_email` says so."""

    object: str = "sign_in_options"
    password: bool
    providers: list[Provider]
    needs_email: bool


class PasswordBody(Body, frozen=True, kw_only=True):
    """Address and password; the organisation for those who are in several."""

    email: str
    password: str
    organisation: str | None = None


class LinkBody(Body, frozen=True, kw_only=True):
    """What a sign-in link has after `token=`."""

    token: str


class SignedOut(msgspec.Struct, frozen=True, kw_only=True):
    """Nobody is signed in any more."""

    object: str = "session"
    signed_out: bool = True


class SigningIn:
    """The routes of signing in and out. They are public; a page of another site may not send them."""

    def __init__(self, door: Door, options: SignInOptions) -> None:
        self._door = door
        self._options = options

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield the routes."""
        yield Route(
            method="GET",
            path="/auth/options",
            action=Action.PUBLIC,
            dialect=dialect,
            handler=self.show_options,
            summary="How one may sign in.",
            response=SignInOptionsObject,
            query=("email",),
        )
        for path, handler, body, summary in (
            ("/auth/password", self.by_password, PasswordBody, "Sign in with a password; the answer sets a cookie."),
            ("/auth/link", self.by_link, LinkBody, "Sign in with a link, once; the answer sets a cookie."),
        ):
            yield Route(
                method="POST",
                path=path,
                action=Action.PUBLIC,
                dialect=dialect,
                handler=handler,
                summary=summary,
                request=body,
                response=SessionObject,
                status=201,
            )
        yield Route(
            method="POST",
            path="/auth/sign-out",
            action=Action.PUBLIC,
            dialect=dialect,
            handler=self.sign_out,
            summary="End the session of the cookie.",
            response=SignedOut,
        )

    async def show_options(self, exchange: Exchange) -> None:
        """The providers of the organisation, as far as it is known."""
        found = await self._options.find(query(exchange, "email").get("email"))
        providers = [Provider(id=one.id, name=one.name, start_url=start_url(one.id)) for one in found.providers]
        shown = SignInOptionsObject(
            password=found.has_passwords, providers=providers, needs_email=not found.is_complete
        )
        await show(exchange, shown)

    async def by_password(self, exchange: Exchange) -> None:
        """Begin a session with a password."""
        self._door.browsers.refuse_other_sites(exchange)
        body = await read(exchange, PasswordBody)
        await _welcome(
            exchange, *await self._door.sign_in(exchange, body.email, body.password, organisation_id=body.organisation)
        )

    async def by_link(self, exchange: Exchange) -> None:
        """Begin a session with a link."""
        self._door.browsers.refuse_other_sites(exchange)
        body = await read(exchange, LinkBody)
        await _welcome(exchange, *await self._door.use_link(exchange, body.token))

    async def sign_out(self, exchange: Exchange) -> None:
        """End the session."""
        self._door.browsers.refuse_other_sites(exchange)
        await _show_with_cookie(exchange, 200, SignedOut(), await self._door.sign_out(exchange))


def start_url(provider_id: str) -> str:
    """Return where signing in with an identity provider begins."""
    return f"/auth/oidc/{provider_id}/start"


async def _welcome(exchange: Exchange, begun: Begun, cookie: Header) -> None:
    await _show_with_cookie(exchange, 201, show_session(begun.session, current_id=begun.session.id), cookie)


async def _show_with_cookie(exchange: Exchange, status: int, value: msgspec.Struct, cookie: Header) -> None:
    await exchange.respond(status, msgspec.json.encode(value), [(b"cache-control", b"no-store"), cookie])
