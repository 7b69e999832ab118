"""The queue before an engine: fair, bounded, and true to its count whatever happens to those who wait."""

import asyncio
import random
import time

import pytest

from mainstay.inference import Failure, InferenceError
from mainstay.platform.engine.admission import Admission, AdmissionLimits, Place


def opened(slots: int, **limits: float) -> Admission:
    admission = Admission(AdmissionLimits(**limits))  # type: ignore[arg-type]
    admission.resize(slots)
    return admission


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_calls_are_let_in_first_come_first_served() -> None:
    admission = opened(1)
    order: list[int] = []
    first = await admission.admit()

    async def call(number: int) -> None:
        with await admission.admit():
            order.append(number)

    tasks = [asyncio.create_task(call(number)) for number in range(20)]
    await settle()
    assert admission.queue_depth == 20
    first.release()
    await asyncio.gather(*tasks)
    assert order == list(range(20))
    assert (admission.in_flight, admission.queue_depth) == (0, 0)


async def test_full_queue_turns_away_at_once_with_an_estimate() -> None:
    now = 0.0
    admission = Admission(AdmissionLimits(max_waiting=2), now=lambda: now)
    held = await admission.admit()
    now = 100.0
    held.release()
    held = await admission.admit()
    waiting = [asyncio.create_task(admission.admit()) for _ in range(2)]
    await settle()
    with pytest.raises(InferenceError, match="queue of 2 calls is full") as caught:
        await admission.admit()
    assert caught.value.failure is Failure.ENGINE_BUSY
    assert caught.value.status == 429
    assert caught.value.can_retry
    assert caught.value.retry_after_seconds == pytest.approx(72.0)
    held.release()
    for task in waiting:
        (await task).release()


async def test_wait_is_bounded() -> None:
    admission = opened(1, max_wait_seconds=0.02)
    held = await admission.admit()
    with pytest.raises(InferenceError, match="no slot came free") as caught:
        await admission.admit()
    assert caught.value.status == 429
    assert admission.queue_depth == 0
    held.release()


async def test_deadline_ends_the_wait_as_a_timeout() -> None:
    admission = opened(1)
    held = await admission.admit()
    with pytest.raises(InferenceError) as caught:
        await admission.admit(deadline=time.monotonic() + 0.02)
    assert (caught.value.failure, caught.value.status) == (Failure.TOTAL_TIMEOUT, 504)
    held.release()


async def test_continuation_is_never_turned_away() -> None:
    admission = opened(1, max_waiting=0, max_wait_seconds=0.01)
    held = await admission.admit()
    waiting = asyncio.create_task(admission.admit(is_continuation=True))
    await asyncio.sleep(0.03)
    assert not waiting.done()
    held.release()
    (await waiting).release()


async def test_cancelled_waiter_leaves_the_queue() -> None:
    admission = opened(1)
    held = await admission.admit()
    waiting = asyncio.create_task(admission.admit())
    await settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert admission.queue_depth == 0
    held.release()
    assert admission.in_flight == 0


async def test_place_granted_to_a_waiter_cancelled_in_the_same_moment_is_not_lost() -> None:
    admission = opened(1)
    held = await admission.admit()
    waiting = asyncio.create_task(admission.admit())
    await settle()
    held.release()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert admission.in_flight == 0


async def test_heavy_call_waits_for_all_its_slots_and_is_not_overtaken() -> None:
    admission = opened(3)
    one = await admission.admit(1)
    heavy = asyncio.create_task(admission.admit(3))
    await settle()
    light = asyncio.create_task(admission.admit(1))
    await settle()
    assert (admission.in_flight, admission.queue_depth) == (1, 2)
    one.release()
    place = await heavy
    assert (admission.in_flight, admission.queue_depth) == (3, 1)
    place.release()
    (await light).release()


async def test_call_heavier_than_the_engine_is_let_in_alone() -> None:
    admission = opened(2)
    place = await admission.admit(5)
    assert admission.in_flight == 2
    place.release()
    place.release()
    assert admission.in_flight == 0


async def test_more_slots_let_more_in() -> None:
    admission = opened(1)
    places = [await admission.admit()]
    waiting = [asyncio.create_task(admission.admit()) for _ in range(3)]
    await settle()
    admission.resize(3)
    await settle()
    assert (admission.in_flight, admission.queue_depth) == (3, 1)
    places.pop().release()
    for task in waiting:
        (await task).release()


@pytest.mark.parametrize("seed", range(20))
async def test_count_is_true_after_any_history(seed: int) -> None:
    chance = random.Random(seed)
    admission = opened(3, max_waiting=5)
    held: list[Place] = []
    tasks: list[asyncio.Task[Place]] = []
    for _ in range(300):
        match chance.randrange(4):
            case 0 | 1:
                tasks.append(asyncio.create_task(admission.admit(chance.randint(1, 4))))
            case 2 if held:
                held.pop(chance.randrange(len(held))).release()
            case 3 if tasks:
                chance.choice(tasks).cancel()
        if chance.random() < 0.7:
            await settle()
        for task in [task for task in tasks if task.done()]:
            tasks.remove(task)
            if not task.cancelled() and task.exception() is None:
                held.append(task.result())
        assert sum(place.weight for place in held) <= 3
        assert admission.queue_depth <= 5
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    held += [result for result in results if isinstance(result, Place)]
    for place in held:
        place.release()
    assert (admission.in_flight, admission.queue_depth) == (0, 0)
