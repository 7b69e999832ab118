"""What browsers are told, and what is asked of them: security headers, CORS, and requests from our own pages only."""

import re
from collections.abc import Sequence

from mainstay.api.exchange import Exchange, Header
from mainstay.kit.errors import PermissionDeniedError

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_PREFLIGHT_SECONDS = b"600"
_METHODS = b"GET, POST, PUT, PATCH, DELETE"
_EXPOSED = b"x-request-id, retry-after, retry-after-ms, openai-processing-ms, etag, location"
_are_header_names = re.compile(rb"[A-Za-z0-9_, -]{1,2000}").fullmatch
_JSON = b"application/json"
_YEAR_SECONDS = 31_536_000

PAGE_POLICY = (
    b"default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""What a page of ours may load: its style sheet. No script runs in it, whoever wrote it."""
_BASE: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_OF_DATA: tuple[Header, ...] = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
# same-origin, since browsers that send no referrer at all send no Origin with forms either.
_OF_PAGES: tuple[Header, ...] = (
    (b"content-security-policy", PAGE_POLICY),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)


class Browsers:
    """Knows which origin is ours, and which others the operator lets call the API with a key."""

    def __init__(self, public_url: str | None = None, cors_origins: Sequence[str] = ()) -> None:
        self._own = None if public_url is None else public_url.encode()
        self._allowed = frozenset(origin.encode() for origin in cors_origins)
        is_secure = public_url is not None and public_url.startswith("https://")
        strict = ((b"strict-transport-security", b"max-age=%d" % _YEAR_SECONDS),) if is_secure else ()
        varying = ((b"vary", b"origin"),) if self._allowed else ()
        self._data_headers: tuple[Header, ...] = (*_BASE, *_OF_DATA, *strict, *varying)
        self._program_headers: tuple[Header, ...] = (*_BASE[:1], *strict, *varying)
        self.page_headers: tuple[Header, ...] = (*_BASE, *_OF_PAGES, *strict)
        """For exchanges that answer with a page."""

    def headers(self, exchange: Exchange) -> tuple[Header, ...]:
        """Return what every response says besides its own headers."""
        origin = exchange.headers.get(b"origin")
        if origin is None and exchange.method == "POST":
            return self._program_headers  # browsers always say where a POST comes from
        if origin is None or origin not in self._allowed or exchange.path.startswith("/auth"):
            return self._data_headers
        return (
            *self._data_headers[:1],
            (b"cross-origin-resource-policy", b"cross-origin"),
            *self._data_headers[2:],
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED),
        )

    async def answer_preflight(self, exchange: Exchange) -> bool:
        """Answer a browser that asks whether a page may send a request; tell whether it was one that may.

        Never with credentials: a page of another origin needs a key of its own (Fetch standard, CORS protocol).
        """
        if b"access-control-request-method" not in exchange.headers or exchange.path.startswith("/auth"):
            return False
        if exchange.headers.get(b"origin") not in self._allowed:
            return False
        headers = [(b"access-control-allow-methods", _METHODS), (b"access-control-max-age", _PREFLIGHT_SECONDS)]
        wanted = exchange.headers.get(b"access-control-request-headers", b"")
        if _are_header_names(wanted) is not None:
            headers.append((b"access-control-allow-headers", wanted))
        await exchange.respond(200, b"", headers, kind=(b"content-type", b"text/plain"))
        return True

    def require_own_page(self, exchange: Exchange) -> None:
        """Refuse a request with a cookie that changes something and does not come from a page of ours.

        Raises PermissionDeniedError. A body must be JSON, which no form of another page can send.
        """
        if exchange.method in _SAFE_METHODS:
            return
        self.require_same_origin(exchange)
        kind = exchange.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        has_body = exchange.headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in exchange.headers
        if has_body and kind != _JSON:
            raise PermissionDeniedError(
                "With a session's cookie, the body must be application/json.", code="cross_site_request"
            )

    def require_same_origin(self, exchange: Exchange) -> None:
        """Raise PermissionDeniedError unless the browser says that a page of ours has sent this."""
        site, origin = exchange.headers.get(b"sec-fetch-site"), exchange.headers.get(b"origin")
        is_own = self._is_own(exchange, origin) if origin is not None else site == b"same-origin"
        if not is_own or site not in (None, b"same-origin"):
            raise self._cross_site(exchange)

    def refuse_other_sites(self, exchange: Exchange) -> None:
        """Raise PermissionDeniedError if the browser says that another page has sent this; programs say nothing."""
        if b"origin" in exchange.headers or b"sec-fetch-site" in exchange.headers:
            self.require_same_origin(exchange)

    def _is_own(self, exchange: Exchange, origin: bytes) -> bool:
        if self._own is not None:
            return origin == self._own
        scheme, _, place = origin.partition(b"://")
        return scheme in (b"http", b"https") and place != b"" and place == exchange.headers.get(b"host")

    def _cross_site(self, exchange: Exchange) -> PermissionDeniedError:
        expected = self._own or b"http://" + exchange.headers.get(b"host", b"")
        return PermissionDeniedError(
            "This request came from another site, or its browser did not say from where; open the page at "
            f"{expected.decode('latin-1')[:200]}, which is what server.public_url says.",
            code="cross_site_request",
        )
