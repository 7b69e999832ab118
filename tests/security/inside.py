"""The inside, as an attacker would like to reach it: listeners on loopback, a name server that lies, and the corpus."""

import asyncio
import contextlib
import ipaddress
import json
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_FILE = Path(__file__).parent / "ssrf_urls.txt"
_HTTP = b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\ncontent-type: application/json\r\n\r\n" + b'{"data":[], "a'
PUBLIC = "93.184.216.34"


def _section(name: str) -> list[str]:
    lines = _FILE.read_text(encoding="utf-8").split(f"\n[{name}]\n")[1].split("\n[")[0].splitlines()
    return [json.loads(f'"{line}"') for line in lines if line]


URLS = tuple(_section("addresses"))
NAMES = {name: addresses.split() for name, _, addresses in (line.partition(" = ") for line in _section("names"))}


class LyingNames:
    """A name server: of `rebind.example` it says first what is public, then what is inside."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        if host == "rebind.example":
            return [PUBLIC] if self.asked.count(host) == 1 else ["127.0.0.1"]
        if host not in NAMES:
            raise OSError(-2, "Name or service not known")
        return NAMES[host]


class Sockets:
    """Every address that this process connects to while it is watched; what is not here is refused, unsent."""

    def __init__(self) -> None:
        self._watched: list[tuple[str, int]] | None = None
        sys.addaudithook(self._heard)

    @contextlib.contextmanager
    def watched(self) -> Iterator[list[tuple[str, int]]]:
        """Yield the list that they are added to."""
        self._watched = found = []
        try:
            yield found
        finally:
            self._watched = None

    def _heard(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "socket.connect" and self._watched is not None and isinstance(arguments[1], tuple):
            host, port = arguments[1][:2]
            self._watched.append((host, port))
            if not ipaddress.ip_address(host).is_loopback:
                raise ConnectionRefusedError(111, "Tests reach nothing beyond loopback")


@dataclass
class Inside:
    """What listens inside."""

    port: int
    connections: int = 0
    names: LyingNames = field(default_factory=LyingNames)

    def url(self, text: str) -> str:
        """Return an address of the corpus with the port that listens."""
        return text.replace("{port}", str(self.port))


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[Inside]:
    """Listen on every loopback address, IPv6 too, and count who comes."""
    inside = Inside(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside.connections += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(_HTTP)
        writer.close()

    first = await asyncio.start_server(serve, "0.0.0.0", 0)
    inside.port = first.sockets[0].getsockname()[1]
    try:
        second = await asyncio.start_server(serve, "::1", inside.port)
    except OSError:  # a machine without IPv6
        second = first
    try:
        yield inside
    finally:
        first.close()
        second.close()
