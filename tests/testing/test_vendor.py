"""The scripted vendor by itself: scripts, faults, records, and the command that runs it alone."""

import asyncio
import signal
import sys

import msgspec
import pytest

from mainstay.kit.http import Origin, Pool, TransportError
from mainstay.testing.vendor import Fault, FaultKind, Reply, Vendor

CHAT = "/v1/chat/completions"


async def post(vendor, path=CHAT, headers=(), **call):
    pool = Pool(Origin.parse(vendor.root_url))
    try:
        response = await pool.send("POST", path, headers, msgspec.json.encode({"model": "m", **call}))
        return response.status, await response.read(1_000_000)
    finally:
        await pool.aclose()


async def text(vendor):
    _, body = await post(vendor)
    return msgspec.json.decode(body)["choices"][0]["message"]["content"]


async def test_replies_are_used_up_one_by_one_and_then_the_default_answers():
    async with Vendor([Reply(text="one"), Reply(text="two")]) as vendor:
        assert [await text(vendor) for _ in range(3)] == ["one", "two", Reply().text]


async def test_a_script_may_be_a_function_of_the_request():
    async with Vendor(lambda received: Reply(text=received.headers["content-length"])) as vendor:
        assert await text(vendor) == "13"


async def test_requests_are_recorded():
    async with Vendor() as vendor:
        await post(vendor, headers=[(b"X-Team", b"blue")])
        received = vendor.requests[0]
        assert (received.method, received.path, received.body) == ("POST", CHAT, b'{"model":"m"}')
        assert received.headers["x-team"] == "blue"
        assert not received.is_disconnected


async def test_a_fault_may_be_chosen_by_a_header():
    async with Vendor() as vendor:
        with pytest.raises(TransportError):
            await post(vendor, headers=[(b"x-fault", b"reset@60")])
        assert (await post(vendor, headers=[(b"x-fault", b"status@503")]))[0] == 503


@pytest.mark.parametrize("kind", FaultKind)
def test_every_fault_can_be_written_as_text(kind):
    assert Fault.parse(f"{kind}@7") == Fault(kind, 7)
    assert Fault.parse(kind.value) == Fault(kind)


async def test_a_fault_that_does_not_exist_is_no_fault():
    async with Vendor() as vendor:
        assert (await post(vendor, headers=[(b"x-fault", b"gremlins")]))[0] == 200


async def test_models_unknown_paths_and_broken_bodies_are_answered_as_a_vendor_does():
    async with Vendor(models=["a", "b"]) as vendor:
        _, body = await post(vendor, "/v1/models")
        assert [model["id"] for model in msgspec.json.decode(body)["data"]] == ["a", "b"]
        assert (await post(vendor, "/v1/nothing"))[0] == 404
        assert (await post(vendor, n="many"))[0] == 400


async def test_bytes_that_are_no_http_end_the_connection():
    async with Vendor() as vendor:
        reader, writer = await asyncio.open_connection("127.0.0.1", vendor.port)
        writer.write(b"\x16\x03\x01 what is this?\r\n\r\n")
        assert await asyncio.wait_for(reader.read(), 2) == b""
        writer.close()
        await writer.wait_closed()


async def test_pipelined_requests_are_answered_in_order():
    request = b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 13\r\n\r\n" + b'{"model":"%d"}'
    async with Vendor(Reply(first_delay_seconds=0.01)) as vendor:
        reader, writer = await asyncio.open_connection("127.0.0.1", vendor.port)
        writer.write(request % 1 + request % 2)
        answers = b""
        while answers.count(b'"model":"') < 2:
            answers += await asyncio.wait_for(reader.read(10_000), 2)
        assert answers.index(b'"model":"1"') < answers.index(b'"model":"2"')
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("pieces", [1, 2, 31, 1000])
async def test_a_stream_is_cut_into_as_many_pieces_as_asked(pieces):
    async with Vendor(Reply(chunks=pieces)) as vendor:
        _, body = await post(vendor, stream=True)
        texts = [
            msgspec.json.decode(line[6:])["choices"][0]["delta"].get("content")
            for line in body.split(b"\n\n")
            if line.startswith(b"data: {")
        ]
    filled = [text for text in texts if text]
    assert "".join(filled) == Reply().text
    assert len(filled) == min(pieces, len(Reply().text))


async def test_the_command_prints_its_port_and_stops_on_a_signal():
    command = [sys.executable, "-m", "mainstay.testing.vendor", "--print-port", "--text", "alone"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    port = int(await asyncio.wait_for(process.stdout.readline(), 20))
    pool = Pool(Origin("127.0.0.1", port))
    response = await pool.send("POST", CHAT, [], b'{"model":"m"}')
    assert b"alone" in await response.read(10_000)
    await pool.aclose()
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 10) == 0
