"""One connection: HTTP/1.1 requests written, responses parsed, waits bounded.

A connection has no task and one lazily re-armed timer: `_due` moves with every event, and the timer looks at
it only when it fires. That is what makes thousands of open streams cheap.
"""

import asyncio
import contextlib
import math
import ssl
from enum import Enum, auto
from typing import Protocol, cast

import httptools

from mainstay.kit.http.errors import (
    ConnectionReset,
    DeadlineExceeded,
    FirstByteTimeout,
    IdleTimeout,
    MalformedResponse,
    Phase,
    TransportError,
    Truncated,
)
from mainstay.kit.http.head import RequestHead
from mainstay.kit.http.limits import MAX_HEAD_BYTES, WRITE_SLICE_BYTES, Timeouts
from mainstay.kit.http.response import Response

STALE_SECONDS = 1.0
"""A reused connection that breaks within this time, unanswered, was already closed when it was picked."""

DISCARD_SECONDS = 1.0
"""How long the end of a discarded answer may take."""

TIMER_SLACK_SECONDS = 0.001
"""Loops round their timers to milliseconds and may fire that much too early."""


class Owner(Protocol):
    """What a connection tells its pool."""

    def released(self, connection: "Connection") -> None:
        """The connection can be used again."""

    def lost(self, connection: "Connection") -> None:
        """The connection is closed."""


class _State(Enum):
    WAITING = auto()
    """For the head, then for the first byte of the body."""
    READING = auto()
    DISCARDING = auto()


