"""A mock vendor that answers from prepared bytes, so that it costs far less than what is measured.

Run as `python -m benchmarks.mock`. It prints its ports as one line of JSON and ends when its standard input does.
What it answers is chosen by the model named in the body: `mock` (one JSON object, or a stream of 64 chunks sent as
fast as they go), `mock-paced` (64 chunks, one each 20 ms), `mock-idle` (headers and one chunk, then silence).
"""

import asyncio
import contextlib
import json
import re
import ssl
import sys
from collections.abc import Iterator
from typing import cast

import uvloop

CHUNKS = 64
PACE_SECONDS = 0.02
MARKER = b"tok-"  # one per content chunk and one per one-shot answer: what the load generator counts
STREAM_END = b"0\r\n\r\n"

CONTENT_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
STREAMING = re.compile(rb'"stream": ?true')
WITH_USAGE = re.compile(rb'"include_usage": ?true')
USAGE = {"prompt_tokens": 42, "completion_tokens": CHUNKS, "total_tokens": 42 + CHUNKS}


def one_shot_answer() -> bytes:
    """A chat completion of about 500 bytes, with headers."""
    message = {"role": "assistant", "content": "tok-" + "An answer of ordinary length from a vendor. " * 4}
    body = json.dumps(
        {
            "id": "chatcmpl-mock0000000000000000000000",
            "object": "chat.completion",
            "created": 1_760_000_000,
            "model": "mock-2026-01-01",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
            "usage": USAGE,
            "system_fingerprint": "fp_mock",
        }
    ).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def event(data: bytes) -> bytes:
    """One server-sent event as one HTTP chunk."""
    framed = b"data: " + data + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(framed), framed)


def content_event(index: int) -> bytes:
    """The stream's event number `index`, shaped as OpenAI's."""
    delta = {"role": "assistant", "content": "tok-0 "} if index == 0 else {"content": f"tok-{index} "}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    return event(json.dumps(chunk_object([choice])).encode())


def chunk_object(choices: list[dict[str, object]], **more: object) -> dict[str, object]:
    """The envelope of one streamed chunk."""
    return {
        "id": "chatcmpl-mock0000000000000000000000",
        "object": "chat.completion.chunk",
        "created": 1_760_000_000,
        "model": "mock-2026-01-01",
        "system_fingerprint": "fp_mock",
        "choices": choices,
        **more,
    }


ONE_SHOT = one_shot_answer()
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CONTENT = [content_event(index) for index in range(CHUNKS)]
FINISH = event(json.dumps(chunk_object([{"index": 0, "delta": {}, "finish_reason": "stop"}])).encode())
USAGE_EVENT = event(json.dumps(chunk_object([], usage=USAGE)).encode())
DONE = event(b"[DONE]") + STREAM_END
REFUSED = b"HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def stream_parts(*, with_usage: bool) -> Iterator[bytes]:
    """What one stream writes, in order, each part a write of its own."""
    yield STREAM_HEAD + CONTENT[0]
    yield from CONTENT[1:]
    yield FINISH + (USAGE_EVENT if with_usage else b"") + DONE


class Vendor(asyncio.Protocol):
    """One connection from whoever asks."""

    __slots__ = ("buffer", "loop", "pending", "transport")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.buffer = b""
        self.pending: asyncio.Handle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own class is not a subclass

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if self.pending is not None:
            self.pending.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        head_end = self.buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        length = CONTENT_LENGTH.search(self.buffer, 0, head_end)
        end = head_end + 4 + (int(length.group(1)) if length else 0)
        if len(self.buffer) < end:
            return
        body, self.buffer = self.buffer[head_end + 4 : end], self.buffer[end:]
        self.answer(body)

    def answer(self, body: bytes) -> None:
        """Write what the body asks for. GET requests have no body and get the one-shot answer: a readiness check."""
        if body and not body.startswith(b"{"):
            self.transport.write(REFUSED)
            self.transport.close()
        elif STREAMING.search(body) is None:
            self.transport.write(ONE_SHOT)
        elif b'"mock-idle"' in body:
            self.transport.write(STREAM_HEAD + CONTENT[0])
        else:
            pace = PACE_SECONDS if b'"mock-paced"' in body else 0.0
            parts = stream_parts(with_usage=WITH_USAGE.search(body) is not None)
            self.write_next(parts, pace, self.loop.time())

    def write_next(self, parts: Iterator[bytes], pace: float, due: float) -> None:
        """Write one part and arrange the next; times are absolute, so that lateness does not add up."""
        part = next(parts, None)
        if part is None or self.transport.is_closing():
            self.pending = None
            return
        self.transport.write(part)
        if pace:
            due += pace
            self.pending = self.loop.call_at(due, self.write_next, parts, pace, due)
        else:
            self.pending = self.loop.call_soon(self.write_next, parts, pace, due)


def server_tls(certificate: str, key: str) -> ssl.SSLContext:
    """The vendor's side of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


async def run(certificate: str, key: str) -> None:
    """Listen on a plain and a TLS port until standard input ends."""
    loop = asyncio.get_running_loop()
    plain = await loop.create_server(lambda: Vendor(loop), "127.0.0.1", 0, backlog=2048)
    secure = await loop.create_server(
        lambda: Vendor(loop), "127.0.0.1", 0, backlog=2048, ssl=server_tls(certificate, key)
    )
    ports = [server.sockets[0].getsockname()[1] for server in (plain, secure)]
    print(json.dumps({"plain": ports[0], "tls": ports[1]}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(sys.argv[1], sys.argv[2]))
