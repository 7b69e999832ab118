"""A child that is scripted: what it answers, and whether it lives, is up to the test."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest
from tests.platform.engine.tiny_engines import quick_settings, short_directory, tiny_spec

from mainstay.kit.clock import SystemClock
from mainstay.kit.errors import UnavailableError
from mainstay.platform.engine.http_server import HttpAnswer, HttpRequest, HttpServer
from mainstay.platform.engine.watchdog import Watchdog

if TYPE_CHECKING:
    from mainstay.platform.engine.child import Child


@dataclass
class _Script:
    health_status: int = 200
    has_ended: bool = False
    silent_paths: set[str] = field(default_factory=set)

    def call_at_end(self, callback: Callable[[], object]) -> None:
        return None

    def describe_end(self) -> str:
        return "signal SIGSEGV"

    async def handle(self, request: HttpRequest) -> HttpAnswer:
        if request.path in self.silent_paths:
            await asyncio.Event().wait()
        return HttpAnswer(self.health_status, b"{}")


async def _watch(script: _Script, **settings: float) -> tuple[UnavailableError, int]:
    healthy = []
    with short_directory() as directory:
        server = HttpServer(script.handle, max_body_bytes=1000)
        await server.listen(directory / "e.sock")
        watchdog = Watchdog(
            cast("Child", script),  # plays its part
            directory / "e.sock",
            spec=tiny_spec(directory / "none"),
            settings=quick_settings(directory, **({"health_interval_seconds": 0.02} | settings)),
            clock=SystemClock(),
        )
        with pytest.raises(UnavailableError) as caught:
            async with asyncio.timeout(20):
                await watchdog.watch(on_healthy=lambda: healthy.append(1))
        await server.drain(0)
        return caught.value, len(healthy)


async def test_child_that_answers_health_but_makes_no_progress_is_broken() -> None:
    error, healthy = await _watch(_Script(silent_paths={"/slots"}), stall_limit_seconds=0.5)
    assert "made no progress for 0.5 s" in error.message
    assert healthy > 3


async def test_child_that_answers_errors_is_broken() -> None:
    error, _ = await _watch(_Script(health_status=500), silence_limit_seconds=0.3, stall_limit_seconds=30.0)
    assert "silent for 0.3 s" in error.message


async def test_child_that_never_answers_is_broken() -> None:
    error, _ = await _watch(_Script(silent_paths={"/health"}), silence_limit_seconds=0.3, stall_limit_seconds=30.0)
    assert "silent for 0.3 s" in error.message


async def test_child_that_has_ended_is_broken_with_its_reason() -> None:
    error, _ = await _watch(_Script(has_ended=True))
    assert "died (signal SIGSEGV)" in error.message