class Connection(asyncio.Protocol):
    """Carries one exchange at a time; after a whole answer it goes back to its owner."""

    __slots__ = (
        "_can_keep", "_deadline", "_due", "_has_head", "_headers", "_is_complete", "_is_paused", "_is_sending",
        "_keep_alive_seconds", "_loop", "_name", "_other_bytes", "_owner", "_parser", "_response", "_resumed",
        "_sent_at", "_state", "_timeouts", "_timer", "_timer_due", "_transport", "_uses", "_was_answered",
    )  # fmt: skip

    # Of the exchange under way; set by `_begin`.
    _can_keep: bool
    _has_head: bool
    _headers: dict[bytes, bytes]
    _is_complete: bool
    _is_sending: bool
    _other_bytes: int
    _sent_at: float
    _state: _State
    _timeouts: Timeouts
    _was_answered: bool

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop, *, name: str, keep_alive_seconds: float) -> None:
        self._owner = owner
        self._loop = loop
        self._name = name
        self._keep_alive_seconds = keep_alive_seconds
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._response: Response | None = None
        self._resumed: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = self._due = self._deadline = math.inf
        self._uses = 0
        self._is_paused = False

    # For the pool

    @property
    def is_open(self) -> bool:
        """Say whether a request can be sent, as far as we know: the other side may have hung up."""
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(
        self, head: RequestHead, body: bytes, *, timeouts: Timeouts, deadline: float = math.inf
    ) -> Response:
        """Send a request and return when the head of its answer is there; any failure closes the connection.

        Raises TransportError.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ConnectionReset(f"{self._name} has closed an idle connection.", is_stale=self._uses > 0)
        response = self._begin(timeouts, deadline)
        try:
            if len(body) <= WRITE_SLICE_BYTES:
                transport.write(head.with_length(len(body)) + body)
                self._expect(timeouts.first_byte_seconds)
            else:
                await self._send_in_slices(transport, head.with_length(len(body)), body)
            await response.wait_for_head()
            if self._uses == 1:
                self._free_handshake(transport)
            if response.headers.get(b"content-encoding", b"identity") != b"identity":
                raise MalformedResponse(f"{self._name} compressed its answer, which was not asked for.")
        except BaseException:  # cancellation too must not leave half an exchange behind
            if self._response is response:  # otherwise the answer has ended, and others may be using us
                self.abort()
            raise
        return response

    def close(self) -> None:
        """Close in good order; for connections that carry no exchange."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once; what the other side is still doing for us is cancelled by that."""
        self._fail(ConnectionReset(f"The connection to {self._name} was closed from this side.", phase=Phase.READING))

    # For the response

    def resume(self) -> None:
        """Read from the socket again, if the reader's slowness had stopped that."""
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
            self._expect(self._timeouts.idle_seconds)

    def discard(self) -> None:
        """Wait a little for the end of the answer, so that the connection can be kept."""
        self._state = _State.DISCARDING
        self.resume()
        self._expect(DISCARD_SECONDS)

    # For the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport: of TCP, of a unix socket, or of TLS over either."""
        self._transport = cast("asyncio.Transport", transport)  # the event loop types it as the base of all kinds
        self._parser = httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived and wake the reader once."""
        response, parser = self._response, self._parser
        if response is None or parser is None:  # nobody asked: what follows could be taken for the next answer
            self.abort()
            return
        self._was_answered = True
        self._other_bytes += len(data)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(MalformedResponse(f"{self._name} switched protocols, which nobody asked for."))
            return
        except httptools.HttpParserError as error:
            self._can_keep = False
            if not self._is_complete:
                self._fail(_malformed(self._name, error))
                return
        if self._is_complete:
            self._finish(response)
        elif self._other_bytes > MAX_HEAD_BYTES:
            self._fail(MalformedResponse(f"{self._name} sent more than {MAX_HEAD_BYTES} bytes that are not body."))
        elif self._has_head:
            self._go_on(response)

    def pause_writing(self) -> None:
        """Stop handing over the request body."""
        self._resumed = self._loop.create_future()

    def resume_writing(self) -> None:
        """Hand over more of the request body."""
        resumed, self._resumed = self._resumed, None
        if resumed is not None and not resumed.done():
            resumed.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """End what was under way and tell the owner."""
        if self._timer is not None:
            self._timer.cancel()
        response, self._response = self._response, None
        if response is not None:
            response.end(None if self._ends_by_closing(exc) else self._broken(exc))
        self.resume_writing()
        self._parser = self._transport = self._timer = None
        self._owner.lost(self)

    # For the parser

    def on_message_begin(self) -> None:
        """Note an answer to a question that was not asked yet."""
        if self._is_complete:
            self._can_keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header; those after the body (trailers) mean nothing to us."""
        if self._has_head:
            return
        name = name.lower()
        known = self._headers.get(name)
        self._headers[name] = value if known is None else known + b", " + value

    def on_headers_complete(self) -> None:
        """Publish the head, unless it is an interim one (1xx)."""
        status = self._parser.get_status_code() if self._parser is not None else 0
        if status < 200:
            self._headers.clear()
            return
        if not self._is_complete and self._response is not None:
            self._has_head = True
            self._response.headers = self._headers
            self._response.status = status

    def on_body(self, data: bytes) -> None:
        """Hand a piece of the body to the response."""
        if self._state is _State.DISCARDING or self._is_complete or self._response is None:
            return
        self._other_bytes = 0
        self._state = _State.READING
        self._response.receive(data)

    def on_message_complete(self) -> None:
        """Note the end of the answer, unless it was an interim one."""
        if self._has_head and not self._is_complete and self._parser is not None:
            self._is_complete = True
            self._can_keep = self._can_keep and self._parser.should_keep_alive()

    # Inside

    def _begin(self, timeouts: Timeouts, deadline: float) -> Response:
        self._response = response = Response(self, self._loop)
        self._headers = {}
        self._timeouts = timeouts
        self._deadline = deadline
        self._uses += 1
        self._other_bytes = 0
        self._has_head = self._is_complete = self._was_answered = self._is_sending = False
        self._can_keep = True
        self._state = _State.WAITING
        self._sent_at = self._loop.time()
        return response

    async def _send_in_slices(self, transport: asyncio.Transport, head: bytes, body: bytes) -> None:
        """Write as fast as the other side reads; an answer or a break that comes before the end ends the writing."""
        self._is_sending = True
        transport.write(head)
        view = memoryview(body)
        for start in range(0, len(body), WRITE_SLICE_BYTES):
            transport.write(view[start : start + WRITE_SLICE_BYTES])
            self._expect(self._timeouts.idle_seconds)
            if self._resumed is not None:
                await self._resumed
            if self._response is None or self._has_head:
                self._can_keep = False
                return
        self._is_sending = False
        self._expect(self._timeouts.first_byte_seconds)

    def _free_handshake(self, transport: asyncio.Transport) -> None:
        """Free what TLS keeps of the handshake, 18 KiB, once its session tickets have come: before the first answer.

        For a ticket OpenSSL 3.0 allocates a write buffer, which it holds until something is written; a write of no
        bytes sends nothing and is enough. The certificate was verified, and nobody reads the decoded copy.
        """
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if tls is not None:
            with contextlib.suppress(ssl.SSLError):  # a connection that is broken says so itself
                tls.write(b"")
            transport.get_extra_info("peercert", {}).clear()

    def _go_on(self, response: Response) -> None:
        """After the head or a piece of the body: wait for the next, unless the reader is behind."""
        if self._state is _State.READING:
            if response.is_full() and not self._is_paused and self._transport is not None:
                self._is_paused = True
                self._transport.pause_reading()
                self._expect(math.inf)
            else:
                due = self._loop.time() + self._timeouts.idle_seconds
                self._due = due if due < self._deadline else self._deadline
                if self._due < self._timer_due:
                    self._arm()
        if self._is_sending:  # answered early: the rest of the request is not wanted
            self.resume_writing()
        response.wake()

    def _finish(self, response: Response) -> None:
        self.resume()
        self._response = None
        self._deadline = math.inf
        response.end()
        if self._is_sending:
            self.resume_writing()
        if self._can_keep and not self._is_sending and self.is_open:
            self._expect(self._keep_alive_seconds)
            self._owner.released(self)
        else:
            self.close()

    def _fail(self, error: TransportError) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.end(error)
        self.resume_writing()
        if self._transport is not None:
            self._transport.abort()

    def _ends_by_closing(self, exc: Exception | None) -> bool:
        """Say whether the end of the connection is the proper end of the body (RFC 9112, 6.3, rule 8)."""
        if exc is not None or not self._has_head:
            return False
        is_chunked = b"chunked" in self._headers.get(b"transfer-encoding", b"").lower()
        return b"content-length" not in self._headers and not is_chunked

    def _broken(self, exc: Exception | None) -> TransportError:
        if self._was_answered:
            if exc is None:
                return Truncated(f"{self._name} closed the connection in the middle of its answer.")
            return ConnectionReset(
                f"{self._name} broke the connection in the middle of its answer.", phase=Phase.READING
            )
        is_stale = self._uses > 1 and self._loop.time() - self._sent_at < STALE_SECONDS
        return ConnectionReset(f"{self._name} closed the connection without an answer.", is_stale=is_stale)

    def _expect(self, seconds: float) -> None:
        """Allow that much time, the deadline permitting, for the next thing to happen."""
        due = self._loop.time() + seconds
        self._due = due if due < self._deadline else self._deadline
        if self._due < self._timer_due:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = self._due
        self._timer = self._loop.call_at(self._due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_due = math.inf
        if self._due > self._loop.time() + TIMER_SLACK_SECONDS:
            if self._due < math.inf:
                self._arm()
        elif self._response is None:
            self.close()
        else:
            self._fail(self._overdue())

    def _overdue(self) -> TransportError:
        if self._due >= self._deadline:
            return DeadlineExceeded(f"{self._name} did not end its answer within the time allowed for the whole call.")
        if self._state is _State.WAITING and not self._is_sending:
            seconds = self._timeouts.first_byte_seconds
            return FirstByteTimeout(f"{self._name} did not begin its answer within {seconds:g} s.")
        verb = "go on reading the request" if self._is_sending else "go on with its answer"
        return IdleTimeout(f"{self._name} did not {verb} for {self._timeouts.idle_seconds:g} s.")


def _malformed(name: str, cause: Exception) -> MalformedResponse:
    error = MalformedResponse(f"{name} did not answer in valid HTTP/1.1: {cause}.")
    error.__cause__ = cause
    return error
