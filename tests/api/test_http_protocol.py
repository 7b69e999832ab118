"""What the connection itself guards: time, size, and callers that go away."""

import asyncio
import socket
from contextlib import asynccontextmanager, suppress

import pytest

from mainstay.api import http_protocol
from mainstay.api.app import DRAIN
from mainstay.server import listener as listener_module
from mainstay.server.listener import Listener

REQUEST = b"GET /%b HTTP/1.1\r\nhost: x\r\n\r\n"


class Recorder:
    """An application that waits, echoes, and notes how it ended."""

    def __init__(self):
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.release = asyncio.Event()
        self.cancel_message = None
        self.calls = 0

    async def __call__(self, scope, receive, send):
        self.calls += 1
        if scope["path"] == "/wait":
            self.started.set()
            try:
                await self.release.wait()
            except asyncio.CancelledError as error:
                self.cancel_message = error.args
                self.cancelled.set()
        if scope["path"] == "/echo":
            await self.echo(receive, send)
            return
        if scope["path"] == "/flood":
            await self.flood(send)
        body = scope["path"].encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    async def echo(self, receive, send):
        body, is_more = b"", True
        while is_more:
            message = await receive()
            body, is_more = body + message["body"], message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    async def flood(self, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@pytest.fixture
def short_keep_alive(monkeypatch):
    monkeypatch.setattr(listener_module, "_KEEP_ALIVE_SECONDS", 0.2)


@asynccontextmanager
async def listening(app, header_timeout_seconds=15.0):
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    listener = Listener(app, sock, header_timeout_seconds=header_timeout_seconds)
    await listener.start()
    stopped = False

    async def stop(grace):
        nonlocal stopped
        stopped = True
        await listener.stop(grace)

    try:
        yield sock.getsockname()[1], stop
    finally:
        if not stopped:
            await listener.stop(0)
        sock.close()


async def connect(port):
    return await asyncio.open_connection("127.0.0.1", port)


async def read_all(reader, seconds=10):
    return await asyncio.wait_for(reader.read(), seconds)


async def close(writer):
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def test_half_a_header_is_cut_off_in_time():
    async with listening(Recorder(), header_timeout_seconds=1) as (port, _):
        reader, writer = await connect(port)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ")
        assert b" 408 " in await read_all(reader)
        await close(writer)


async def test_a_silent_connection_is_cut_off_in_time():
    async with listening(Recorder(), header_timeout_seconds=1) as (port, _):
        reader, writer = await connect(port)
        assert b" 408 " in await read_all(reader)
        await close(writer)


async def test_blank_lines_are_no_beginning_of_a_request():
    async with listening(Recorder(), header_timeout_seconds=1) as (port, _):
        reader, writer = await connect(port)
        writer.write(b"\r\n\r\n")
        assert b" 408 " in await read_all(reader)
        await close(writer)


@pytest.mark.usefixtures("short_keep_alive")
async def test_blank_lines_do_not_keep_an_idle_connection():
    async with listening(Recorder()) as (port, _):
        reader, writer = await connect(port)
        writer.write(REQUEST % b"a")
        await asyncio.wait_for(reader.readuntil(b"/a"), 5)
        writer.write(b"\r\n")
        assert await read_all(reader) == b""
        await close(writer)


@pytest.mark.usefixtures("short_keep_alive")
async def test_a_body_that_comes_after_its_answer_does_not_keep_the_connection():
    async with listening(Recorder()) as (port, _):
        reader, writer = await connect(port)
        writer.write(b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n")
        await asyncio.wait_for(reader.readuntil(b"/a"), 5)
        writer.write(b"hello")
        assert await read_all(reader) == b""
        await close(writer)


async def test_a_caller_that_stops_reading_cancels_its_request_in_time(monkeypatch):
    monkeypatch.setattr(http_protocol, "_UNREAD_SECONDS", 0.5)
    app = Recorder()
    async with listening(app) as (port, _):
        _, writer = await connect(port)
        writer.write(REQUEST % b"flood")
        await asyncio.wait_for(app.cancelled.wait(), 10)
        await close(writer)


async def test_headers_over_the_limit_are_refused_in_the_error_shape():
    async with listening(Recorder()) as (port, _):
        reader, writer = await connect(port)
        writer.write(b"GET / HTTP/1.1\r\nx-big: " + b"a" * 100_000)
        answer = await read_all(reader)
        assert b" 431 " in answer
        assert b'"error"' in answer
        await close(writer)


async def test_many_small_headers_are_bounded_too():
    app = Recorder()
    async with listening(app) as (port, _):
        reader, writer = await connect(port)
        writer.write(b"GET / HTTP/1.1\r\n" + b"".join(b"x-%d: y\r\n" % n for n in range(20_000)) + b"\r\n")
        assert b" 431 " in await read_all(reader)
        assert app.calls == 0
        await close(writer)


async def test_what_is_not_http_is_refused_in_the_error_shape():
    async with listening(Recorder()) as (port, _):
        reader, writer = await connect(port)
        writer.write(b"\x16\x03\x01 this is a TLS hello\r\n\r\n")
        answer = await read_all(reader)
        assert b" 400 " in answer
        assert b'"invalid_http"' in answer
        await close(writer)


UPGRADES = [
    b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
    b"upgrade: websocket\r\nconnection: upgrade\r\n",
]
BODIES = [b"content-length: %d\r\n\r\n%b", b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"]


@pytest.mark.parametrize("cut", [0, 30, 130])
@pytest.mark.parametrize("framed", BODIES)
@pytest.mark.parametrize("upgrade", UPGRADES)
async def test_an_upgrade_is_ignored_and_the_body_never_taken_for_a_request(upgrade, framed, cut):
    app = Recorder()
    hidden = REQUEST % b"hidden"
    request = b"POST /echo HTTP/1.1\r\nhost: x\r\n" + upgrade + framed % (len(hidden), hidden)
    async with listening(app) as (port, _):
        reader, writer = await connect(port)
        for _ in range(2):
            for part in (request[:-cut], request[-cut:]) if cut else (request,):
                writer.write(part)
                await asyncio.sleep(0)
            assert b" 200 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            assert await reader.readexactly(len(hidden)) == hidden
        assert app.calls == 2
        await close(writer)


async def test_a_connection_that_is_to_close_with_its_upgrade_closes():
    async with listening(Recorder()) as (port, _):
        reader, writer = await connect(port)
        writer.write(
            b"GET /a HTTP/1.1\r\nhost: x\r\nconnection: Upgrade, close\r\nupgrade: h2c\r\n\r\n" + REQUEST % b"b"
        )
        assert (await read_all(reader)).endswith(b"/a")
        await close(writer)


async def test_a_tunnel_is_refused():
    async with listening(Recorder()) as (port, _):
        reader, writer = await connect(port)
        writer.write(b"CONNECT a:1 HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b" 400 " in await read_all(reader)
        await close(writer)


async def test_a_caller_that_goes_away_cancels_its_request():
    app = Recorder()
    async with listening(app) as (port, _):
        _, writer = await connect(port)
        writer.write(REQUEST % b"wait")
        await asyncio.wait_for(app.started.wait(), 5)
        await close(writer)
        await asyncio.wait_for(app.cancelled.wait(), 5)
        assert app.cancel_message != (DRAIN,)


async def test_keep_alive_serves_many_requests_on_one_connection():
    app = Recorder()
    async with listening(app) as (port, _):
        reader, writer = await connect(port)
        for n in range(50):
            writer.write(REQUEST % b"%d" % n)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            assert b" 200 " in head
            assert await reader.readexactly(len(b"/%d" % n)) == b"/%d" % n
        await close(writer)
        assert app.calls == 50


async def test_pipelined_requests_are_answered_in_order():
    async with listening(Recorder()) as (port, _):
        reader, writer = await connect(port)
        writer.write(b"".join(REQUEST % b"%d" % n for n in range(20)))
        for n in range(20):
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            assert await reader.readexactly(len(b"/%d" % n)) == b"/%d" % n
        await close(writer)


async def test_stopping_answers_what_is_open_and_then_closes():
    app = Recorder()
    async with listening(app) as (port, stop):
        reader, writer = await connect(port)
        writer.write(REQUEST % b"wait")
        await asyncio.wait_for(app.started.wait(), 5)
        stopping = asyncio.create_task(stop(20))
        app.release.set()
        answer = await read_all(reader)
        assert answer.endswith(b"/wait")
        assert b"connection: close" in answer
        await asyncio.wait_for(stopping, 10)
        await close(writer)


async def test_what_outlasts_the_grace_period_is_told_so():
    app = Recorder()
    async with listening(app) as (port, stop):
        reader, writer = await connect(port)
        writer.write(REQUEST % b"wait")
        await asyncio.wait_for(app.started.wait(), 5)
        await asyncio.wait_for(stop(0.1), 10)
        assert app.cancel_message == (DRAIN,)
        await read_all(reader)
        await close(writer)


async def test_a_request_that_is_under_way_to_an_idle_connection_when_stopping_is_answered():
    async with listening(Recorder()) as (port, stop):
        reader, writer = await connect(port)
        writer.write(REQUEST % b"a")
        await asyncio.wait_for(reader.readuntil(b"/a"), 5)
        stopping = asyncio.create_task(stop(20))
        await asyncio.sleep(0)
        writer.write(REQUEST % b"b")
        assert (await read_all(reader)).endswith(b"/b")
        await asyncio.wait_for(stopping, 10)
        await close(writer)
