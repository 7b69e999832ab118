"""How many calls an engine works on at once, and how many more may wait: one queue for each model and worker.

An engine would take any number of requests and let all of them starve together. Here those beyond its slots wait in
the order in which they came, and those beyond the queue are told at once when to come back.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from mainstay.inference import Failure, InferenceError

_FIRST_GUESS_SECONDS = 5.0
"""What a call is taken to last before any has ended."""
_WEIGHT_OF_LATEST = 0.2
"""Of the latest duration in the running mean: the last dozen calls decide."""
_LONGEST_ADVICE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """How long the queue may be, and how long a call stands in it."""

    max_waiting: int = 64
    max_wait_seconds: float = 60.0


class Place:
    """Slots of the engine that a call holds. Release them, or leave `with`; releasing twice is harmless."""

    __slots__ = ("_admission", "_since", "weight")

    def __init__(self, admission: "Admission", weight: int, since: float) -> None:
        self._admission: Admission | None = admission
        self._since = since
        self.weight = weight

    def release(self) -> None:
        """Give the slots to whoever is next."""
        admission, self._admission = self._admission, None
        if admission is not None:
            admission.leave(self.weight, self._since)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


@dataclass(slots=True, eq=False)
class _Waiter:
    turn: asyncio.Future[None]
    weight: int


class Admission:
    """The door of one model. Belongs to one event loop."""

    def __init__(self, limits: AdmissionLimits | None = None, *, now: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits or AdmissionLimits()
        self._now = now
        self._slots = 1
        self._in_flight = 0
        self._queue: deque[_Waiter] = deque()
        self._mean_seconds = _FIRST_GUESS_SECONDS

    @property
    def queue_depth(self) -> int:
        """How many calls wait."""
        return len(self._queue)

    @property
    def in_flight(self) -> int:
        """How many slots are taken."""
        return self._in_flight

    def resize(self, slots: int) -> None:
        """Take note of how many slots the engine has; a restarted one may have another number."""
        if slots != self._slots:
            self._slots = max(slots, 1)
            self._let_in()

    async def admit(self, weight: int = 1, *, deadline: float | None = None, is_continuation: bool = False) -> Place:
        """Wait for `weight` slots, first come first served.

        A continuation is a further part of a call that was let in before: it queues like everybody, yet is neither
        turned away nor limited in its wait but by the deadline. Raises InferenceError: ENGINE_BUSY (429) if the
        queue is full or too slow, TOTAL_TIMEOUT (504) if the deadline passes.
        """
        weight = min(weight, self._slots)
        if not self._queue and self._has_room(weight):
            self._in_flight += weight
            return Place(self, weight, self._now())
        if not is_continuation and len(self._queue) >= self._limits.max_waiting:
            raise self._busy(f"its queue of {self._limits.max_waiting} calls is full")
        await self._wait(weight, deadline, math.inf if is_continuation else self._limits.max_wait_seconds)
        return Place(self, weight, self._now())

    def leave(self, weight: int, since: float) -> None:
        """Take back the slots of a place; called by the place."""
        self._in_flight -= weight
        seconds = self._now() - since
        self._mean_seconds += _WEIGHT_OF_LATEST * (seconds - self._mean_seconds)
        self._let_in()

    def expected_wait_seconds(self) -> float:
        """Estimate when a call that came now would be let in."""
        waiting = sum(waiter.weight for waiter in self._queue)
        rounds = (waiting + self._in_flight) / self._slots
        return min(max(self._mean_seconds * rounds, 1.0), _LONGEST_ADVICE_SECONDS)

    async def _wait(self, weight: int, deadline: float | None, max_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop.create_future(), weight)
        self._queue.append(waiter)
        patience = loop.time() + max_seconds
        until = patience if deadline is None else min(patience, deadline)
        try:
            async with asyncio.timeout_at(None if until == math.inf else until):
                await waiter.turn
        except TimeoutError as error:
            self._step_back(waiter)
            if deadline is not None and deadline <= patience:
                raise _too_late() from error
            raise self._busy(f"no slot came free within {max_seconds:g} s") from error
        except asyncio.CancelledError:
            self._step_back(waiter)
            raise

    def _step_back(self, waiter: _Waiter) -> None:
        """Leave the queue, or give back what was granted in the same moment."""
        if waiter in self._queue:
            self._queue.remove(waiter)
        elif waiter.turn.done() and not waiter.turn.cancelled():
            self._in_flight -= waiter.weight
        self._let_in()

    def _has_room(self, weight: int) -> bool:
        return self._in_flight + weight <= self._slots or not self._in_flight

    def _let_in(self) -> None:
        while self._queue and self._has_room(self._queue[0].weight):
            waiter = self._queue.popleft()
            if not waiter.turn.done():
                self._in_flight += waiter.weight
                waiter.turn.set_result(None)

    def _busy(self, why: str) -> InferenceError:
        seconds = self.expected_wait_seconds()
        error = InferenceError(
            f"The model is busy: {why}. Retry after {math.ceil(seconds)} s.",
            failure=Failure.ENGINE_BUSY,
            status=429,
            code="rate_limit_exceeded",
            type="requests",
            retry_after_seconds=seconds,
        )
        error.can_retry = True
        return error


def _too_late() -> InferenceError:
    return InferenceError(
        "The call's time was up before the model had a free slot.",
        failure=Failure.TOTAL_TIMEOUT,
        status=504,
        code="timeout",
    )
