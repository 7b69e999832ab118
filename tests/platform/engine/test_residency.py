import asyncio
import os
import signal

import pytest
from tests.platform.engine.tiny_engines import MEBIBYTE, lab, post, until

from mainstay.kit.errors import ConfigurationError, NotFoundError, UnavailableError
from mainstay.platform.engine.endpoint import Phase


async def test_ensured_model_answers_on_its_socket() -> None:
    async with lab() as it:
        endpoint = await it.residency.ensure("tiny")
        status, body = await post(endpoint.socket_path, "/v1/completions", {"prompt": "a b", "max_tokens": 2})
        assert (status, endpoint.slots, endpoint.generation, endpoint.context_tokens) == (200, 2, 1, 512)
        assert b'"text"' in body
        assert endpoint.socket_path.stat().st_mode & 0o077 == 0
        assert [change.phase for change in it.changes] == [Phase.LOADING, Phase.READY]


async def test_hundred_concurrent_callers_share_one_child() -> None:
    async with lab() as it:
        endpoints = await asyncio.gather(*(it.residency.ensure("tiny") for _ in range(100)))
        assert len(set(endpoints)) == 1
        assert len(it.process_ids()) == 1


async def test_unknown_model_is_not_found() -> None:
    async with lab() as it:
        with pytest.raises(NotFoundError):
            await it.residency.ensure("nothing")


async def test_missing_file_is_named_with_the_remedy() -> None:
    async with lab() as it:
        it.specs["tiny"].model_path.unlink()
        with pytest.raises(ConfigurationError, match=r"tiny\.gguf.*mainstay models pull tiny"):
            await it.residency.ensure("tiny")


async def test_killed_child_is_replaced_without_being_asked_for() -> None:
    async with lab() as it:
        first = await it.residency.ensure("tiny")
        (process_id,) = it.process_ids()
        os.kill(process_id, signal.SIGKILL)
        await until(lambda: it.changes[-1].generation == 2 and it.changes[-1].phase is Phase.READY)
        second = await it.residency.ensure("tiny")
        assert second.generation == first.generation + 1
        assert it.process_ids() != [process_id]
        assert (await post(second.socket_path, "/v1/completions", {"prompt": "a", "max_tokens": 1}))[0] == 200
        assert "SIGKILL" in next(change.reason for change in it.changes if change.phase is Phase.BROKEN)


async def test_caller_who_reports_a_dead_child_is_given_its_successor() -> None:
    async with lab(health_interval_seconds=60.0) as it:
        first = await it.residency.ensure("tiny")
        os.kill(it.process_ids()[0], signal.SIGKILL)
        it.residency.report_broken("tiny", first.generation)
        assert (await it.residency.ensure("tiny")).generation == 2


async def test_report_about_a_healthy_child_changes_nothing() -> None:
    async with lab() as it:
        first = await it.residency.ensure("tiny")
        it.residency.report_broken("tiny", first.generation)
        it.residency.report_broken("tiny", first.generation + 5)
        it.residency.report_broken("unknown", 1)
        assert await it.residency.ensure("tiny") == first


async def test_stopped_child_is_found_silent_and_replaced() -> None:
    async with lab() as it:
        await it.residency.ensure("tiny")
        (process_id,) = it.process_ids()
        os.kill(process_id, signal.SIGSTOP)
        await until(lambda: it.changes[-1].generation == 2 and it.changes[-1].phase is Phase.READY)
        assert process_id not in it.process_ids()
        assert any("silent" in change.reason for change in it.changes)


async def test_other_models_answer_while_one_restarts() -> None:
    async with lab("one", "two", drain_seconds=0.2) as it:
        await it.residency.ensure("one")
        (process_id,) = it.process_ids()
        two = await it.residency.ensure("two")
        os.kill(process_id, signal.SIGSTOP)
        for _ in range(20):
            assert (await post(two.socket_path, "/v1/completions", {"prompt": "a", "max_tokens": 1}))[0] == 200
        assert (await it.residency.ensure("two")) == two


async def test_crash_loop_is_slowed_and_callers_are_sent_away_with_retry_after() -> None:
    async with lab(first_pause_seconds=2.0) as it:
        for generation in (1, 2):
            await it.residency.ensure("tiny")
            os.kill(it.process_ids()[0], signal.SIGKILL)
            await until(lambda g=generation: it.changes[-1].generation == g and it.changes[-1].phase is Phase.BROKEN)
        await it.residency.ensure("tiny")
        os.kill(it.process_ids()[0], signal.SIGKILL)
        await until(lambda: it.changes[-1].phase is Phase.BROKEN and it.changes[-1].generation == 3)
        with pytest.raises(UnavailableError, match="SIGKILL") as caught:
            await it.residency.ensure("tiny")
        assert caught.value.retry_after_seconds is not None
        assert 15 < caught.value.retry_after_seconds <= 20


