"""Asking a child on its Unix socket whether it is well."""

import asyncio
import re
from pathlib import Path
from typing import Self

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_MAX_HEAD_BYTES = 8192
_MAX_BODY_BYTES = 1_048_576
_OK = 200


class HealthProbe:
    """Asks over one connection that it keeps, so that a child with no thread left for new connections still answers."""

    def __init__(self, socket_path: Path, *, path: str = "/health") -> None:
        self._socket_path = socket_path
        self._request = f"GET {path} HTTP/1.1\r\nHost: engine\r\n\r\n".encode()
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def is_healthy(self, *, timeout_seconds: float) -> bool:
        """Whether the child answers 200 in time. False also while it loads, and when nobody listens."""
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._ask() == _OK
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # TimeoutError is an OSError. The connection may hold half an answer: never use it again.
            self.close()
            return False

    def close(self) -> None:
        """Close the connection; the next question opens another."""
        if self._connection is not None:
            self._connection[1].transport.abort()
            self._connection = None

    async def _ask(self) -> int:
        if self._connection is None:
            self._connection = await asyncio.open_unix_connection(str(self._socket_path), limit=_MAX_HEAD_BYTES)
        reader, writer = self._connection
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        status, length = _STATUS.match(head), _LENGTH.search(head)
        if status is None or length is None or int(length[1]) > _MAX_BODY_BYTES:
            raise ValueError(f"not an answer of ours: {head[:80]!r}")
        await reader.readexactly(int(length[1]))
        if b"connection: close" in head.lower():
            self.close()
        return int(status[1])
