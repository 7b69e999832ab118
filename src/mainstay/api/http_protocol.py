"""uvicorn's HTTP/1.1 protocol, with what a service on an open network needs besides.

- A request's headers must arrive within a time, and be of a size; uvicorn bounds neither (0.54).
- A caller that goes away cancels its request at once, without a task per request that watches for it; one that stops
  reading its answer is taken to have gone.
- A wish for another protocol is ignored without losing the body.
- What cannot be parsed as HTTP is refused in the shape of every other error.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from mainstay.api.app import DRAIN
from mainstay.api.exchange import TASK
from mainstay.api.response_cycle import ResponseCycle

HEADERS_LIMIT_BYTES = 64 * 1024
_BODY_SILENCE_SECONDS = 60.0
_UPGRADE_HEADERS = frozenset({b"connection", b"upgrade", b"http2-settings"})
_UNREAD_SECONDS = 60.0
"""How long an answer may wait for its caller to take any more of it."""
_LINGER_SECONDS = 1.0
_BAD_REQUEST = (
    b'{"error":{"message":"This is not a valid HTTP/1.1 request.","type":"invalid_request_error",'
    b'"param":null,"code":"invalid_http"}}'
)
_HEADERS_TOO_LARGE = (
    b'{"error":{"message":"The request headers are too large; send at most 64 KiB.",'
    b'"type":"invalid_request_error","param":null,"code":"headers_too_large"}}'
)
_CLOSE = b"content-type: application/json\r\nconnection: close\r\ncontent-length: "


class HttpProtocol(HttpToolsProtocol):
    """One connection. `server_state.connections` holds all of them, for `sweep` and for draining."""

    __slots__ = (
        "_arrived_bytes", "_deadline", "_header_bytes", "_header_timeout", "_is_in_head", "_is_leaving",
        "_is_refused", "_task", "_unsent_bytes", "_unsent_since",
    )  # fmt: skip

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # uvicorn's own type
        *,
        header_timeout_seconds: float,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._header_timeout = header_timeout_seconds
        self._header_bytes = 0
        self._arrived_bytes = 0
        self._is_in_head = False
        self._deadline: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_leaving = False
        self._is_refused = False
        self._unsent_bytes = 0
        self._unsent_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Start waiting for the first request's headers."""
        super().connection_made(transport)
        self._deadline = time.monotonic() + self._header_timeout

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the request that this connection was waiting for."""
        task, self._task = self._task, None
        is_answering = self._is_answering()
        super().connection_lost(exc)
        if task is not None and not task.done() and is_answering:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a body that is being sent keeps its connection alive."""
        if self._is_refused:
            return
        if self._has_had_request() and not self._is_in_head and self._deadline is not None:
            self._deadline = time.monotonic() + _BODY_SILENCE_SECONDS
        self._arrived_bytes = len(data)
        self._feed(data)
        self._time_idleness()
        if self._is_in_head:
            # The parser keeps an unfinished header to itself, however long it grows.
            self._count_header_bytes(len(data))

    def on_message_begin(self) -> None:
        """The first byte of a request has arrived."""
        super().on_message_begin()
        self._header_bytes = 0
        self._is_in_head = True
        self._deadline = time.monotonic() + self._header_timeout

    def on_headers_complete(self) -> None:
        """Hand the request to the application; from here on only a silent body is timed."""
        if self._header_bytes + self._arrived_bytes > HEADERS_LIMIT_BYTES:
            # Only a head that came with much else has to be measured.
            self._header_bytes = 0
            self._count_header_bytes(len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers))
        if self._is_refused or self._wants_upgrade():
            return
        self._is_in_head = False
        self._deadline = time.monotonic() + _BODY_SILENCE_SECONDS
        super().on_headers_complete()
        if self._is_leaving:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body on, unless the request was refused."""
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole: its answer may take as long as it takes."""
        if self._wants_upgrade():
            return
        self._deadline = None
        if not self._is_refused:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        del msg
        self._refuse(b"400 Bad Request", _BAD_REQUEST)

    def close_if_late(self, now: float) -> None:
        """Close the connection when its request has not come, or its answer was not taken, in time."""
        if self._deadline is not None and now > self._deadline:
            self._refuse(b"408 Request Timeout", b"")
        elif self._is_unread(now):
            self.transport.abort()

    def resume_writing(self) -> None:
        """The caller has taken a good part of what was waiting for it."""
        self._unsent_bytes = 0
        super().resume_writing()

    def leave(self) -> None:
        """Close after the answer to the request that is open, or to the next one.

        An idle connection stays for now: its peer may be sending a request at this moment, which would be lost.
        """
        self._is_leaving = True
        if self._is_answering():
            self.cycle.keep_alive = False

    def close_if_idle(self) -> None:
        """Close the connection if it waits for no answer."""
        if not self._is_answering() and not self._is_in_head:
            self.transport.close()

    def drain(self) -> None:
        """End the open request with the server's last word, or close an idle connection."""
        if self._task is not None and not self._task.done():
            self._task.cancel(DRAIN)
        else:
            self.transport.close()

    def _feed(self, data: bytes) -> None:
        """Parse, as the base does, which lets an upgrade have its way."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("")
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])

    def _wants_upgrade(self) -> bool:
        # CONNECT, which the parser counts in, is refused by the base for its target.
        return bool(self.parser.should_upgrade()) and self.parser.get_method() != b"CONNECT"

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Parse the request again without its wish for another protocol (RFC 9110, 7.8).

        The parser takes a body after such a head for that protocol's bytes, and uvicorn (0.54) for the next request.
        """
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [b"%b: %b" % header for header in self.headers if header[0] not in _UPGRADE_HEADERS]
        if any(name == b"connection" and b"close" in value.lower() for name, value in self.headers):
            lines.append(b"connection: close")
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as the base's
        self._feed(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def _has_had_request(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn declares it without the None that it begins with
        return cycle is not None and not cycle.response_complete

    def _is_unread(self, now: float) -> bool:
        unsent_bytes = self.transport.get_write_buffer_size()
        if not unsent_bytes or unsent_bytes != self._unsent_bytes:
            self._unsent_bytes, self._unsent_since = unsent_bytes, now
        return now - self._unsent_since > _UNREAD_SECONDS

    def _time_idleness(self) -> None:
        """Begin the keep-alive time again: any byte ends it, also a blank line or the rest of a refused body."""
        is_timed = self._deadline is not None or self.timeout_keep_alive_task is not None
        if is_timed or self._is_in_head or self._is_answering() or self.transport.is_closing():
            return
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        # The base makes its own kind of cycle, in the middle of a long method; ours differs in how it writes only.
        cycle.__class__ = ResponseCycle
        # The base keeps its tasks in one set for the server; the connection must know its own.
        task = self._task = self.loop.create_task(cycle.run_asgi(app))
        cycle.scope[TASK] = task  # type: ignore[literal-required] # the task has not begun yet
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _count_header_bytes(self, count: int) -> None:
        self._header_bytes += count
        if self._header_bytes > HEADERS_LIMIT_BYTES:
            self._refuse(b"431 Request Header Fields Too Large", _HEADERS_TOO_LARGE)

    def _refuse(self, status: bytes, body: bytes) -> None:
        """Answer and close; what still comes in is dropped for a moment, or a reset would overtake the answer."""
        if self._is_refused:
            return
        self._is_refused = True
        self._deadline = None
        if not self._is_answering():
            self.transport.write(b"HTTP/1.1 %b\r\n%b%d\r\n\r\n%b" % (status, _CLOSE, len(body), body))
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self.loop.call_later(_LINGER_SECONDS, self.transport.close)
        else:
            self.transport.close()


def sweep(connections: Iterable[object]) -> None:
    """Close the connections that are late; call it every second."""
    now = time.monotonic()
    for connection in list(connections):
        if isinstance(connection, HttpProtocol):
            connection.close_if_late(now)
