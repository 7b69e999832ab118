"""A small HTTP/1.1 server for engines of our own: JSON in, JSON out, on a private Unix socket.

Keep-alive, and bodies with Content-Length; no chunked bodies, no encodings, no requests in parallel on one connection.
Its only clients are our own processes.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import cast

import httptools
import msgspec

_MAX_CONNECTIONS = 512

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A whole request."""

    method: str
    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A whole answer; `body` is JSON."""

    status: int
    body: bytes


Handler = Callable[[HttpRequest], Awaitable[HttpAnswer]]


def error_answer(status: int, message: str, *, param: str | None = None, code: str | None = None) -> HttpAnswer:
    """Return an answer in OpenAI's error shape."""
    kind = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
    error = {"message": message, "type": kind, "param": param, "code": code}
    return HttpAnswer(status, msgspec.json.encode({"error": error}))


class HttpServer:
    """Listens on a Unix socket and hands whole requests to `handler`, one at a time per connection."""

    def __init__(self, handler: Handler, *, max_body_bytes: int) -> None:
        self.handler = handler
        self.max_body_bytes = max_body_bytes
        self.connections: set[_Connection] = set()
        self.one_closed = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def listen(self, socket_path: Path) -> None:
        """Begin to accept connections."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Connection(self), str(socket_path))

    async def drain(self, grace_seconds: float) -> None:
        """Accept nothing more, let what was asked be answered within the grace, close."""
        if self._server is not None:
            self._server.close()
        deadline = asyncio.get_running_loop().time() + grace_seconds
        answering = {connection.task for connection in self.connections if connection.task is not None}
        if answering:
            await asyncio.wait(answering, timeout=grace_seconds)
        for connection in tuple(self.connections):
            connection.close()
        # Closing sends what is still buffered; a client that reads slowly has the rest of the grace for it.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while self.connections:
                    self.one_closed.clear()
                    await self.one_closed.wait()

    @property
    def is_full(self) -> bool:
        """Whether no more connections are taken."""
        return len(self.connections) >= _MAX_CONNECTIONS


class _Connection(asyncio.Protocol):
    """One connection: bytes to requests, requests to answers, in order."""

    def __init__(self, server: HttpServer) -> None:
        self.task: asyncio.Task[None] | None = None
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._requests: deque[tuple[HttpRequest, bool]] = deque()
        self._path = b""
        self._body = bytearray()
        self._refusal: HttpAnswer | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A stream server's transport is one; uvloop's does not derive from the class.
        self._transport = cast("asyncio.Transport", transport)
        if self._server.is_full:
            self._transport.abort()
            return
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the loop's signature
        self._server.connections.discard(self)
        self._server.one_closed.set()
        # Nobody waits for the answer: work that has not begun never begins.
        if self.task is not None:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._refuse(self._refusal or error_answer(400, f"Not an HTTP request: {error}."))
            return
        if self._requests and self.task is None and self._transport is not None:
            self._transport.pause_reading()
            self.task = asyncio.create_task(self._answer_all(), name="engine request")

    def close(self) -> None:
        """Close once what was written has been sent."""
        if self._transport is not None:
            self._transport.close()

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self._path = b""
        self._body.clear()

    def on_url(self, url: bytes) -> None:
        """Called by the parser."""
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser. Raising ends the parsing."""
        if name.lower() == b"transfer-encoding":
            self._reject(error_answer(411, "Send a Content-Length."))
        if name.lower() == b"content-length" and int(value) > self._server.max_body_bytes:
            self._reject(error_answer(413, f"The body is larger than {self._server.max_body_bytes} bytes."))

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body += body

    def on_message_complete(self) -> None:
        """Called by the parser."""
        path = self._path.partition(b"?")[0].decode("latin-1")
        request = HttpRequest(self._parser.get_method().decode(), path, bytes(self._body))
        # Asked here: once the parser goes on to the next message it has forgotten.
        self._requests.append((request, self._parser.should_keep_alive()))

    def _reject(self, answer: HttpAnswer) -> None:
        self._refusal = answer
        raise ValueError(answer.status)

    def _refuse(self, answer: HttpAnswer) -> None:
        self._write(answer, keep_alive=False)
        self.close()

    async def _answer_all(self) -> None:
        while self._requests:
            request, keep_alive = self._requests.popleft()
            try:
                answer = await self._server.handler(request)
            except Exception:
                # The boundary between one request and a process that serves others, too.
                _logger.exception("%s %s failed", request.method, request.path)
                answer = error_answer(500, "The engine failed on this request; see its log.")
            self._write(answer, keep_alive=keep_alive)
            if not keep_alive:
                self.close()
                return
        self.task = None
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _write(self, answer: HttpAnswer, *, keep_alive: bool) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        reason = HTTPStatus(answer.status).phrase
        head = (
            f"HTTP/1.1 {answer.status} {reason}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(answer.body)}\r\nConnection: {'keep-alive' if keep_alive else 'close'}\r\n\r\n"
        )
        self._transport.write(head.encode() + answer.body)
