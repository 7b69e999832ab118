"""A response as a list of pieces of bytes, and the player that sends them, or only some of them."""

import asyncio
import gzip
import math
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from mainstay.testing.vendor import bodies
from mainstay.testing.vendor.script import Fault, FaultKind, Received, Reply

JSON = "application/json"
EVENT_STREAM = "text/event-stream; charset=utf-8"
PAGE = b"<!doctype html><title>Down for maintenance</title><p>We are back soon.</p>"
LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Playback:
    """What to write, piece by piece, and how it ends."""

    pieces: tuple[bytes, ...]
    first_delay_seconds: float = 0.0
    delay_seconds: float = 0.0
    stop_after_bytes: float = math.inf
    is_reset: bool = False
    """At `stop_after_bytes`: reset the connection; otherwise close it in good order."""
    is_stalled: bool = False
    """After the last piece: neither go on nor close."""


def compose(received: Received, reply: Reply, fault: Fault | None, *, is_azure: bool) -> Playback:
    """Return the response to a model call."""
    kind, at = (fault.kind, fault.at) if fault else (None, 0)
    match kind:
        case FaultKind.REFUSE:
            return Playback((), stop_after_bytes=0, is_reset=True)
        case FaultKind.SILENT:
            return Playback((), is_stalled=True)
        case FaultKind.STATUS:
            body = bodies.error(at, is_azure=is_azure) if fault is None or fault.body is None else fault.body
            return Playback(one_shot(body, status=at, headers=fault.headers if fault else ()))
        case FaultKind.HTML:
            return Playback(one_shot(PAGE, content_type="text/html"))
        case FaultKind.EMPTY:
            return Playback(one_shot(b""))
        case FaultKind.WRONG_JSON:
            return Playback(one_shot(b'["this", "is", "no", "answer"]'))
    is_stream = received.is_stream and kind is not FaultKind.JSON
    pieces = _stream(received, reply, fault, is_azure=is_azure) if is_stream else _whole(received, reply, kind)
    if kind is FaultKind.DRIP:
        text, size = b"".join(pieces), at or 1
        pieces = tuple(text[i : i + size] for i in range(0, len(text), size))
    elif kind is FaultKind.STALL:
        pieces = pieces[: at + 1]
    return Playback(
        pieces,
        first_delay_seconds=reply.first_delay_seconds,
        delay_seconds=reply.delay_seconds if is_stream else 0.0,
        stop_after_bytes=at if kind in (FaultKind.RESET, FaultKind.CLOSE) else math.inf,
        is_reset=kind is FaultKind.RESET,
        is_stalled=kind is FaultKind.STALL,
    )


def one_shot(
    body: bytes, *, status: int = 200, content_type: str = JSON, headers: tuple[tuple[str, str], ...] = ()
) -> tuple[bytes, bytes]:
    """Return the head and the body of an answer in one piece."""
    head = _head(status, (("content-type", content_type), ("content-length", str(len(body))), *headers))
    return head, body


def _head(status: int, headers: tuple[tuple[str, str], ...]) -> bytes:
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", "x-request-id: req_scripted"]
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _whole(received: Received, reply: Reply, kind: FaultKind | None) -> tuple[bytes, ...]:
    body = bodies.whole(received, reply)
    if kind is FaultKind.MALFORMED:
        body = body[:-2]
    elif kind is FaultKind.ERROR_EVENT:
        body = bodies.error(500)
    elif kind is FaultKind.GZIP:
        body = gzip.compress(body)
        return one_shot(body, headers=(("content-encoding", "gzip"),))
    return one_shot(body, content_type="text/plain" if kind is FaultKind.WRONG_TYPE else JSON)


def _stream(received: Received, reply: Reply, fault: Fault | None, *, is_azure: bool) -> tuple[bytes, ...]:
    kind, at = (fault.kind, fault.at) if fault else (None, 0)
    events = bodies.events(received, reply, is_azure=is_azure)
    headers = [("content-type", "text/plain" if kind is FaultKind.WRONG_TYPE else EVENT_STREAM)]
    match kind:
        case FaultKind.MALFORMED:
            events.insert(at, b'data: {"id": "chatcmpl-broken", "choices": [{"ind\n\n')
        case FaultKind.ERROR_EVENT:
            events[at:] = [b"data: " + bodies.error(500) + b"\n\n"]
        case FaultKind.NO_DONE:
            events = events[:-1]
        case FaultKind.UNFINISHED:
            events = events[:2]
        case FaultKind.LONG_LINE:
            choice = {"index": 0, "delta": {"content": "x" * at}, "finish_reason": None}
            events.insert(0, bodies.event({"id": "long", "model": received.model, "choices": [choice]}))
        case FaultKind.GZIP:
            headers.append(("content-encoding", "gzip"))
            events = [gzip.compress(b"".join(events))]
    head = _head(200, (*headers, ("transfer-encoding", "chunked")))
    return head, *(b"%x\r\n%b\r\n" % (len(event), event) for event in events), LAST_CHUNK


class Player:
    """Writes one playback to a transport, without a task of its own."""

    __slots__ = ("_handle", "_loop", "_next", "_on_end", "_playback", "_transport", "_written")

    def __init__(self, transport: asyncio.Transport, playback: Playback, on_end: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._playback = playback
        self._on_end = on_end
        self._next = 0
        self._written = 0
        self._handle: asyncio.Handle | None = None

    def start(self) -> None:
        """Begin, now or after the first delay."""
        if self._playback.first_delay_seconds:
            self._handle = self._loop.call_later(self._playback.first_delay_seconds, self._step)
        else:
            self._step()

    def stop(self) -> None:
        """Write no more."""
        if self._handle is not None:
            self._handle.cancel()

    def _step(self) -> None:
        self._handle = None
        plan = self._playback
        is_slow = plan.delay_seconds > 0
        if not is_slow and len(plan.pieces) < 100:
            self._write(b"".join(plan.pieces))
            self._next = len(plan.pieces)
        elif self._next < len(plan.pieces):
            self._write(plan.pieces[self._next])
            self._next += 1
        if self._transport.is_closing():
            return
        if self._next < len(plan.pieces):
            # An event follows its predecessor after the delay; the head and the first event go out together.
            wait_seconds = plan.delay_seconds if is_slow and self._next > 1 else 0
            self._handle = self._loop.call_later(wait_seconds, self._step)
        elif not plan.is_stalled:
            self._on_end()

    def _write(self, data: bytes) -> None:
        plan = self._playback
        room = plan.stop_after_bytes - self._written
        if len(data) >= room:
            data = data[: int(room)]
        self._written += len(data)
        if data:
            self._transport.write(data)
        if self._written >= plan.stop_after_bytes:
            self._end_early()

    def _end_early(self) -> None:
        if self._playback.is_reset:
            reset(self._transport)
        else:
            self._transport.close()


def reset(transport: asyncio.Transport) -> None:
    """Close with a TCP reset; what was written before is sent first if the kernel has room for it."""
    import socket
    import struct

    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
