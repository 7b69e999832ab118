"""Opening a connection: TCP, unix socket, TLS, and the way through a proxy."""

import asyncio
import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

from mainstay.kit.errors import ConfigurationError
from mainstay.kit.http.addresses import AddressGuard
from mainstay.kit.http.errors import (
    ConnectionReset,
    ConnectRefused,
    ConnectTimeout,
    DnsFailure,
    TlsFailure,
    TransportError,
)
from mainstay.kit.http.origin import Origin, Proxy

MAX_PROXY_HEAD_BYTES = 16 * 1024

P = TypeVar("P", bound=asyncio.Protocol)


@dataclass(frozen=True, slots=True)
class Route:
    """The way to an origin."""

    origin: Origin
    proxy: Proxy | None = None
    tls: ssl.SSLContext | None = None
    guard: AddressGuard | None = None
    """Says which addresses may be connected to; without one, any may."""

    def __post_init__(self) -> None:
        if self.guard is not None and self.proxy is not None:
            raise ConfigurationError(f"The address of {self.origin} cannot be checked behind a proxy; use one without.")

    def __str__(self) -> str:
        return str(self.origin) if self.proxy is None else f"{self.origin} (by proxy {self.proxy})"


async def dial(route: Route, factory: Callable[[], P], timeout_seconds: float) -> P:
    """Connect and return the protocol made by `factory`. Raises TransportError."""
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _connect(route, factory)
    except TimeoutError as error:
        raise ConnectTimeout(f"{route} did not accept a connection within {timeout_seconds:g} s.") from error
    except socket.gaierror as error:
        raise DnsFailure(f"The name in {route} cannot be looked up: {error.strerror}.") from error
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason or str(error)
        raise TlsFailure(f"No TLS connection to {route}: {reason}.") from error
    except (ConnectionResetError, ConnectionAbortedError, BrokenPipeError) as error:
        raise ConnectionReset(f"{route} broke the connection while it was being opened.") from error
    except OSError as error:
        raise ConnectRefused(f"Cannot connect to {route}: {error.strerror or error}.") from error


async def _connect(route: Route, factory: Callable[[], P]) -> P:
    loop = asyncio.get_running_loop()
    origin = route.origin
    if origin.socket_path is not None:
        _, protocol = await loop.create_unix_connection(factory, origin.socket_path)
        return protocol
    transport: asyncio.BaseTransport
    if route.guard is not None:
        transport, protocol = await _connect_checked(route, route.guard, factory)
    elif route.proxy is None:
        transport, protocol = await _connect_to(origin.host, route, factory)
    elif origin.is_tls:
        transport, protocol = await _connect_through(route, route.proxy, factory)
    else:
        transport, protocol = await loop.create_connection(factory, route.proxy.host, route.proxy.port)
    _do_not_delay(transport)
    return protocol


async def _connect_checked(
    route: Route, guard: AddressGuard, factory: Callable[[], P]
) -> tuple[asyncio.BaseTransport, P]:
    """Connect to the first of the checked addresses that accepts; the name is not looked up again."""
    *others, last = await guard.addresses(route.origin.host)
    for address in others:
        try:
            return await _connect_to(address, route, factory)
        except ssl.SSLError:
            raise
        except OSError:
            continue
    return await _connect_to(last, route, factory)


async def _connect_to(host: str, route: Route, factory: Callable[[], P]) -> tuple[asyncio.BaseTransport, P]:
    origin = route.origin
    return await asyncio.get_running_loop().create_connection(
        factory,
        host,
        origin.port,
        ssl=route.tls if origin.is_tls else None,
        server_hostname=origin.host if origin.is_tls else None,
    )


async def _connect_through(route: Route, proxy: Proxy, factory: Callable[[], P]) -> tuple[asyncio.BaseTransport, P]:
    """Ask the proxy for a tunnel and speak TLS to the origin through it."""
    loop = asyncio.get_running_loop()
    plain, tunnel = await loop.create_connection(Tunnel, proxy.host, proxy.port)
    try:
        await tunnel.open(route.origin, proxy)
        protocol = factory()
        if route.tls is None:
            raise TlsFailure(f"No TLS settings for {route}.")
        transport = await loop.start_tls(plain, protocol, route.tls, server_hostname=route.origin.host)
        if transport is None:
            raise ConnectionReset(f"{route} broke the connection while it was being opened.")
    except BaseException:  # cancellation too must close the socket
        plain.abort()
        raise
    protocol.connection_made(transport)
    return transport, protocol


class Tunnel(asyncio.Protocol):
    """The one exchange with a proxy that comes before TLS (CONNECT, RFC 9110, 9.3.6)."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._head: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def open(self, origin: Origin, proxy: Proxy) -> None:
        """Return when bytes go through to the origin. Raises TransportError."""
        lines = [f"CONNECT {origin.host_and_port} HTTP/1.1", f"host: {origin.host_and_port}"]
        if proxy.authorization is not None:
            lines.append(f"proxy-authorization: {proxy.authorization}")
        if self._transport is not None:
            self._transport.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = await self._head
        status = re.match(rb"HTTP/1\.[01] (\d{3})\b", head)
        if status is None:
            raise ConnectRefused(f"Proxy {proxy} did not answer in HTTP/1.1.")
        if status[1] == b"407":
            raise ConnectRefused(f"Proxy {proxy} wants other credentials (407).")
        if not status[1].startswith(b"2"):
            raise ConnectRefused(f"Proxy {proxy} refused the way to {origin} ({status[1].decode()}).")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)  # the event loop types it as the base of all kinds

    def data_received(self, data: bytes) -> None:
        """Collect the head; the origin says nothing before TLS begins, so nothing may follow it."""
        self._received += data
        if self._head.done():
            return
        if b"\r\n\r\n" in self._received:
            self._head.set_result(self._received)
        elif len(self._received) > MAX_PROXY_HEAD_BYTES:
            self._head.set_exception(ConnectRefused("The proxy's answer is too long."))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits."""
        if not self._head.done():
            self._head.set_exception(_broken(exc))


def _broken(exc: Exception | None) -> TransportError:
    error = ConnectionReset("The proxy closed the connection without an answer.")
    error.__cause__ = exc
    return error


def _do_not_delay(transport: asyncio.BaseTransport) -> None:
    """Send small writes at once, and notice a peer that has vanished."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
