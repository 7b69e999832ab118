"""What goes wrong with an engine, and what the caller is told."""

import asyncio
import json
import time
from typing import Any

import pytest
from tests.platform.engine.llama_cpp.fake_engine import Turn, chat, choice, fake_engine, model_of, usage
from tests.platform.engine.tiny_engines import until

from mainstay.inference import Failure, InferenceError
from mainstay.kit.errors import InvalidRequestError, NotFoundError, UnavailableError
from mainstay.kit.http.limits import Timeouts
from mainstay.platform.engine.admission import AdmissionLimits
from mainstay.platform.engine.llama_cpp import Limits


async def answer_well(turn: Turn) -> None:
    await turn.begin()
    await turn.say("ok")
    await turn.end()


async def failure_of(script: Any, *, limits: Limits | None = None, **more: Any) -> tuple[InferenceError, Any]:
    async with fake_engine(script) as engine, model_of(engine, limits=limits) as model:
        with pytest.raises(InferenceError) as caught:
            await asyncio.wait_for(model.answer(chat(**more)), 10)
    return caught.value, engine


async def hang_up_at_once(turn: Turn) -> None:
    raise ConnectionResetError


async def hang_up_while_reading_the_prompt(turn: Turn) -> None:
    await turn.begin()
    raise ConnectionResetError


async def end_without_done(turn: Turn) -> None:
    await turn.begin()
    turn.writer.write(b"0\r\n\r\n")


@pytest.mark.parametrize("death", [hang_up_at_once, hang_up_while_reading_the_prompt, end_without_done])
async def test_engine_that_died_before_its_first_word_is_asked_once_more(death: Any) -> None:
    attempts = 0

    async def script(turn: Turn) -> None:
        nonlocal attempts
        attempts += 1
        await (death if attempts == 1 else answer_well)(turn)

    async with fake_engine(script) as engine, model_of(engine) as model:
        answer = json.loads((await model.answer(chat())).body)
    assert answer["choices"][0]["message"]["content"] == "ok"
    assert engine.broken == [1]


@pytest.mark.parametrize("death", [hang_up_at_once, hang_up_while_reading_the_prompt])
async def test_request_that_killed_two_engines_is_not_sent_a_third_time(death: Any) -> None:
    error, engine = await failure_of(death)
    assert error.failure is Failure.ENGINE_DIED
    assert error.status == 503
    assert error.can_retry
    assert len(engine.turns) == 2
    assert engine.broken == [1, 2]


async def test_stream_that_is_cut_after_its_first_word_ends_with_an_error_and_no_second_try() -> None:
    async def script(turn: Turn) -> None:
        await turn.begin()
        await turn.send({"choices": [choice(0, content="Hel")]})
        raise ConnectionResetError

    async with fake_engine(script) as engine, model_of(engine) as model:
        seen: list[bytes] = []

        async def read() -> None:
            async with await model.stream(chat(stream=True)) as stream:
                async for batch in stream:
                    seen.extend(batch)

        with pytest.raises(InferenceError) as caught:
            await read()
    assert caught.value.failure is Failure.ENGINE_DIED
    assert any(b'"Hel"' in chunk for chunk in seen)
    assert len(engine.turns) == 1
    assert engine.broken == [1]


async def test_engine_whose_socket_is_gone_is_reported_and_asked_again() -> None:
    async with fake_engine(answer_well) as engine, model_of(engine) as model:
        there = engine.socket_path
        engine.socket_path = there.with_name("gone.sock")
        with pytest.raises(InferenceError) as caught:
            await model.answer(chat())
        assert caught.value.failure is Failure.ENGINE_DIED
        assert engine.broken == [1, 2]
        engine.socket_path = there
        assert (await model.answer(chat())).body


async def test_context_overflow_names_the_limit_in_the_vendors_words() -> None:
    async def script(turn: Turn) -> None:
        error = {
            "code": 400,
            "message": "…",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": 3030,
            "n_ctx": 2048,
        }
        await turn.refuse(400, error)

    async with fake_engine(script) as engine, model_of(engine) as model:
        for is_stream in (False, True):
            with pytest.raises(InvalidRequestError) as caught:
                await (model.stream if is_stream else model.answer)(chat(stream=is_stream))  # type: ignore[operator]
            assert caught.value.status == 400
            assert caught.value.code == "context_length_exceeded"
            assert caught.value.param == "messages"
            assert "This model's maximum context length is 2048 tokens" in caught.value.message
        assert engine.broken == []


