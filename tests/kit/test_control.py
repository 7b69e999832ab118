"""Calls between processes."""

import asyncio
import stat
import tempfile
from pathlib import Path

import pytest

from mainstay.kit import control
from mainstay.kit.errors import MainstayError, NotFoundError, UnavailableError


@pytest.fixture
async def socket_path():
    with tempfile.TemporaryDirectory(prefix="ms-", dir="/tmp") as folder:
        yield Path(folder) / "c.sock"


async def _pair(path, server_handlers, client_handlers=None):
    accepted = []
    server = await control.listen(path, server_handlers, accepted.append)
    client = await control.connect(path, client_handlers or {})
    reading = asyncio.create_task(client.run())
    return server, client, reading, accepted


async def _end(server, client, reading):
    await client.aclose()
    await reading
    server.close()


async def test_calls_answer_and_errors_keep_their_status(socket_path):
    async def double(connection, params):
        return params["x"] * 2

    async def refuse(connection, params):
        raise NotFoundError("no such thing", code="gone", param="x")

    server, client, reading, _ = await _pair(socket_path, {"double": double, "refuse": refuse})
    assert await client.call("double", {"x": 21}) == 42
    with pytest.raises(MainstayError, match="no such thing") as raised:
        await client.call("refuse")
    assert (raised.value.status, raised.value.code, raised.value.param) == (404, "gone", "x")
    with pytest.raises(MainstayError, match="not a control call"):
        await client.call("unheard-of")
    await _end(server, client, reading)


async def test_a_handler_that_fails_answers_instead_of_hanging(socket_path):
    async def fail(connection, params):
        raise KeyError("surprise")

    server, client, reading, _ = await _pair(socket_path, {"fail": fail})
    with pytest.raises(MainstayError, match="surprise"):
        await client.call("fail", timeout_seconds=5)
    await _end(server, client, reading)


async def test_the_server_can_call_the_client_while_the_client_waits(socket_path):
    async def outer(connection, params):
        return await connection.call("inner") + 1

    async def inner(connection, params):
        return 1

    server, client, reading, _ = await _pair(socket_path, {"outer": outer}, {"inner": inner})
    assert await client.call("outer") == 2
    await _end(server, client, reading)


async def test_calls_in_flight_fail_when_the_peer_goes_away(socket_path):
    started = asyncio.Event()

    async def never(connection, params):
        started.set()
        await asyncio.Event().wait()

    server, client, reading, accepted = await _pair(socket_path, {"never": never})
    waiting = asyncio.create_task(client.call("never"))
    await started.wait()
    await accepted[0].aclose()
    with pytest.raises(UnavailableError, match="gone away"):
        await waiting
    with pytest.raises(UnavailableError):
        await client.call("never")
    await _end(server, client, reading)


async def test_a_line_that_is_no_frame_ends_the_connection_only(socket_path):
    server, client, reading, _ = await _pair(socket_path, {})
    reader, writer = await asyncio.open_unix_connection(str(socket_path))
    writer.write(b"\x00 this is not json\n")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    await writer.wait_closed()
    with pytest.raises(MainstayError, match="not a control call"):
        await client.call("still-there")
    await _end(server, client, reading)


async def test_only_the_owner_may_open_the_socket(socket_path):
    server = await control.listen(socket_path, {})
    assert stat.S_IMODE(socket_path.stat().st_mode) == 0o600
    server.close()


async def test_nobody_listening_is_said_with_what_to_do(socket_path):
    with pytest.raises(UnavailableError, match="mainstay serve"):
        await control.connect(socket_path, {})
