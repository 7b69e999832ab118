"""Watching one ready child: is it alive, does it answer, does it get on with its work."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from mainstay.kit.clock import Clock
from mainstay.kit.errors import UnavailableError
from mainstay.platform.engine.child import Child
from mainstay.platform.engine.endpoint import EngineKind
from mainstay.platform.engine.health import HealthProbe
from mainstay.platform.engine.spec import EngineSettings, EngineSpec

_LOOP_QUESTION = "/slots"
"""Answered by llama.cpp's inference loop itself, between two batches, where /health is answered beside it."""


class Watchdog:
    """Two questions to a child: /health often, and more patiently one that only its inference loop can answer.

    The second finds an engine that works on one request for ever: a schema with 100,000 alternatives does that
    (measured 2026-11 with xllamacpp 2026.10.11549) while /health says 200.
    """

    def __init__(
        self, child: Child, socket_path: Path, *, spec: EngineSpec, settings: EngineSettings, clock: Clock
    ) -> None:
        self._child = child
        self._socket_path = socket_path
        self._spec = spec
        self._settings = settings
        self._clock = clock
        self._wake = asyncio.Event()
        child.call_at_end(self._wake.set)

    def check_now(self) -> None:
        """Ask without waiting for the next turn."""
        self._wake.set()

    async def watch(self, *, on_healthy: Callable[[], None]) -> NoReturn:
        """Watch until the child is broken, which is raised as UnavailableError; call back after each good answer."""
        watching = [asyncio.create_task(self._watch_health(on_healthy), name="engine health")]
        if self._spec.kind is EngineKind.LLAMA_CPP:
            watching.append(asyncio.create_task(self._watch_progress(), name="engine progress"))
        try:
            done, _ = await asyncio.wait(watching, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
        raise done.pop().exception() or UnavailableError("The watch over an engine ended.")

    async def _watch_health(self, on_healthy: Callable[[], None]) -> NoReturn:
        limit = self._settings.silence_limit_seconds
        heard_at = self._clock.monotonic()
        with HealthProbe(self._socket_path) as probe:
            while True:
                await self._next_turn()
                if self._child.has_ended:
                    self._fail(f"died ({self._child.describe_end()}); it is started again")
                silence_left = heard_at + limit - self._clock.monotonic()
                if silence_left > 0 and await probe.is_healthy(timeout_seconds=silence_left):
                    heard_at = self._clock.monotonic()
                    on_healthy()
                elif self._clock.monotonic() - heard_at >= limit:
                    self._fail(f"was silent for {limit:g} s; it is killed and started again")

    async def _watch_progress(self) -> NoReturn:
        limit = self._settings.stall_limit_seconds
        answered_at = self._clock.monotonic()
        with HealthProbe(self._socket_path, path=_LOOP_QUESTION) as probe:
            while True:
                await asyncio.sleep(min(self._settings.health_interval_seconds * 5, limit / 2))
                left = answered_at + limit - self._clock.monotonic()
                if left > 0 and await probe.is_healthy(timeout_seconds=left):
                    answered_at = self._clock.monotonic()
                elif self._clock.monotonic() - answered_at >= limit:
                    self._fail(f"made no progress for {limit:g} s; it is killed and started again")

    async def _next_turn(self) -> None:
        try:
            async with asyncio.timeout(self._settings.health_interval_seconds):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    def _fail(self, what: str) -> NoReturn:
        raise UnavailableError(f"The engine of model '{self._spec.model_id}' {what}.")