async def test_least_recently_used_idle_model_makes_room() -> None:
    async with lab("one", "two", "three", memory_budget_bytes=250 * MEBIBYTE) as it:
        await it.residency.ensure("one")
        await it.residency.ensure("two")
        await it.residency.ensure("one")
        await it.residency.ensure("three")
        assert {state.model_id for state in it.residency.states()} == {"one", "three"}
        assert len(it.process_ids()) == 2


async def test_busy_model_is_never_evicted() -> None:
    async with lab("one", "two", memory_budget_bytes=150 * MEBIBYTE) as it:
        one = await it.residency.ensure("one")
        it.residency.busy("one", +1, worker="w1")
        with pytest.raises(UnavailableError, match="busy") as caught:
            await it.residency.ensure("two")
        assert caught.value.retry_after_seconds
        assert await it.residency.ensure("one") == one
        it.residency.busy("one", -1, worker="w1")
        await it.residency.ensure("two")
        assert [state.model_id for state in it.residency.states()] == ["two"]


async def test_requests_of_a_dead_worker_do_not_keep_a_model() -> None:
    async with lab("one", "two", memory_budget_bytes=150 * MEBIBYTE) as it:
        await it.residency.ensure("one")
        it.residency.busy("one", +3, worker="w1")
        it.residency.forget_worker("w1")
        await it.residency.ensure("two")


async def test_recently_used_model_is_not_evicted() -> None:
    async with lab("one", "two", memory_budget_bytes=150 * MEBIBYTE, minimum_idle_seconds=60.0) as it:
        await it.residency.ensure("one")
        with pytest.raises(UnavailableError):
            await it.residency.ensure("two")


async def test_evicted_model_comes_back_with_a_later_generation() -> None:
    async with lab("one", "two", memory_budget_bytes=150 * MEBIBYTE) as it:
        assert (await it.residency.ensure("one")).generation == 1
        await it.residency.ensure("two")
        assert (await it.residency.ensure("one")).generation == 2


async def test_model_larger_than_the_whole_budget_is_refused_for_good() -> None:
    async with lab(memory_budget_bytes=50 * MEBIBYTE) as it:
        with pytest.raises(UnavailableError, match="raise the memory budget") as caught:
            await it.residency.ensure("tiny")
        assert not caught.value.can_retry
        assert it.process_ids() == []


async def test_preloaded_model_is_ready_without_being_asked_for() -> None:
    async with lab() as it:
        it.residency.preload(["tiny", "unknown"])
        await until(lambda: bool(it.changes) and it.changes[-1].phase is Phase.READY)


async def test_stopped_model_is_loaded_again_on_demand() -> None:
    async with lab() as it:
        await it.residency.ensure("tiny")
        await it.residency.stop("tiny")
        assert it.process_ids() == []
        assert it.residency.states() == []
        assert (await it.residency.ensure("tiny")).generation == 2


async def test_stopping_waits_for_the_workers_to_have_their_answers() -> None:
    async with lab() as it:
        endpoint = await it.residency.ensure("tiny")
        it.residency.busy("tiny", +1, worker="w1")
        stopping = asyncio.create_task(it.residency.stop("tiny"))
        assert (await post(endpoint.socket_path, "/v1/completions", {"prompt": "a", "max_tokens": 1}))[0] == 200
        assert not stopping.done()
        it.residency.busy("tiny", -1, worker="w1")
        await stopping


async def test_caller_who_leaves_does_not_stop_the_loading() -> None:
    async with lab() as it:
        caller = asyncio.create_task(it.residency.ensure("tiny"))
        await until(lambda: bool(it.changes))
        caller.cancel()
        await asyncio.wait({caller})
        assert (await it.residency.ensure("tiny")).generation == 1


async def test_closing_while_loading_leaves_no_child() -> None:
    async with lab() as it:
        caller = asyncio.create_task(it.residency.ensure("tiny"))
        await until(lambda: bool(it.changes))
        await it.residency.aclose()
        with pytest.raises(UnavailableError):
            await caller
        with pytest.raises(UnavailableError, match="shutting down"):
            await it.residency.ensure("tiny")
        assert it.process_ids() == []


async def test_wait_for_a_slow_model_is_bounded() -> None:
    async with lab(wait_timeout_seconds=0.01) as it:
        with pytest.raises(UnavailableError, match="still loading") as caught:
            await it.residency.ensure("tiny")
        assert caught.value.retry_after_seconds
