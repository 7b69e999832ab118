"""Answers: whole, cut, foreign, oversized, and read slowly."""

import asyncio
import contextlib

import pytest
from tests.kit.http.servers import OK, read_request, saying, serving

from mainstay.kit.http import (
    ConnectionReset,
    DeadlineExceeded,
    FirstByteTimeout,
    IdleTimeout,
    MalformedResponse,
    Pool,
    Timeouts,
    Truncated,
)

QUICK = Timeouts(connect_seconds=5, first_byte_seconds=0.2, idle_seconds=0.2)


@contextlib.asynccontextmanager
async def pool_for(handler, timeouts=None):
    async with serving(handler) as origin:
        pool = Pool(origin, timeouts=timeouts)
        try:
            yield pool
        finally:
            await pool.aclose()


async def until(condition):
    async with asyncio.timeout(2):
        while not condition():  # noqa: ASYNC110 - a pool has no event for it
            await asyncio.sleep(0.01)


async def fetch(pool, body=b"", **options):
    response = await pool.send("POST", "/", [], body, **options)
    return response, await response.read(10_000_000)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK, b"ok"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;ext=1\r\nok\r\n0\r\ntrailer: x\r\n\r\n", b"ok"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 100 Continue\r\nx: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
async def test_every_framing_of_a_body_is_read(answer, body):
    async with pool_for(saying(answer)) as pool:
        response, read = await fetch(pool)
        assert read == body
        assert b"x" not in response.headers


async def test_repeated_headers_are_joined_and_names_are_lower_case():
    async with pool_for(saying(b"HTTP/1.1 200 OK\r\nVia: a\r\nvia: b\r\nEmpty:\r\ncontent-length: 0\r\n\r\n")) as pool:
        response, _ = await fetch(pool)
        assert response.headers[b"via"] == b"a, b"
        assert response.headers[b"empty"] == b""


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", ConnectionReset),
        (b"HTTP/1.1 200 OK\r\ncontent-le", Truncated),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok", Truncated),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n", Truncated),
        (b"<html>what?</html>", MalformedResponse),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n", MalformedResponse),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok", MalformedResponse),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", MalformedResponse),
        (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", MalformedResponse),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nok", MalformedResponse),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 60_000, MalformedResponse),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000, MalformedResponse),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n" + b"x: y\r\n" * 60_000, MalformedResponse),
    ],
)
async def test_every_broken_answer_has_its_error_and_leaves_no_connection(answer, error):
    async with pool_for(saying(answer)) as pool:
        with pytest.raises(error):
            await fetch(pool)
        await pool.aclose()
        assert pool.open_connections == 0


