"""Signing in with an identity provider: out to it, and back from it. Browsers come here, so problems are pages."""

from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl

from mainstay.api.admin.requests import origin_of
from mainstay.api.auth.door import Door, own_path
from mainstay.api.auth.html import element, page
from mainstay.api.cookies import Cookies
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange, Header
from mainstay.api.routes import Route
from mainstay.kit.errors import InvalidRequestError, MainstayError
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.oidc.attempts import KEPT_SECONDS
from mainstay.platform.identity.oidc.sign_in import CameBack, ProviderSignIn

COOKIE = b"mainstay-sign-in"
"""What a browser carries from the start of a sign-in to its end, so that nobody else's can be put in its place."""

_SIGN_IN = "/auth/sign-in"
_QUERY_BYTES_MAX = 16 * 1024
_FIELDS_MAX = 50
_HTML: Header = (b"content-type", b"text/html; charset=utf-8")
_PLAIN: Header = (b"content-type", b"text/plain; charset=utf-8")
_NO_STORE: Header = (b"cache-control", b"no-store")


class ProviderSignInRoutes:
    """The two addresses of every identity provider."""

    def __init__(self, door: Door, sign_in: ProviderSignIn, *, public_url: str | None) -> None:
        self._door = door
        self._sign_in = sign_in
        self._cookies = Cookies(public_url, name=COOKIE)

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield the routes."""
        yield Route(
            method="GET",
            path="/auth/oidc/{provider}/start",
            action=Action.PUBLIC,
            dialect=dialect,
            handler=self.start,
            summary="Go to an identity provider to sign in.",
            query=("next",),
            status=303,
        )
        yield Route(
            method="GET",
            path="/auth/oidc/{provider}/callback",
            action=Action.PUBLIC,
            dialect=dialect,
            handler=self.finish,
            summary="Come back from an identity provider.",
            query=("code", "state", "iss", "error"),
            status=303,
            is_visit_that_changes=True,
        )

    async def start(self, exchange: Exchange) -> None:
        """Send the browser to the provider."""
        try:
            destination = own_path(_single_fields(exchange.query_string).get("next"))
            started = await self._sign_in.start(exchange.parameters["provider"], destination, origin_of(exchange))
        except MainstayError as error:
            await self._show_problem(exchange, error)
            return
        cookie = self._cookies.set(started.cookie, max_age_seconds=KEPT_SECONDS)
        await exchange.respond(303, b"", [(b"location", started.url.encode()), _NO_STORE, cookie], kind=_PLAIN)

    async def finish(self, exchange: Exchange) -> None:
        """Begin a session, if the provider says who it is."""
        carried = self._cookies.read(exchange.headers)
        try:
            signed_in = await self._sign_in.finish(
                CameBack(
                    provider_id=exchange.parameters["provider"],
                    answer=_single_fields(exchange.query_string),
                    cookie=None if carried is None else carried.decode("latin-1"),
                    origin=origin_of(exchange),
                    replaces=self._door.cookies.read(exchange.headers),
                )
            )
        except MainstayError as error:
            await self._show_problem(exchange, error)
            return
        headers = [_NO_STORE, self._door.cookie(signed_in.begun), self._cookies.clear()]
        await exchange.redirect(own_path(signed_in.return_to), headers)

    async def _show_problem(self, exchange: Exchange, error: MainstayError) -> None:
        """Say what went wrong, and how to try again."""
        exchange.edge_headers = self._door.browsers.page_headers
        body = page(
            "You are not signed in",
            element("p", error.told, class_="alarm", role="alert"),
            element("a", "To the page to sign in", class_="button", href=_SIGN_IN),
        )
        headers = [_NO_STORE, self._cookies.clear(), *exchange.dialect.error_headers(error)]
        await exchange.respond(error.status, body, headers, kind=_HTML)


def _single_fields(query: bytes) -> Mapping[str, str]:
    """Return the query. Raises InvalidRequestError for a name that is there twice: readers would choose differently."""
    if len(query) > _QUERY_BYTES_MAX:
        raise InvalidRequestError("The address is too long to be an identity provider's answer.")
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=_FIELDS_MAX)
    except ValueError:
        raise InvalidRequestError("The query string cannot be read.") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise InvalidRequestError("A part of the query is there twice.")
    return fields
