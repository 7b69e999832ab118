"""What is wrong, hostile, or killed in the middle: only the child dies, and residency returns."""

import asyncio
import contextlib
import os
import random
import resource
import signal
import struct
import sys
from pathlib import Path

import pytest
from tests.platform.engine.tiny_engines import (
    Lab,
    engine_process_ids,
    lab,
    open_post,
    post,
    short_directory,
    tiny_spec,
    until,
)

from mainstay.kit.errors import ConfigurationError, MainstayError, UnavailableError
from mainstay.platform.engine.endpoint import Phase
from mainstay.testing.tiny_gguf import write_tiny_gguf

_SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from mainstay.platform.engine.residency import Residency
from tests.platform.engine.tiny_engines import quick_settings, tiny_spec

async def supervise():
    directory = Path(sys.argv[1])
    residency = Residency(lambda model_id: tiny_spec(directory / "tiny.gguf", model_id), quick_settings(directory))
    await asyncio.gather(residency.ensure("one"), residency.ensure("two"))
    print("ready", flush=True)
    await asyncio.sleep(60)

asyncio.run(supervise())
"""


async def test_killed_supervisor_leaves_no_orphan() -> None:
    with short_directory() as directory:
        write_tiny_gguf(directory / "tiny.gguf")
        root = Path(__file__).parents[3]
        supervisor = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _SUPERVISOR, str(directory), stdout=asyncio.subprocess.PIPE, cwd=root
        )
        assert supervisor.stdout
        assert await supervisor.stdout.readline() == b"ready\n"
        assert len(engine_process_ids(directory)) == 2
        supervisor.kill()
        await supervisor.wait()
        await until(lambda: engine_process_ids(directory) == [], seconds=5)


@pytest.mark.parametrize("route", ["/v1/completions", "/v1/chat/completions"])
async def test_deeply_nested_grammar_kills_only_the_child(route: str) -> None:
    async with lab("one", "two") as it:
        one = await it.residency.ensure("one")
        two = await it.residency.ensure("two")
        grammar = "root ::= " + "(" * 30_000 + '"a"' + ")" * 30_000
        body = {"prompt": "a", "messages": [{"role": "user", "content": "a"}], "max_tokens": 1, "grammar": grammar}
        with pytest.raises(ConnectionError):
            await post(one.socket_path, route, body)
        it.residency.report_broken("one", one.generation)
        again = await it.residency.ensure("one")
        assert again.generation == 2
        assert (await post(again.socket_path, "/v1/completions", {"prompt": "a", "max_tokens": 1}))[0] == 200
        assert await it.residency.ensure("two") == two


async def test_child_that_dies_while_streaming_ends_the_stream() -> None:
    async with lab() as it:
        endpoint = await it.residency.ensure("tiny")
        reader, writer = await _open_long_stream(endpoint.socket_path)
        os.kill(it.process_ids()[0], signal.SIGKILL)
        async with asyncio.timeout(5):
            rest = await reader.read()
        assert b"[DONE]" not in rest
        writer.close()


async def test_stopping_lets_an_open_stream_end() -> None:
    async with lab() as it:
        endpoint = await it.residency.ensure("tiny")
        reader, writer = await _open_long_stream(endpoint.socket_path)
        answer, _ = await asyncio.gather(reader.read(), it.residency.stop("tiny"))
        assert answer.endswith(b"data: [DONE]\n\n") or b"data: [DONE]" in answer
        writer.close()
        assert it.process_ids() == []


async def test_stream_longer_than_the_grace_is_cut() -> None:
    async with lab(drain_seconds=0.2) as it:
        it.specs["tiny"] = tiny_spec(
            write_tiny_gguf(it.directory / "long.gguf", context_tokens=200_000), context_tokens=100_000
        )
        endpoint = await it.residency.ensure("tiny")
        reader, writer = await _open_long_stream(endpoint.socket_path, tokens=90_000)
        async with asyncio.timeout(10):
            answer, _ = await asyncio.gather(reader.read(), it.residency.stop("tiny"))
        assert b"[DONE]" not in answer
        writer.close()


async def test_stopping_works_on_a_child_that_is_stopped() -> None:
    async with lab(drain_seconds=0.3) as it:
        await it.residency.ensure("tiny")
        os.kill(it.process_ids()[0], signal.SIGSTOP)
        async with asyncio.timeout(10):
            await it.residency.stop("tiny")
        assert it.process_ids() == []


async def test_disconnected_client_frees_its_slot_within_a_second() -> None:
    async with lab() as it:
        it.specs["tiny"] = tiny_spec(
            write_tiny_gguf(it.directory / "long.gguf", context_tokens=200_000), context_tokens=100_000, slots=1
        )
        endpoint = await it.residency.ensure("tiny")
        for _ in range(5):
            _, writer = await _open_long_stream(endpoint.socket_path, tokens=90_000)
            writer.transport.abort()
            status, _ = await post(endpoint.socket_path, "/v1/completions", {"prompt": "b", "max_tokens": 1}, seconds=1)
            assert status == 200


async def test_prompt_that_overflows_its_slot_fails_alone() -> None:
    async with lab() as it:
        endpoint = await it.residency.ensure("tiny")
        neighbour = asyncio.create_task(
            post(endpoint.socket_path, "/v1/completions", {"prompt": "a", "max_tokens": 400, "ignore_eos": True})
        )
        status, body = await post(endpoint.socket_path, "/v1/completions", {"prompt": "a b c " * 500, "max_tokens": 1})
        assert (status, b"exceed_context_size_error" in body) == (400, True)
        assert (await neighbour)[0] == 200


async def test_two_full_slots_do_not_disturb_each_other() -> None:
    async with lab() as it:
        endpoint = await it.residency.ensure("tiny")
        body = {"prompt": "a b c d " * 40, "max_tokens": 1000, "ignore_eos": True}
        answers = await asyncio.gather(*(post(endpoint.socket_path, "/v1/completions", body) for _ in range(4)))
        assert [status for status, _ in answers] == [200] * 4


async def test_damaged_file_is_named_and_not_loaded_again_at_once() -> None:
    async with lab(first_pause_seconds=30.0) as it:
        path = it.specs["tiny"].model_path
        path.write_bytes(path.read_bytes()[:300_000])
        with pytest.raises(ConfigurationError, match=r"tiny\.gguf.*corrupted") as caught:
            await it.residency.ensure("tiny")
        assert caught.value.retry_after_seconds == pytest.approx(30.0, abs=1)
        loads = len(it.changes)
        for _ in range(10):
            with pytest.raises(ConfigurationError, match=r"tiny\.gguf"):
                await it.residency.ensure("tiny")
        assert len(it.changes) == loads


async def test_repaired_file_loads_after_the_pause() -> None:
    async with lab() as it:
        path = it.specs["tiny"].model_path
        whole = path.read_bytes()
        path.write_bytes(b"")
        with pytest.raises(ConfigurationError):
            await it.residency.ensure("tiny")
        path.write_bytes(whole)
        await asyncio.sleep(0.06)
        assert (await it.residency.ensure("tiny")).generation == 2


async def test_child_that_crashes_on_loading_is_an_unavailable_model() -> None:
    async with lab(load_timeout_seconds=0.0) as it:
        with pytest.raises(UnavailableError, match=r"did not finish loading from .*tiny\.gguf"):
            await it.residency.ensure("tiny")
        assert it.process_ids() == []


async def test_what_the_child_prints_is_in_its_log() -> None:
    async with lab() as it:
        path = it.specs["tiny"].model_path
        path.write_bytes(b"GGUF" + path.read_bytes()[4:1000])
        with pytest.raises(ConfigurationError):
            await it.residency.ensure("tiny")
        log = it.directory / "logs" / "engine-tiny.log"
        assert "Cannot load" in log.read_text()
        assert log.stat().st_mode & 0o077 == 0


async def test_child_sees_no_secret_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    async with lab() as it:
        await it.residency.ensure("tiny")
        (process_id,) = it.process_ids()
        process = Path(f"/proc/{process_id}")
        assert b"sk-secret" not in (process / "environ").read_bytes()
        assert (process / "oom_score_adj").read_text().strip() == "500"
        assert resource.prlimit(process_id, resource.RLIMIT_CORE) == (0, 0)


async def test_damaged_files_kill_only_the_child() -> None:
    await _load_damaged(range(50))


@pytest.mark.heavy
@pytest.mark.timeout(1800)
async def test_two_thousand_damaged_files_kill_only_the_child() -> None:
    await _load_damaged(range(50, 2050))


async def _load_damaged(seeds: range) -> None:
    async with lab(first_pause_seconds=0.0, load_timeout_seconds=20.0) as it:
        await it.residency.ensure("tiny")
        whole = it.specs["tiny"].model_path.read_bytes()
        for seed in seeds:
            await _load_one(it, f"damaged-{seed}", _damage(whole, random.Random(seed)))
        assert it.residency.states()[0].phase is Phase.READY
        assert it.residency.states()[0].generation == 1


async def _load_one(it: Lab, model_id: str, content: bytes) -> None:
    path = it.directory / f"{model_id}.gguf"
    path.write_bytes(content)
    it.specs[model_id] = tiny_spec(path, model_id)
    try:
        endpoint = await it.residency.ensure(model_id)
        # Some damage leaves a model that loads; then it may die at work, and nobody else with it.
        with contextlib.suppress(ConnectionError, TimeoutError):
            await post(endpoint.socket_path, "/v1/completions", {"prompt": "a b", "max_tokens": 4})
    except MainstayError as error:
        message = error.message
    else:
        message = path.name
    assert path.name in message
    await it.residency.stop(model_id)
    path.unlink()


def _damage(whole: bytes, dice: random.Random) -> bytes:
    """Cut off, flip bits, or lie about sizes, mostly in the header, where it hurts."""
    content = bytearray(whole)
    match dice.randrange(5):
        case 0:
            return whole[: dice.randrange(len(whole))]
        case 1:
            for _ in range(dice.randrange(1, 20)):
                content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        case 2:
            for _ in range(dice.randrange(1, 4)):
                content[dice.randrange(8000)] ^= 1 << dice.randrange(8)
        case 3:
            position = dice.choice([4, 8, 16, dice.randrange(24, 8000)])
            struct.pack_into("<Q", content, position, dice.choice([0, 2**31, 2**63, 2**64 - 1, dice.getrandbits(40)]))
        case _:
            return b"" if dice.random() < 0.3 else dice.randbytes(dice.randrange(1, 4000))
    return bytes(content)


async def _open_long_stream(socket_path: Path, tokens: int = 400) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    body = {"prompt": "a b", "max_tokens": tokens, "ignore_eos": True, "stream": True}
    reader, writer = await open_post(socket_path, "/v1/completions", body)
    await reader.readuntil(b"data: {")
    return reader, writer
