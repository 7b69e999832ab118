"""Looks at the server of this installation, if one runs: what it has loaded, and what it waits for."""

import asyncio
import http.client
from urllib.parse import urlsplit

import msgspec

from mainstay.cli.doctor.findings import Finding, ok, warning
from mainstay.cli.in_use import engines
from mainstay.cli.running import local_address

_SECONDS = 5.0


class _Readiness(msgspec.Struct):
    ready: bool
    waiting_for: list[str] = []


async def check_server() -> list[Finding]:
    """Is a server running, and can it answer? Without one there is nothing to say."""
    url = await asyncio.to_thread(local_address)
    if url is None:
        return []
    loaded, readiness = await asyncio.gather(asyncio.to_thread(engines), asyncio.to_thread(_readiness, url))
    if readiness is None:
        remedy = "Look at its log, or start it again with `mainstay serve`."
        return [warning("server", f"The server of this installation does not answer at {url}.", remedy)]
    if not readiness.ready:
        waiting = ", ".join(readiness.waiting_for) or "something that it does not name"
        return [warning("server", f"The server at {url} waits for {waiting}.", "Wait for that, or look at its log.")]
    models = ", ".join(f"{model} ({phase})" for model, phase in loaded.items()) or "no model"
    return [ok("server", f"The server at {url} is ready; loaded: {models}")]


def _readiness(url: str) -> _Readiness | None:
    """Ask for /readyz; None if there is no answer that can be read."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(parts.hostname or "", parts.port, timeout=_SECONDS)
        try:
            connection.request("GET", "/readyz")
            return msgspec.json.decode(connection.getresponse().read(65_536), type=_Readiness)
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException, msgspec.DecodeError):
        return None
