"""Requests to addresses that people enter, such as an identity provider's or a webhook's: never to the inside.

Each request has a connection of its own, goes through no proxy, and follows redirects only where it is told to; every
hop is checked as the first one was.
"""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from mainstay.kit.errors import InvalidRequestError
from mainstay.kit.http.addresses import AddressGuard, Network, Resolve
from mainstay.kit.http.errors import MalformedResponse
from mainstay.kit.http.head import Headers
from mainstay.kit.http.limits import PoolLimits, Timeouts
from mainstay.kit.http.pool import Pool
from mainstay.kit.http.response import Response
from mainstay.kit.http.tls import client_context
from mainstay.kit.http.url import Url

MAX_REDIRECTS = 5

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TO_ANY_ORIGIN = frozenset({b"accept", b"accept-language", b"user-agent", b"content-type"})
"""Headers that a redirect takes along to another origin; all others may hold credentials."""
_LIMITS = PoolLimits(max_connections=1, max_waiting=1)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A whole answer."""

    status: int
    headers: Mapping[bytes, bytes]
    """Names in lower case."""
    body: bytes
    url: str
    """Where it came from, after redirects."""

    def header(self, name: str) -> str | None:
        """Return one header as text."""
        value = self.headers.get(name.lower().encode())
        return None if value is None else value.decode("latin-1")


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: Url
    headers: Headers
    body: bytes

    def redirected(self, status: int, location: str) -> Self:
        """Return the request that follows a redirect (RFC 9110, 15.4). Raises MalformedResponse."""
        try:
            url = self.url.join(location)
        except InvalidRequestError as error:
            raise MalformedResponse(f"{self.url.origin} redirects to where nothing can be: {error.message}") from error
        if self.url.origin.is_tls and not url.origin.is_tls:
            raise MalformedResponse(f"{self.url.origin} redirects from https to http, which is not followed.")
        becomes_get = status == 303 or (status in (301, 302) and self.method == "POST")
        method, body = ("GET", b"") if becomes_get else (self.method, self.body)
        headers = self.headers
        if url.origin != self.url.origin:
            if body:
                raise MalformedResponse(f"{self.url.origin} redirects what was sent to {url.origin}; use that address.")
            headers = [(name, value) for name, value in headers if name.lower() in _TO_ANY_ORIGIN]
        if becomes_get:
            headers = [(name, value) for name, value in headers if name.lower() != b"content-type"]
        return type(self)(method, url, headers, body)


class Outbound:
    """Fetches what is small enough to be held, from the public internet and from `allowed` networks."""

    def __init__(
        self, allowed: Sequence[Network] = (), *, tls: ssl.SSLContext | None = None, resolve: Resolve | None = None
    ) -> None:
        """`allowed` are the private networks that the operator has opened; `tls` and `resolve` are the system's."""
        self.guard = AddressGuard(allowed, resolve=resolve)
        """Of use for connections of another kind, such as the gateway's."""
        self._tls = tls

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        headers: Headers = (),
        body: bytes = b"",
        timeout_seconds: float = 10.0,
        max_bytes: int = 1_048_576,
        follow_redirects: bool = False,
    ) -> Fetched:
        """Send a request and return the whole answer, whatever its status; a redirect too unless it is followed.

        Raises InvalidRequestError for a URL that cannot be used, ForbiddenAddressError for one that leads inside, and
        TransportError for an answer that does not come, does not come in time, or is longer than `max_bytes`.
        """
        request = _Request(method, Url.parse(url), headers, body)
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        for _ in range(MAX_REDIRECTS + 1):
            fetched = await self._send(request, deadline=deadline, max_bytes=max_bytes)
            location = fetched.header("location")
            if not follow_redirects or fetched.status not in _REDIRECTS or location is None:
                return fetched
            request = request.redirected(fetched.status, location)
        raise MalformedResponse(f"{url.partition('?')[0][:200]} redirects more than {MAX_REDIRECTS} times.")

    async def _send(self, request: _Request, *, deadline: float, max_bytes: int) -> Fetched:
        origin = request.url.origin
        seconds = max(deadline - asyncio.get_running_loop().time(), 0.001)
        timeouts = Timeouts(connect_seconds=seconds, first_byte_seconds=seconds, idle_seconds=seconds)
        pool = Pool(origin, _LIMITS, timeouts, tls=self.tls if origin.is_tls else None, guard=self.guard)
        try:
            response = await pool.send(
                request.method, request.url.target, request.headers, request.body, deadline=deadline
            )
            return await _read(response, str(request.url), max_bytes)
        finally:
            await pool.aclose()

    @property
    def tls(self) -> ssl.SSLContext:
        """The settings by which certificates are verified."""
        if self._tls is None:
            self._tls = client_context()  # once: its roots take a megabyte
        return self._tls


async def _read(response: Response, url: str, max_bytes: int) -> Fetched:
    async with response:
        body = await response.read(max_bytes)
    return Fetched(response.status, response.headers, body, url)
