"""The load generator: raw connections on uvloop that ask, check every answer and report what they saw.

Run as `python -m benchmarks.load SPEC`, SPEC being a `Load` as JSON; it prints a `Report` as JSON. In the mode
`hold` it prints `open` when every stream is open and goes on when a line arrives on standard input. Closed loop:
each connection asks again when its answer is complete, until the time is over. The first wrong answer ends the
run with status 1: a number measured over errors is worth nothing.
"""

import asyncio
import contextlib
import re
import sys
import time
from collections.abc import Sequence
from typing import Any, Literal, cast

import httptools
import msgspec
import uvloop

from benchmarks.mock import CHUNKS, MARKER

CONTENT_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
COMPLETION_TOKENS = re.compile(rb'"completion_tokens": ?(\d+)')
SOME_CONTENT = re.compile(rb'"content": ?"[^"]')
DONE = b"data: [DONE]\n\n"
OK = 200
OPENING_AT_ONCE = 16

Mode = Literal["calls", "streams", "generate", "hold"]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where requests go and as whom: a loopback port or a Unix socket."""

    path: str
    model: str
    port: int = 0
    unix: str = ""
    key: str = "none"


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What to do. `bodies` are sent in turn; `rounds` ends each connection after so many answers, if not 0."""

    mode: Mode
    target: Target
    bodies: list[str]
    connections: int
    seconds: float
    rounds: int = 0
    give_up_seconds: float = 120.0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen. Times in milliseconds; `first` is the time to the first content, `gap` between two contents."""

    answers: int
    elapsed_seconds: float
    p50: float
    p99: float
    first_p50: float = 0.0
    first_p99: float = 0.0
    worst_gap: float = 0.0
    tokens: int = 0


class WrongAnswerError(Exception):
    """An answer that is not what the mock vendor or the model would send."""


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile in milliseconds; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else 0.0


class Tally:
    """What all connections of a run have seen, and whether they should go on."""

    def __init__(self, load: Load, requests: list[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self.load = load
        self.requests = requests
        self.sent = 0
        self.started = time.perf_counter()
        self.finished = self.started
        self.latencies: list[float] = []
        self.firsts: list[float] = []
        self.worst_gap = 0.0
        self.tokens = 0
        self.opening = asyncio.Semaphore(OPENING_AT_ONCE)
        self.outcome: asyncio.Future[None] = loop.create_future()
        self.running = load.connections
        self.connections: list[Connection] = []

    def next_request(self) -> bytes:
        """The bodies in turn, each as a whole request."""
        request = self.requests[self.sent % len(self.requests)]
        self.sent += 1
        return request

    def may_go_on(self, rounds_done: int) -> bool:
        """Whether a connection that has had so many answers asks again."""
        if self.load.rounds:
            return rounds_done < self.load.rounds
        return time.perf_counter() - self.started < self.load.seconds

    def connection_done(self) -> None:
        """One connection will ask no more."""
        self.running -= 1
        self.finished = time.perf_counter()
        if self.running == 0 and not self.outcome.done():
            self.outcome.set_result(None)

    def fail(self, why: str) -> None:
        """End the run with an error; the first one counts."""
        if not self.outcome.done():
            self.outcome.set_exception(WrongAnswerError(why))

    def progress(self) -> str:
        """How far a run has come that did not end in time."""
        waiting = [connection for connection in self.connections if not connection.is_finished]
        return (
            f"not done in time: {len(waiting)} connections still wait, after {len(self.firsts)} first chunks and "
            f"{len(self.latencies)} answers; the first has {waiting[0].buffer[-200:]!r}"
        )

    def report(self) -> Report:
        """The numbers of the whole run."""
        return Report(
            answers=len(self.latencies),
            elapsed_seconds=self.finished - self.started,
            p50=percentile(self.latencies, 0.50),
            p99=percentile(self.latencies, 0.99),
            first_p50=percentile(self.firsts, 0.50),
            first_p99=percentile(self.firsts, 0.99),
            worst_gap=self.worst_gap * 1000,
            tokens=self.tokens,
        )


class Connection(asyncio.Protocol):
    """What every kind of connection shares: ask, time, ask again."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        tally.connections.append(self)
        self.buffer = b""
        self.rounds_done = 0
        self.asked_at = 0.0
        self.is_finished = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own class is not a subclass
        self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.is_finished:
            self.tally.fail(f"connection lost after {self.rounds_done} answers, {exc!r}, having {self.buffer[-300:]!r}")

    def ask(self) -> None:
        """Send the next request."""
        self.buffer = b""
        self.asked_at = time.perf_counter()
        self.transport.write(self.tally.next_request())

    def answered(self) -> None:
        """Account for one complete answer and ask again or finish."""
        self.tally.latencies.append(time.perf_counter() - self.asked_at)
        self.rounds_done += 1
        if self.tally.may_go_on(self.rounds_done):
            self.ask()
        else:
            self.finish()

    def finish(self) -> None:
        """Close without counting it as a loss."""
        self.is_finished = True
        self.transport.close()
        self.tally.connection_done()

    def require(self, is_right: bool, what: str) -> bool:
        """Fail the run unless it is so."""
        if not is_right:
            self.tally.fail(f"{what}: {self.buffer[:600]!r}")
            self.transport.abort()
        return is_right


class CallConnection(Connection):
    """One-shot calls: status, length and content are checked."""

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        head_end = self.buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        length = CONTENT_LENGTH.search(self.buffer, 0, head_end)
        if not self.require(self.buffer.startswith(b"HTTP/1.1 200 ") and length is not None, "not a 200 with a length"):
            return
        assert length is not None
        surplus = len(self.buffer) - head_end - 4 - int(length.group(1))
        if surplus >= 0 and self.require(surplus == 0, "bytes after the body") and self.has_content():
            self.answered()

    def has_content(self) -> bool:
        """Whether the mock's answer is in it."""
        return self.require(self.buffer.count(MARKER) == 1, "not the mock's answer")


