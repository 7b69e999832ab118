"""One HTTP response: its head at once, its body as it arrives."""

import asyncio
from typing import TYPE_CHECKING, Self

from mainstay.kit.http.errors import MalformedResponse, TransportError
from mainstay.kit.http.limits import HIGH_WATER_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mainstay.kit.http.connection import Connection


class Response:
    """An answer whose head has arrived. Own it: read it to the end, or `aclose()` it.

    A response read to its end gives its connection back to the pool by itself.
    """

    __slots__ = (
        "_chunks",
        "_connection",
        "_error",
        "_is_ended",
        "_loop",
        "_size_bytes",
        "_waiter",
        "headers",
        "status",
    )

    def __init__(self, connection: "Connection", loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0
        self.headers: Mapping[bytes, bytes] = {}
        """Names in lower case; the values of a repeated header are joined by commas."""
        self._connection: Connection | None = connection
        self._loop = loop
        self._chunks: list[bytes] = []
        self._size_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: TransportError | None = None
        self._is_ended = False

    async def read_chunk(self) -> bytes:
        """Return all that has arrived since the last call, waiting if that is nothing; b"" at a clean end.

        Raises TransportError if the answer stops in any other way, after what had arrived was returned.
        """
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._is_ended:
                return b""
            await self.wait()
        chunks = self._chunks
        self._chunks = []
        self._size_bytes = 0
        if self._connection is not None:
            self._connection.resume()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def read(self, max_bytes: int) -> bytes:
        """Return the whole rest of the body. Raises MalformedResponse, and closes, if it is longer than that."""
        parts: list[bytes] = []
        size_bytes = 0
        while chunk := await self.read_chunk():
            parts.append(chunk)
            size_bytes += len(chunk)
            if size_bytes > max_bytes:
                await self.aclose()
                raise MalformedResponse(f"The answer is longer than {max_bytes} bytes.")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def aclose(self) -> None:
        """Drop what was not read and close the connection, unless the answer had already ended; safe to call twice."""
        self._chunks.clear()
        if self._connection is not None:
            self._connection.abort()

    def discard(self) -> None:
        """Say that nothing more is of interest.

        The connection is kept if the end of the answer follows within a second, and closed otherwise.
        """
        if self._connection is not None:
            self._connection.discard()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    # What follows is for the connection alone.

    async def wait(self) -> None:
        """Wait until something happens to this response."""
        self._waiter = waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    async def wait_for_head(self) -> None:
        """Wait until `status` and `headers` are there; raises TransportError."""
        while not self.status:
            if self._error is not None:
                raise self._error
            await self.wait()

    def receive(self, data: bytes) -> None:
        """Take a piece of the body."""
        self._chunks.append(data)
        self._size_bytes += len(data)

    def is_full(self) -> bool:
        """Say whether more is waiting to be read than should be held."""
        return self._size_bytes > HIGH_WATER_BYTES

    def wake(self) -> None:
        """Let the reader look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def end(self, error: TransportError | None = None) -> None:
        """Take the end, clean without an error; the connection is no longer this response's."""
        self._connection = None
        if error is None:
            self._is_ended = True
        else:
            self._error = error
        self.wake()
