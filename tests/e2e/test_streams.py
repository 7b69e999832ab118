"""Many streams at once, for a while: nothing stalls, nothing leaks, every slot comes back."""

import asyncio
import json
import socket
import time
import urllib.request
from pathlib import Path

import pytest
from openai import AsyncOpenAI
from tests.e2e.observing import SMALL, descendants, memory_bytes, until, vendor_configuration

HELLO = [{"role": "user", "content": "Say hello."}]
STREAMS = 64


def open_files(process_id):
    return sum(1 for _ in Path(f"/proc/{process_id}/fd").iterdir())


DATABASE_FILES = 12
"""A worker opens readers of its database when it first needs them: four at most, three files each."""


async def _one_stream(client, model, stalls, **options):
    """Read one stream to its end; note the longest wait between two chunks, the first one left out."""
    last, longest = None, 0.0
    stream = await client.chat.completions.create(model=model, messages=HELLO, stream=True, **options)
    reason = None
    async for chunk in stream:
        now = time.monotonic()
        if last is not None:
            longest = max(longest, now - last)
        last = now
        reason = chunk.choices[0].finish_reason or reason
    stalls.append(longest)
    return reason


async def _streams_for(seconds, server, key, model, **options):
    stalls, reasons = [], set()
    deadline = time.monotonic() + seconds
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, timeout=120) as client:

        async def again_and_again():
            while time.monotonic() < deadline:
                reasons.add(await _one_stream(client, model, stalls, **options))

        async with asyncio.TaskGroup() as group:
            for _ in range(STREAMS):
                group.create_task(again_and_again())
    return stalls, reasons


async def _scripted(install, vendor, seconds):
    server = install(vendor_configuration(vendor("--chunks", "40", "--delay", "0.05").port)).start()
    key = server.create_key()
    (worker,) = descendants(server.supervisor_id)
    await _streams_for(4, server, key, "upstream")  # connections and buffers reach their size
    _sign_once(server)
    before, files = memory_bytes(worker), open_files(worker)
    stalls, reasons = await _streams_for(seconds, server, key, "upstream")
    assert reasons == {"stop"}
    assert len(stalls) >= STREAMS
    assert max(stalls) < 1.0
    assert memory_bytes(worker) - before < 8 * 1024 * 1024
    assert until(lambda: open_files(worker) <= files + DATABASE_FILES + 8), (files, open_files(worker))


def _sign_once(server):
    """Have the worker load what it signs the audit log with, as it does some time in its first minute anyway."""
    headers = {"authorization": f"Bearer {server.create_key('--scopes', 'admin')}"}
    request = urllib.request.Request(f"{server.url}/admin/v1/audit/public_key", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


async def _real(install, seconds):
    server = install(
        f'[models]\ndefault = "{SMALL}"\nslots = 4\nqueue_length = 128\nqueue_wait_seconds = 120\n'
    ).start()
    key = server.create_key()
    _, reasons = await _streams_for(seconds, server, key, "chat", max_tokens=16)
    assert reasons <= {"stop", "length"}
    engine_socket = socket_of_the_engine(server)
    assert until(lambda: not any(slot["is_processing"] for slot in slots(engine_socket)), 10)


def socket_of_the_engine(server):
    (path,) = Path(server.home, "run").glob("e-*.sock")
    return path


def slots(engine_socket):
    """What llama.cpp says of its slots."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(engine_socket))
        connection.sendall(b"GET /slots HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return json.loads(answer.split(b"\r\n\r\n", 1)[1])


async def test_64_streams_stall_nowhere_and_leak_nothing(install, vendor):
    await _scripted(install, vendor, 10)


async def test_64_streams_on_a_real_engine_give_every_slot_back(install):
    await _real(install, 10)


@pytest.mark.heavy
@pytest.mark.timeout(600)
async def test_64_streams_for_two_minutes_stall_nowhere_and_leak_nothing(install, vendor):
    await _scripted(install, vendor, 120)


@pytest.mark.heavy
@pytest.mark.timeout(600)
async def test_64_streams_for_two_minutes_on_a_real_engine_give_every_slot_back(install):
    await _real(install, 120)


async def test_callers_that_leave_free_their_slots_within_a_second(install):
    server = install(f'[models]\ndefault = "{SMALL}"\nslots = 2\n').start()
    key = server.create_key()
    engine_socket = socket_of_the_engine(server)
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client:
        for _ in range(5):
            stream = await client.chat.completions.create(
                model="chat", messages=HELLO, stream=True, max_tokens=2000, extra_body={"ignore_eos": True}
            )
            await anext(aiter(stream))
            await stream.close()
            assert until(lambda: not any(slot["is_processing"] for slot in slots(engine_socket)), 1.5)


async def test_callers_that_never_read_do_not_grow_the_server(install, vendor):
    server = install(vendor_configuration(vendor("--chunks", "20000", "--text", "x" * 100_000).port)).start()
    key = server.create_key()
    (worker,) = descendants(server.supervisor_id)
    before = memory_bytes(worker)
    host, _, port = server.url.removeprefix("http://").partition(":")
    body = json.dumps({"model": "upstream", "messages": HELLO, "stream": True}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: {len(body)}"
    )
    writers = []
    for _ in range(50):
        _, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.transport.pause_reading()
        writer.write(head.encode() + b"\r\n\r\n" + body)
        writers.append(writer)
    await asyncio.sleep(2)
    assert memory_bytes(worker) - before < 50 * 512 * 1024
    for writer in writers:
        writer.transport.abort()