class StreamConnection(Connection):
    """Streamed calls to the mock: every chunk is counted, the end is checked, gaps are timed.

    The framing is parsed, since a proxy may cut chunks anywhere, in the middle of a word too.
    """

    def ask(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.pieces: list[bytes] = []
        self.is_whole = False
        self.chunks = 0
        self.last_content_at = 0.0
        super().ask()

    def on_body(self, piece: bytes) -> None:
        """Called by the parser."""
        self.pieces.append(piece)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self.is_whole = True

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)
        fresh = b"".join(self.pieces)
        self.pieces.clear()
        if self.parser.get_status_code() != OK:
            self.buffer = data
            self.require(is_right=False, what="not a 200")
            return
        self.take(fresh)
        if self.is_whole and self.is_complete():
            self.answered()

    def take(self, fresh: bytes) -> None:
        """Count the markers in what came, those that two reads share too."""
        overlap = self.buffer[1 - len(MARKER) :]
        self.note_content((overlap + fresh).count(MARKER))
        self.buffer = (self.buffer + fresh)[-len(DONE) :]

    def note_content(self, chunks: int) -> None:
        """Time the first content and the gaps after it."""
        if not chunks:
            return
        now = time.perf_counter()
        if self.chunks == 0:
            self.tally.firsts.append(now - self.asked_at)
        else:
            self.tally.worst_gap = max(self.tally.worst_gap, now - self.last_content_at)
        self.last_content_at = now
        self.chunks += chunks

    def is_complete(self) -> bool:
        """Whether every chunk of the mock came, and the end after them."""
        what = f"{self.chunks} chunks instead of {CHUNKS}, then the end of the body"
        return self.require(self.chunks == CHUNKS and self.buffer == DONE, what)


class GenerateConnection(StreamConnection):
    """Streamed calls to a real model: the content is not known, the tokens are those in the usage chunk."""

    def take(self, fresh: bytes) -> None:
        """Keep everything: the usage is in the last event."""
        self.buffer += fresh
        self.note_content(len(SOME_CONTENT.findall(fresh)))

    def is_complete(self) -> bool:
        usage = COMPLETION_TOKENS.findall(self.buffer)
        if not self.require(bool(usage) and self.buffer.endswith(DONE), "no usage or no end in the stream"):
            return False
        self.tally.tokens += int(usage[-1])
        return True


class HeldConnection(StreamConnection):
    """A stream that stays open after its first chunk."""

    def note_content(self, chunks: int) -> None:
        super().note_content(chunks)
        if chunks:
            self.tally.opening.release()


CONNECTIONS: dict[Mode, type[Connection]] = {
    "calls": CallConnection,
    "streams": StreamConnection,
    "generate": GenerateConnection,
    "hold": HeldConnection,
}


def whole_request(target: Target, body: str) -> bytes:
    """The request as it goes over the wire."""
    content = body.encode()
    head = (
        f"POST {target.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {target.key}\r\n"
        f"Content-Type: application/json\r\nAccept: */*\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def connect(tally: Tally) -> None:
    """Open one connection; it asks at once."""
    loop = asyncio.get_running_loop()
    target, kind = tally.load.target, CONNECTIONS[tally.load.mode]
    if target.unix:
        await loop.create_unix_connection(lambda: kind(tally), target.unix)
    else:
        await loop.create_connection(lambda: kind(tally), "127.0.0.1", target.port)


async def open_all(tally: Tally) -> None:
    """Open the streams, a few at once; done when each has had its first chunk."""
    for _ in range(tally.load.connections):
        await tally.opening.acquire()
        await connect(tally)
    for _ in range(OPENING_AT_ONCE):
        await tally.opening.acquire()


async def unless_failed(tally: Tally, work: asyncio.Future[Any]) -> None:  # Any: the result is not looked at
    """Wait for `work`; raises WrongAnswerError when a connection fails meanwhile or time runs out."""
    timeout = tally.load.give_up_seconds
    done, _ = await asyncio.wait([work, tally.outcome], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    if tally.outcome in done:
        tally.outcome.result()
    if work not in done:
        work.cancel()
        raise WrongAnswerError(tally.progress())


async def hold(tally: Tally) -> Report:
    """Open the streams, say so, and keep them open until told to stop."""
    await unless_failed(tally, asyncio.ensure_future(open_all(tally)))
    print("open", flush=True)
    await unless_failed(tally, asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline))
    return tally.report()


async def run(load: Load) -> Report:
    """Do what `load` says; raises WrongAnswerError or TimeoutError."""
    requests = [whole_request(load.target, body) for body in load.bodies]
    tally = Tally(load, requests, asyncio.get_running_loop())
    if load.mode == "hold":
        return await hold(tally)
    async with asyncio.timeout(load.give_up_seconds), asyncio.TaskGroup() as group:
        for _ in range(load.connections):
            group.create_task(connect(tally))
    await unless_failed(tally, tally.outcome)
    return tally.report()


def answer_spec(spec: str) -> int:
    """Run one spec and print its report; the exit status says whether every answer was right."""
    load = msgspec.json.decode(spec, type=Load)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            report = runner.run(run(load))
    except (WrongAnswerError, TimeoutError, OSError, ExceptionGroup) as error:
        where = load.target.unix or f"port {load.target.port}"
        print(f"{load.mode} of {load.target.model} at {where}: {error!r}", file=sys.stderr)
        return 1
    print(msgspec.json.encode(report).decode(), flush=True)
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(answer_spec(sys.argv[1]))
