"""A caller that goes away frees its slot; an engine that goes away takes nothing with it. Over real children."""

import asyncio
import contextlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.platform.engine.llama_cpp.fake_engine import chat, coder_weights, model_of, request
from tests.platform.engine.tiny_engines import lab, tiny_spec, until

from mainstay.inference import Failure, InferenceError, Operation
from mainstay.platform.catalog import Catalog, Store
from mainstay.platform.catalog.store import default_models_directory

LONG = {"max_tokens": 400, "temperature": 2, "logit_bias": {"2": -100}}
"""400 tokens of the tiny model take some 100 ms; without its end token it stops no sooner."""


def installed(model_id: str) -> Path:
    path = Store(default_models_directory(os.environ)).path(Catalog.load().get(model_id))
    assert path is not None, f"{model_id} is not installed; run `python tools/fetch_test_models.py`"
    return path


async def working_slots(socket_path: Path) -> int:
    """Ask the engine itself, as its owner would."""
    reader, writer = await asyncio.open_unix_connection(str(socket_path))
    writer.write(b"GET /slots HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    return sum(slot["is_processing"] for slot in json.loads(answer.partition(b"\r\n\r\n")[2]))


async def freed(socket_path: Path, *, seconds: float = 30.0) -> float:
    """Wait until no slot works; return how long that took."""
    begin = time.monotonic()
    await until_slots_work(socket_path, 0, seconds=seconds)
    return time.monotonic() - begin


async def until_slots_work(socket_path: Path, count: int, *, seconds: float = 30.0) -> None:
    """Wait for what no event tells: how many slots of another process work."""
    end = time.monotonic() + seconds
    while await working_slots(socket_path) != count:
        assert time.monotonic() < end, f"there were never {count} slots at work"
        await asyncio.sleep(0.01)


async def test_closed_streams_give_every_slot_back() -> None:
    async with lab() as it, model_of(it.residency, weights=coder_weights("tiny")) as model:
        endpoint = await it.residency.ensure("tiny")
        for cycle in range(40):
            stream = await model.stream(chat(stream=True, n=1 + cycle % 2, **LONG))
            async for _ in stream:
                break
            await stream.aclose()
        assert await freed(endpoint.socket_path) < 5
        assert (await model.answer(chat(max_tokens=1))).body


async def test_cancelled_answers_give_every_slot_back() -> None:
    async with lab() as it, model_of(it.residency, weights=coder_weights("tiny")) as model:
        endpoint = await it.residency.ensure("tiny")
        for _ in range(10):
            tasks = [asyncio.create_task(model.answer(chat(**LONG))) for _ in range(4)]
            await until(lambda: model.admission.in_flight == 2 and model.admission.queue_depth == 2)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert await freed(endpoint.socket_path) < 5
        assert (model.admission.in_flight, model.admission.queue_depth) == (0, 0)


async def test_caller_that_leaves_while_its_prompt_is_read_frees_the_slot_before_it_is_read() -> None:
    prompt = "alpha beta gamma delta " * 450

    def asked(number: int) -> Any:
        return request({"prompt": f"{number} {prompt}", "max_tokens": 1}, Operation.COMPLETIONS)

    async with lab() as it, model_of(it.residency, weights=coder_weights("small")) as model:
        path = installed("smollm2-135m-instruct")
        it.specs["small"] = tiny_spec(path, "small", context_tokens=2048)
        endpoint = await it.residency.ensure("small")
        begin = time.monotonic()
        answer = await model.answer(asked(1))
        whole_seconds = time.monotonic() - begin
        assert answer.usage is not None
        assert answer.usage.prompt_tokens > 1500
        task = asyncio.create_task(model.answer(asked(2)))
        await until_slots_work(endpoint.socket_path, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await freed(endpoint.socket_path) < whole_seconds / 2


async def test_killed_engine_ends_its_streams_with_an_error_and_the_next_call_works() -> None:
    async with lab() as it, model_of(it.residency, weights=coder_weights("tiny")) as model:
        stream = await model.stream(chat(stream=True, **LONG))
        (process_id,) = it.process_ids()
        os.kill(process_id, signal.SIGKILL)

        async def read_on() -> None:
            async with stream:
                async for _ in stream:
                    pass

        # The tiny model may have said all in the moment before.
        with contextlib.suppress(InferenceError):
            await read_on()
        assert (await model.answer(chat(max_tokens=1))).body
        assert it.process_ids() != [process_id]


async def test_frozen_engine_is_replaced_and_the_call_that_met_it_fails_cleanly() -> None:
    async with lab() as it, model_of(it.residency, weights=coder_weights("tiny")) as model:
        await model.answer(chat(max_tokens=1))
        (process_id,) = it.process_ids()
        os.kill(process_id, signal.SIGSTOP)
        try:
            # Killed by the watchdog after 1.5 s of silence; the request is then sent to the successor.
            assert (await asyncio.wait_for(model.answer(chat(max_tokens=1)), 20)).body
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGCONT)


async def test_model_that_is_unknown_to_the_engines_is_not_found() -> None:
    async with lab() as it, model_of(it.residency, weights=coder_weights("absent")) as model:
        with pytest.raises(InferenceError) as caught:
            await model.answer(chat())
        assert (caught.value.failure, caught.value.status) == (Failure.MODEL_GONE, 404)
