"""Connections shared, bounded, replaced and given back."""

import asyncio
import contextlib
import tempfile

import pytest
from tests.kit.http.servers import OK, read_request, saying, serving

from mainstay.kit.http import (
    ConnectionReset,
    ConnectRefused,
    ConnectTimeout,
    DeadlineExceeded,
    DnsFailure,
    Origin,
    Pool,
    PoolExhausted,
    PoolLimits,
    Timeouts,
)
from mainstay.testing.vendor import Reply, Vendor

CALL = b'{"model":"m"}'
PATH = "/v1/chat/completions"


@pytest.fixture
async def vendor():
    async with Vendor() as vendor:
        yield vendor


@contextlib.asynccontextmanager
async def opened(vendor, **limits):
    pool = Pool(Origin.parse(vendor.root_url), PoolLimits(**limits))
    try:
        yield pool
    finally:
        await pool.aclose()


async def call(pool, body=CALL):
    response = await pool.send("POST", PATH, [], body)
    return await response.read(1_000_000)


async def begin(pool, model="fault:stall@1"):
    """Open a stream that does not end by itself."""
    return await pool.send("POST", PATH, [], b'{"model":"%b","stream":true}' % model.encode())


async def test_one_connection_serves_calls_that_follow_each_other(vendor):
    async with opened(vendor) as pool:
        for _ in range(20):
            await call(pool)
        assert vendor.accepted_connections == 1
        assert (pool.open_connections, pool.idle_connections) == (1, 1)


async def test_concurrent_calls_have_a_connection_each_up_to_the_limit(vendor):
    async with opened(vendor, max_connections=4) as pool:
        await asyncio.gather(*(call(pool) for _ in range(50)))
        assert vendor.accepted_connections == 4
        assert len(vendor.requests) == 50


async def test_the_last_used_connection_is_used_first(vendor):
    async with opened(vendor, keep_alive_seconds=0.3) as pool:
        await asyncio.gather(*(call(pool) for _ in range(3)))
        for _ in range(8):
            await call(pool)
            await asyncio.sleep(0.1)
        assert pool.open_connections == 1  # the other two grew too old
        assert vendor.accepted_connections == 3


async def test_a_full_pool_refuses_after_its_queue_is_full_or_slow(vendor):
    async with opened(vendor, max_connections=1, max_waiting=1, wait_seconds=0.2) as pool:
        stream = await begin(pool)
        waiting = asyncio.create_task(call(pool))
        await asyncio.sleep(0)
        with pytest.raises(PoolExhausted, match="1 calls wait"):
            await call(pool)
        with pytest.raises(PoolExhausted, match="in time"):
            await waiting
        await stream.aclose()
        assert await call(pool)


async def test_a_waiting_call_gets_the_slot_of_a_closed_connection(vendor):
    async with opened(vendor, max_connections=1) as pool:
        stream = await begin(pool)
        waiting = asyncio.create_task(call(pool))
        await asyncio.sleep(0)
        await stream.aclose()
        assert await asyncio.wait_for(waiting, 2)


async def test_the_deadline_of_a_waiting_call_counts(vendor):
    async with opened(vendor, max_connections=1) as pool:
        stream = await begin(pool)
        with pytest.raises(DeadlineExceeded):
            await pool.send("POST", PATH, [], CALL, deadline=asyncio.get_running_loop().time() + 0.1)
        await stream.aclose()


async def test_cancelled_waiting_calls_lose_no_slot(vendor):
    async with opened(vendor, max_connections=2) as pool:
        for wait_seconds in [0, 0, 0.001, 0.002, 0.003, 0.004] * 5:
            calls = [asyncio.create_task(call(pool)) for _ in range(10)]
            await asyncio.sleep(wait_seconds)
            for one in calls[::2]:
                one.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        assert pool.open_connections <= 2
        await asyncio.wait_for(asyncio.gather(*(call(pool) for _ in range(10))), 5)


async def test_a_connection_that_breaks_as_a_cancelled_call_gets_it_frees_one_slot(vendor):
    async with opened(vendor, max_connections=1) as pool:
        take_back = pool.released

        def hand_on_and_break(connection):
            take_back(connection)
            connection.abort()
            second.cancel()

        pool.released = hand_on_and_break
        first, second = asyncio.create_task(call(pool)), asyncio.create_task(call(pool))
        await asyncio.gather(first, second, return_exceptions=True)
        assert second.cancelled()
        await pool.aclose()
        assert pool.open_connections == 0


