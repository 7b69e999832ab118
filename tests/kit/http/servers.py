"""Servers that say exactly what a test wants said, byte by byte."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from mainstay.kit.http import Origin

CERTIFICATES = Path(__file__).parent / "certificates"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@contextlib.asynccontextmanager
async def serving(handler: Handler, host: str = "127.0.0.1", **options: object) -> AsyncIterator[Origin]:
    """Run a handler for each connection; yields the origin."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, host, 0, **options)
    try:
        yield Origin(host=host, port=server.sockets[0].getsockname()[1])
    finally:
        server.close()


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return the head and the body of the next request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
    )
    return head, await reader.readexactly(length)


def saying(*answers: bytes, close: bool = True) -> Handler:
    """Answer each request of a connection with the next of these texts."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await read_request(reader)
            writer.write(answer)
            await writer.drain()
        if not close:
            await reader.read()

    return handler


class ConnectProxy:
    """An HTTP proxy that keeps what it was asked; absolute-form requests it answers itself."""

    def __init__(self, *, status: bytes = b"200 Connection established") -> None:
        self.requests: list[bytes] = []
        self._status = status

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(head)
        if not head.startswith(b"CONNECT"):
            writer.write(OK)
            return
        writer.write(b"HTTP/1.1 " + self._status + b"\r\n\r\n")
        if not self._status.startswith(b"2"):
            return
        _, port = head.split(b" ")[1].rsplit(b":", 1)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(port))
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