@pytest.mark.parametrize("status", [400, 422])
async def test_engines_refusal_is_the_callers_fault(status: int) -> None:
    async def script(turn: Turn) -> None:
        await turn.refuse(status, {"code": status, "message": "bad schema", "type": "invalid_request_error"})

    async with fake_engine(script) as engine, model_of(engine) as model:
        with pytest.raises(InvalidRequestError, match="bad schema") as caught:
            await model.answer(chat())
    assert caught.value.status == 400


async def test_conversation_that_the_template_refuses_is_the_callers_fault() -> None:
    async def script(turn: Turn) -> None:
        message = "Jinja Exception: Conversation roles must alternate user/assistant/..."
        await turn.refuse(500, {"code": 500, "message": message, "type": "server_error"})

    async with fake_engine(script) as engine, model_of(engine) as model:
        with pytest.raises(InvalidRequestError, match="roles must alternate"):
            await model.answer(chat())


async def refuse_with_500(turn: Turn) -> None:
    await turn.refuse(500, {"code": 500, "message": "boom", "type": "server_error"})


async def refuse_while_loading(turn: Turn) -> None:
    await turn.refuse(503, {"code": 503, "message": "Loading model", "type": "unavailable_error"})


async def answer_html(turn: Turn) -> None:
    await turn.reply(500, b"<html>")


async def send_an_error_event(turn: Turn) -> None:
    await turn.begin()
    await turn.send({"error": {"code": 500, "message": "decode failed", "type": "server_error"}})


async def send_no_json(turn: Turn) -> None:
    await turn.begin()
    await turn.send(b"{nonsense")


async def send_wrong_types(turn: Turn) -> None:
    await turn.begin()
    await turn.send({"choices": "many"})


async def send_no_http(turn: Turn) -> None:
    turn.writer.write(b"SSH-2.0-nope\r\n\r\n")


@pytest.mark.parametrize(
    ("script", "failure", "status"),
    [
        (refuse_with_500, Failure.SERVER_ERROR, 502),
        (refuse_while_loading, Failure.ENGINE_UNAVAILABLE, 503),
        (answer_html, Failure.SERVER_ERROR, 502),
        (send_an_error_event, Failure.SERVER_ERROR, 502),
        (send_no_json, Failure.MALFORMED, 502),
        (send_wrong_types, Failure.MALFORMED, 502),
        (send_no_http, Failure.MALFORMED, 502),
    ],
)
async def test_engines_own_failure_has_its_cause(script: Any, failure: Failure, status: int) -> None:
    error, engine = await failure_of(script)
    assert (error.failure, error.status) == (failure, status)
    assert len(engine.turns) == 1


async def test_silent_engine_is_given_up_and_checked() -> None:
    async def script(turn: Turn) -> None:
        await turn.reader.read()

    limits = Limits(timeouts=Timeouts(connect_seconds=1, first_byte_seconds=0.05, idle_seconds=0.05))
    error, engine = await failure_of(script, limits=limits)
    assert (error.failure, error.status) == (Failure.FIRST_BYTE_TIMEOUT, 504)
    assert engine.broken == [1]


async def test_engine_that_falls_silent_in_the_middle_is_given_up() -> None:
    async def script(turn: Turn) -> None:
        await turn.begin()
        await turn.send({"choices": [choice(0, content="a")]})
        await turn.reader.read()

    error, _ = await failure_of(script, limits=Limits(timeouts=Timeouts(1, 0.05, 0.05)))
    assert (error.failure, error.status) == (Failure.IDLE_TIMEOUT, 504)


async def test_deadline_ends_a_call_that_still_makes_progress() -> None:
    async def script(turn: Turn) -> None:
        await turn.begin()
        while True:
            await turn.send({"choices": [choice(0, content="a")]})
            await asyncio.sleep(0.005)

    error, engine = await failure_of(script, deadline=time.monotonic() + 0.1)
    assert (error.failure, error.status) == (Failure.TOTAL_TIMEOUT, 504)
    assert engine.broken == []


async def hang_up_later(turn: Turn) -> None:
    raise AssertionError("the test sets the script of the engine")