async def test_cancelling_a_call_closes_its_connection(vendor):
    async with opened(vendor) as pool:
        task = asyncio.create_task(call(pool, b'{"model":"fault:silent"}'))
        await vendor.wait_until(lambda vendor: len(vendor.requests) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await vendor.wait_until(lambda vendor: vendor.requests[0].is_disconnected)
        assert await call(pool)


async def test_cancelling_after_the_answer_ended_harms_no_other_call(vendor):
    async with opened(vendor, max_connections=1) as pool:
        for _ in range(50):
            first, second = asyncio.create_task(call(pool)), asyncio.create_task(call(pool))
            await vendor.wait_until(lambda vendor: len(vendor.requests) % 2 == 0 and len(vendor.requests) > 0)
            first.cancel()
            assert await second
            await asyncio.gather(first, return_exceptions=True)
            vendor.requests.clear()


async def test_connections_that_the_server_closed_while_idle_are_replaced(vendor):
    async with opened(vendor) as pool:
        for _ in range(5):
            await asyncio.gather(*(call(pool) for _ in range(3)))
            vendor.cut_connections(only_idle=True)
            assert await call(pool)


async def test_a_connection_that_dies_as_it_is_reused_is_replaced_once():
    served = 0

    async def one_only(reader, writer):
        nonlocal served
        await read_request(reader)
        served += 1
        writer.write(OK)
        await read_request(reader)
        served += 100  # read, but never answered

    async with serving(one_only) as origin:
        pool = Pool(origin)
        assert await call(pool) == b"ok"
        assert await call(pool) == b"ok"
        assert served == 102
        await pool.aclose()


async def test_a_fresh_connection_that_dies_is_not_tried_again():
    connections = 0

    async def rude(reader, writer):
        nonlocal connections
        connections += 1
        await read_request(reader)

    async with serving(rude) as origin:
        pool = Pool(origin)
        with pytest.raises(ConnectionReset):
            await call(pool)
        assert connections == 1
        assert pool.open_connections == 0


async def test_a_reused_connection_that_dies_within_an_answer_is_not_tried_again():
    async with serving(saying(OK, b"HTTP/1.1 2")) as origin:
        pool = Pool(origin)
        await call(pool)
        with pytest.raises(Exception, match="in the middle"):
            await call(pool)
        await pool.aclose()


async def test_a_retired_pool_lets_answers_end_and_keeps_nothing():
    async with Vendor(Reply(chunks=5, delay_seconds=0.02)) as vendor, opened(vendor) as pool:
        stream = await begin(pool, "m")
        await call(pool)
        pool.retire()
        assert b"[DONE]" in await stream.read(1_000_000)
        assert await call(pool)
        await vendor.wait_until(lambda vendor: vendor.open_connections == 0)
        assert pool.open_connections == 0


async def test_closing_a_pool_breaks_open_answers(vendor):
    async with opened(vendor) as pool:
        stream = await begin(pool)
        await stream.read_chunk()
        await pool.aclose()
        with pytest.raises(ConnectionReset):
            await stream.read_chunk()
        assert pool.open_connections == 0


async def test_unix_sockets_are_spoken_to():
    with tempfile.TemporaryDirectory(prefix="ms-", dir="/tmp") as folder:
        vendor = Vendor(socket_path=f"{folder}/s")
        async with vendor:
            pool = Pool(Origin.unix(f"{folder}/s"))
            assert b"scripted vendor" in await call(pool)
            assert vendor.requests[0].headers["host"] == "localhost"
            await pool.aclose()


async def test_nobody_listening_is_connect_refused(vendor):
    origin = Origin.parse(vendor.root_url)
    await vendor.aclose()
    with pytest.raises(ConnectRefused, match="Cannot connect to http://127"):
        await call(Pool(origin))
    with pytest.raises(ConnectRefused):
        await call(Pool(Origin.unix("/tmp/ms-no-such-socket")))


async def test_an_unknown_name_is_a_dns_failure():
    with pytest.raises(DnsFailure, match="does-not-exist"):
        await call(Pool(Origin.parse("http://does-not-exist.invalid")))


async def test_a_listener_that_never_accepts_tls_is_a_connect_timeout():
    async def mute(reader, writer):
        await reader.read()

    async with serving(mute) as origin:
        pool = Pool(Origin(origin.host, origin.port, is_tls=True), timeouts=Timeouts(connect_seconds=0.2))
        with pytest.raises(ConnectTimeout):
            await call(pool)
        assert pool.open_connections == 0


async def test_connections_have_no_delay(vendor):
    import socket

    async with opened(vendor) as pool:
        await call(pool)
        sock = pool._idle[0]._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
