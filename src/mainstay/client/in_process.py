"""An ASGI app in this process as a transport that truly streams.

`send` returns when the app has sent the head of its answer. The app is held back when the reader is slow, sees
`http.disconnect` when the reader leaves early, and is cancelled if it does not heed that.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

from mainstay.client.errors import AnswerCutOffError, ServerFailedError
from mainstay.client.transport import Headers

# ASGI leaves the members of scopes and messages open: each type of message has its own (asgi.readthedocs.io, 3.0).
AsgiMessage = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[AsgiMessage]]
Send = Callable[[AsgiMessage], Awaitable[None]]
App = Callable[[AsgiMessage, Receive, Send], Awaitable[None]]

_log = logging.getLogger(__name__)

_END_SECONDS = 5.0


class ReaderLeftError(OSError):
    """The app sent to a reader that has gone; an OSError, as ASGI 2.4 asks."""


class InProcess:
    """Carries requests to `app`; owns the task of each until its answer is closed."""

    def __init__(
        self, app: App, *, buffer_bytes: int = 65_536, head_seconds: float = 600.0, grace_seconds: float = 0.25
    ) -> None:
        self._app = app
        self._buffer_bytes = buffer_bytes
        self._head_seconds = head_seconds
        self._grace_seconds = grace_seconds
        self._open: set[_Exchange] = set()

    async def send(self, method: str, path: str, headers: Headers, body: bytes) -> "_Exchange":
        """Start the app on a request and return once the head of its answer is there."""
        exchange = _Exchange(body, self._buffer_bytes, self._grace_seconds, self._open.discard)
        self._open.add(exchange)
        try:
            async with asyncio.timeout(self._head_seconds):
                await exchange.start(self._app, _scope(method, path, headers, len(body)))
        except BaseException:
            await exchange.aclose()
            raise
        return exchange

    async def aclose(self) -> None:
        """Leave every answer that is still open."""
        await asyncio.gather(*(exchange.aclose() for exchange in list(self._open)))


class _Exchange:
    """One request and its answer: the app's task on one side, a reader on the other."""

    def __init__(
        self, body: bytes, buffer_bytes: int, grace_seconds: float, on_closed: Callable[["_Exchange"], None]
    ) -> None:
        self.status = 0
        self.headers: Mapping[bytes, bytes] = MappingProxyType({})
        self._body: bytes | None = body
        self._buffer_bytes = buffer_bytes
        self._grace_seconds = grace_seconds
        self._on_closed = on_closed
        self._arrived = bytearray()
        self._is_complete = False
        self._has_left = False
        self._changed = _Change()
        self._task: asyncio.Task[None] | None = None

    async def start(self, app: App, scope: AsgiMessage) -> None:
        """Run the app until the head of its answer is there."""
        self._task = asyncio.create_task(_run(app, scope, self._receive, self._send), name=f"app {scope['path']}")
        self._task.add_done_callback(lambda _: self._changed.notify())
        await self._changed.wait_until(lambda: self.status != 0 or self._is_over())
        if not self.status:
            raise ServerFailedError("The application ended without an answer.") from self._failure()

    async def read_chunk(self) -> bytes:
        """Return what the app has sent since the last call; `b""` at the end."""
        await self._changed.wait_until(lambda: bool(self._arrived) or self._is_complete or self._is_over())
        chunk = bytes(self._arrived)
        self._arrived.clear()
        self._changed.notify()
        if not chunk and not self._is_complete:
            raise AnswerCutOffError("The application ended in the middle of its answer.") from self._failure()
        return chunk

    async def aclose(self) -> None:
        """Tell the app that its reader has left, and see it end: by itself within the grace period, or cancelled."""
        self._has_left = True
        self._changed.notify()
        self._on_closed(self)
        task = self._task
        if task is None or task.done():
            return
        try:
            await asyncio.wait({task}, timeout=_END_SECONDS if self._is_complete else self._grace_seconds)
        finally:
            task.cancel()
        await asyncio.wait({task}, timeout=_END_SECONDS)
        if failure := self._failure():
            _log.error("The application failed after its reader had left.", exc_info=failure)

    async def _receive(self) -> AsgiMessage:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._changed.wait_until(lambda: self._has_left or self._is_complete)
        return {"type": "http.disconnect"}

    async def _send(self, message: AsgiMessage) -> None:
        if message["type"] == "http.response.start":
            self.headers = MappingProxyType({name.lower(): value for name, value in message.get("headers", ())})
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            await self._changed.wait_until(lambda: self._has_left or len(self._arrived) < self._buffer_bytes)
            if self._has_left:
                raise ReaderLeftError("The reader of this answer has left.")
            self._arrived += message.get("body", b"")
            self._is_complete = not message.get("more_body", False)
        self._changed.notify()

    def _is_over(self) -> bool:
        return self._task is not None and self._task.done()

    def _failure(self) -> BaseException | None:
        if self._task is None or not self._task.done() or self._task.cancelled():
            return None
        return self._task.exception()


class _Change:
    """Wakes those who wait for something to become true; whoever changes the state calls `notify`."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def wait_until(self, is_true: Callable[[], bool]) -> None:
        while not is_true():
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter

    def notify(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)


async def _run(app: App, scope: AsgiMessage, receive: Receive, send: Send) -> None:
    # A reader that left is the app's normal end, not a failure to report.
    with contextlib.suppress(ReaderLeftError):
        await app(scope, receive, send)


def _scope(method: str, target: str, headers: Headers, body_bytes: int) -> AsgiMessage:
    path, _, query = target.partition("?")
    sent = [(name.lower(), value) for name, value in headers]
    sent += [(b"host", b"in-process"), (b"content-length", str(body_bytes).encode())]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": "",
        "headers": sent,
        "client": None,
        "server": ("in-process", None),
    }