async def test_cancelled_answer_closes_its_connection_while_the_prompt_is_read() -> None:
    began = asyncio.Event()

    async with fake_engine(hang_up_later) as engine, model_of(engine) as model:

        async def _begin_and_wait(turn: Turn) -> None:
            await turn.begin()
            began.set()
            await engine.wait_for_hang_up(turn)

        engine.script = _begin_and_wait
        task = asyncio.create_task(model.answer(chat()))
        await asyncio.wait_for(began.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(engine.hung_up.wait(), 1)
        assert model.admission.in_flight == 0


async def test_closed_stream_closes_its_connection() -> None:
    async with fake_engine(hang_up_later) as engine, model_of(engine) as model:

        async def _speak_and_wait(turn: Turn) -> None:
            await turn.begin()
            await turn.send({"choices": [choice(0, content="a")]})
            await engine.wait_for_hang_up(turn)

        engine.script = _speak_and_wait
        stream = await model.stream(chat(stream=True))
        async for _ in stream:
            break
        await stream.aclose()
        await stream.aclose()
        await asyncio.wait_for(engine.hung_up.wait(), 1)
        assert model.admission.in_flight == 0


async def test_stream_closed_between_two_requests_frees_everything() -> None:
    first_done = asyncio.Event()

    async with fake_engine(hang_up_later, slots=1) as engine, model_of(engine) as model:

        async def _one_by_one(turn: Turn) -> None:
            await turn.begin()
            if first_done.is_set():
                await engine.wait_for_hang_up(turn)
            await turn.say("a")
            await turn.end()
            first_done.set()

        engine.script = _one_by_one
        stream = await model.stream(chat(stream=True, n=2))

        async def read() -> None:
            async with stream:
                async for _ in stream:
                    pass

        task = asyncio.create_task(read())
        await until(lambda: len(engine.turns) == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(engine.hung_up.wait(), 1)


async def test_calls_beyond_slots_and_queue_are_turned_away_with_advice() -> None:
    release = asyncio.Event()

    async def script(turn: Turn) -> None:
        await turn.begin()
        await release.wait()
        await turn.say("ok")
        await turn.end()

    limits = AdmissionLimits(max_waiting=1)
    async with fake_engine(script, slots=1) as engine, model_of(engine, admission=limits) as model:
        first = asyncio.create_task(model.answer(chat()))
        second = asyncio.create_task(model.answer(chat()))
        await until(lambda: model.admission.queue_depth == 1)
        with pytest.raises(InferenceError) as caught:
            await model.answer(chat())
        error = caught.value
        assert (error.failure, error.status, error.type) == (Failure.ENGINE_BUSY, 429, "requests")
        assert error.code == "rate_limit_exceeded"
        assert error.retry_after_seconds is not None
        assert error.retry_after_seconds >= 1
        release.set()
        await asyncio.gather(first, second)


@pytest.mark.parametrize(
    ("error", "failure", "status"),
    [
        (UnavailableError("Too little memory.", retry_after_seconds=3.0), Failure.ENGINE_UNAVAILABLE, 503),
        (NotFoundError("Not installed."), Failure.MODEL_GONE, 404),
    ],
)
async def test_model_that_cannot_be_loaded_says_why(error: Exception, failure: Failure, status: int) -> None:
    class Unready:
        async def ensure(self, model_id: str) -> Any:
            raise error

        def report_broken(self, model_id: str, generation: int) -> None:
            raise AssertionError

        def busy(self, model_id: str, delta: int) -> None:
            raise AssertionError

    async with model_of(Unready()) as model:
        with pytest.raises(InferenceError, match="Model 'coder' is not ready") as caught:
            await model.answer(chat())
    assert (caught.value.failure, caught.value.status) == (failure, status)
    assert caught.value.retry_after_seconds == getattr(error, "retry_after_seconds", None)


async def test_loading_counts_against_the_deadline() -> None:
    class Loading:
        async def ensure(self, model_id: str) -> Any:
            await asyncio.Event().wait()

        def report_broken(self, model_id: str, generation: int) -> None: ...

        def busy(self, model_id: str, delta: int) -> None: ...

    async with model_of(Loading()) as model:
        with pytest.raises(InferenceError) as caught:
            await model.answer(chat(deadline=time.monotonic() + 0.05))
    assert caught.value.failure is Failure.TOTAL_TIMEOUT


async def test_engine_may_end_without_telling_usage() -> None:
    async def script(turn: Turn) -> None:
        await turn.begin()
        await turn.send({"choices": [choice(0, content="a")]}, {"choices": [choice(0, reason="stop")]})
        await turn.end()

    async with fake_engine(script) as engine, model_of(engine) as model:
        assert json.loads((await model.answer(chat())).body)["usage"]["total_tokens"] == 0


async def test_many_events_at_once_arrive_as_one_batch() -> None:
    async def script(turn: Turn) -> None:
        await turn.begin()
        texts = [{"choices": [choice(0, content=str(number))]} for number in range(50)]
        await turn.send(*texts, {"choices": [choice(0, reason="stop")]}, {"choices": [], "usage": usage()})
        await turn.end()

    async with (
        fake_engine(script) as engine,
        model_of(engine) as model,
        await model.stream(chat(stream=True)) as stream,
    ):
        batches = [batch async for batch in stream]
    assert len(batches) <= 3
    assert sum(len(batch) for batch in batches) == 52
