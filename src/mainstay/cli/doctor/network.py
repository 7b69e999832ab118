"""Looks at the network: the port to listen on and, if asked, the way to each provider."""

import asyncio
import contextlib
import errno
import socket
from urllib.parse import urlsplit

from mainstay.cli.doctor.findings import Finding, ok, problem, warning
from mainstay.settings import Provider, Settings

_SECONDS = 5.0
_ALIVE = b'{"status":"ok"}'


async def check_port(settings: Settings) -> list[Finding]:
    """Is the port free, or is Mainstay there already?"""
    host, port = settings.server.host, settings.server.port
    if port == 0:
        return [ok("port", "the system chooses a free port at each start")]
    failure = await asyncio.to_thread(_try_to_bind, host, port)
    if failure is None:
        return [ok("port", f"{host}:{port} is free")]
    if failure.errno == errno.EADDRINUSE:
        if await _is_mainstay(host, port):
            return [ok("port", f"Mainstay is alive at {host}:{port}")]
        remedy = f"Stop it, or choose another port: {_port_setting(settings)}."
        return [problem("port", f"Another program listens at {host}:{port}.", remedy)]
    if failure.errno == errno.EACCES:
        return [
            problem("port", f"This user may not listen at {host}:{port}.", "Choose a port above 1023: MAINSTAY_PORT.")
        ]
    return [problem("port", f"Nobody can listen at {host}:{port}: {failure.strerror}.", "Set MAINSTAY_HOST.")]


def _port_setting(settings: Settings) -> str:
    """Return what to change for another port: whatever set this one."""
    origin = settings.origin("server.port")
    return "set MAINSTAY_PORT" if origin in ("default", "MAINSTAY_PORT") else f"server.port at {origin}"


async def check_providers(settings: Settings) -> list[Finding]:
    """Can each provider be connected to? Nothing is sent."""
    return await asyncio.gather(*(_check_provider(provider) for provider in settings.providers))


async def _check_provider(provider: Provider) -> Finding:
    """Connect to the proxy if there is one, since that is all that is reached directly."""
    through_proxy = provider.proxy is not None
    parts = urlsplit(provider.proxy.reveal() if provider.proxy is not None else provider.base_url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    where = f"{'the proxy ' if through_proxy else ''}{host}:{port} of provider '{provider.name}'"
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return warning("provider", f"No connection to {where} within {_SECONDS:.0f} s.", "Check firewall and proxy.")
    except OSError as error:
        reason = error.strerror or str(error)
        return warning("provider", f"No connection to {where}: {reason}.", "Check the address, DNS and the firewall.")
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return ok("provider", f"{where} accepts connections")


def _try_to_bind(host: str, port: int) -> OSError | None:
    """Bind as the server would, and let go at once."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            probe.listen(1)
    except OSError as error:
        return error
    return None


async def _is_mainstay(host: str, port: int) -> bool:
    """Ask whoever listens for /livez."""
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection(address, port)
            writer.write(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            answer = await reader.read(4096)
            while not answer.endswith(_ALIVE) and (more := await reader.read(4096)) and len(answer) < 65536:
                answer += more
            writer.close()
    except (OSError, TimeoutError):
        return False
    return answer.startswith(b"HTTP/1.1 200") and answer.endswith(_ALIVE)