async def test_what_arrived_before_a_cut_is_read_before_the_error():
    async with pool_for(saying(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")) as pool:
        response = await pool.send("POST", "/", [])
        assert await response.read_chunk() == b"half"
        with pytest.raises(Truncated):
            await response.read_chunk()


async def test_a_body_over_the_limit_is_refused_and_the_connection_closed():
    async with pool_for(saying(b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n" + b"x" * 5000, close=False)) as pool:
        response = await pool.send("POST", "/", [])
        with pytest.raises(MalformedResponse, match="longer than 1000"):
            await response.read(1000)


async def test_silence_before_the_answer_is_a_first_byte_timeout():
    async with pool_for(saying(b"", close=False), QUICK) as pool:
        with pytest.raises(FirstByteTimeout):
            await fetch(pool)


async def test_silence_between_head_and_body_is_still_a_first_byte_timeout():
    async with pool_for(saying(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", close=False), QUICK) as pool:
        with pytest.raises(FirstByteTimeout):
            await fetch(pool)


async def test_silence_in_the_middle_is_an_idle_timeout():
    async with pool_for(saying(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", close=False), QUICK) as pool:
        with pytest.raises(IdleTimeout):
            await fetch(pool)


async def test_a_drip_that_never_pauses_long_ends_at_the_deadline():
    async def drip(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.02)

    async with pool_for(drip) as pool:
        with pytest.raises(DeadlineExceeded):
            await fetch(pool, deadline=asyncio.get_running_loop().time() + 1.5)


async def test_a_deadline_in_the_past_sends_nothing():
    async with pool_for(saying(OK)) as pool:
        with pytest.raises(DeadlineExceeded):
            await fetch(pool, deadline=asyncio.get_running_loop().time() - 1)


async def test_a_slow_reader_stops_the_sender_and_loses_nothing():
    size = 30_000_000
    sent = 0
    is_blocked = asyncio.Event()

    async def flood(reader, writer):
        nonlocal sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        while sent < size:
            writer.write(b"x" * 100_000)
            sent += 100_000
            try:
                await asyncio.wait_for(writer.drain(), 0.2)
            except TimeoutError:
                is_blocked.set()
                await writer.drain()

    async with pool_for(flood) as pool:
        response = await pool.send("POST", "/", [])
        await asyncio.wait_for(is_blocked.wait(), 10)
        assert sent < size
        first = await response.read_chunk()
        assert len(first) < 1_000_000
        assert len(first) + len(await response.read(size)) == size


async def test_a_paused_reader_is_not_an_idle_sender():
    async with pool_for(
        saying(b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n" + b"x" * 9_000_000), QUICK
    ) as pool:
        response = await pool.send("POST", "/", [])
        await asyncio.sleep(0.5)  # longer than the idle timeout: the pause is ours
        assert len(await response.read(9_000_000)) == 9_000_000


async def test_a_large_request_body_arrives_whole_at_a_slow_reader():
    body = bytes(range(256)) * 40_000

    async def slow(reader, writer):
        await asyncio.sleep(0.05)
        _, received = await read_request(reader)
        writer.write(OK if received == body else b"HTTP/1.1 500 Wrong\r\ncontent-length: 0\r\n\r\n")

    async with pool_for(slow) as pool:
        response, _ = await fetch(pool, body)
        assert response.status == 200


async def test_an_early_answer_stops_a_large_request_and_the_connection_is_not_reused():
    async def refuse(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
        await writer.drain()
        await asyncio.sleep(0.3)

    async with pool_for(refuse) as pool:
        response, body = await asyncio.wait_for(fetch(pool, b"x" * 50_000_000), 5)
        assert (response.status, body) == (413, b"big")
        assert pool.idle_connections == 0


async def test_a_server_that_stops_reading_the_request_is_an_idle_timeout():
    async def deaf(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        await asyncio.sleep(2)

    async with pool_for(deaf, QUICK) as pool:
        with pytest.raises(IdleTimeout, match="reading the request"):
            await fetch(pool, b"x" * 50_000_000)


async def test_a_server_that_breaks_off_during_the_request_is_a_reset():
    async def leave(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async with pool_for(leave) as pool:
        with pytest.raises(ConnectionReset):
            await fetch(pool, b"x" * 50_000_000)


async def test_closing_a_response_closes_the_connection():
    is_gone = asyncio.Event()

    async def endless(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nstart")
        await reader.read()
        is_gone.set()

    async with pool_for(endless) as pool:
        async with await pool.send("POST", "/", []) as response:
            assert await response.read_chunk() == b"start"
        await asyncio.wait_for(is_gone.wait(), 1)
        with pytest.raises(ConnectionReset):
            await response.read_chunk()
        await response.aclose()


async def test_a_discarded_response_keeps_the_connection_if_its_end_follows():
    has_more = asyncio.Event()

    async def late_end(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ndone\r\n")
        await has_more.wait()
        writer.write(b"4\r\nmore\r\n0\r\n\r\n")
        await read_request(reader)
        writer.write(OK)

    async with pool_for(late_end) as pool:
        response = await pool.send("POST", "/", [])
        await response.read_chunk()
        response.discard()
        has_more.set()
        await until(lambda: pool.idle_connections == 1)
        _, body = await fetch(pool)
        assert body == b"ok"
        assert pool.open_connections == 1


async def test_a_discarded_response_without_end_is_closed_within_a_second_or_so():
    is_gone = asyncio.Event()

    async def endless(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nstart")
        await reader.read()
        is_gone.set()

    async with pool_for(endless) as pool:
        response = await pool.send("POST", "/", [])
        await response.read_chunk()
        response.discard()
        await asyncio.wait_for(is_gone.wait(), 3)


@pytest.mark.parametrize("extra", [b"HT", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nevil!"])
async def test_bytes_after_an_answer_are_never_taken_for_the_next_one(extra):
    async with pool_for(saying(OK + extra, OK, OK)) as pool:
        assert (await fetch(pool))[1] == b"ok"
        assert (await fetch(pool))[1] == b"ok"


async def test_unasked_bytes_on_an_idle_connection_close_it():
    async def talkative(reader, writer):
        await read_request(reader)
        writer.write(OK)
        await asyncio.sleep(0.05)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nevil!")
        await reader.read()

    async with pool_for(talkative) as pool:
        await fetch(pool)
        await until(lambda: pool.idle_connections == 0)
        assert (await fetch(pool))[1] == b"ok"
