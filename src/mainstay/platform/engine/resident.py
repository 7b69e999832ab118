"""One model kept running: its child is started, watched, and replaced when it dies or falls silent."""

import asyncio
import hashlib
import logging
import re
from collections.abc import Callable
from pathlib import Path

from mainstay.kit.clock import Clock
from mainstay.kit.errors import MainstayError, UnavailableError
from mainstay.platform.engine.backoff import Backoff
from mainstay.platform.engine.child import Child
from mainstay.platform.engine.endpoint import Endpoint, EndpointState, Phase
from mainstay.platform.engine.health import HealthProbe
from mainstay.platform.engine.log_file import LogFile
from mainstay.platform.engine.spec import EngineSettings, EngineSpec
from mainstay.platform.engine.watchdog import Watchdog

_LOAD_POLL_SECONDS = 0.02
_LOAD_ANSWER_SECONDS = 2.0
_PATIENCE_SECONDS = 10.0
"""A caller waits for a restart that begins within this time, and is sent away with Retry-After otherwise."""
_STOP_MARGIN_SECONDS = 2.0

_logger = logging.getLogger(__name__)


def anew(error: MainstayError, *, retry_after_seconds: float | None) -> MainstayError:
    """Return an equal error: one object raised in many tasks would collect all their tracebacks."""
    return type(error)(error.message, status=error.status, retry_after_seconds=retry_after_seconds)


class Resident:
    """A model that holds memory. Ends by itself only if its very first child cannot load: then `error` says why."""

    def __init__(
        self,
        spec: EngineSpec,
        settings: EngineSettings,
        *,
        generation: int,
        backoff: Backoff,
        clock: Clock,
        on_change: Callable[[EndpointState], None],
    ) -> None:
        self.spec = spec
        self.generation = generation
        self.phase = Phase.LOADING
        self.error: MainstayError | None = None
        self.last_used = clock.monotonic()
        self._settings = settings
        self._backoff = backoff
        self._clock = clock
        self._on_change = on_change
        self._endpoint: Endpoint | None = None
        self._is_in_doubt = False
        self._has_been_ready = False
        self._resumes_at = 0.0
        self._news = asyncio.Event()
        self._watchdog: Watchdog | None = None
        self._log = LogFile(settings.log_directory / f"engine-{re.sub(r'[^A-Za-z0-9._-]', '_', spec.model_id)}.log")
        self._task = asyncio.create_task(self._run(), name=f"resident {spec.model_id}")

    async def endpoint(self) -> Endpoint:
        """Return the endpoint once it is ready to answer; the caller bounds the wait.

        Raises ConfigurationError or UnavailableError if that will not be soon.
        """
        self.last_used = self._clock.monotonic()
        while True:
            if self._endpoint is not None and not self._is_in_doubt:
                return self._endpoint
            if self.phase is Phase.STOPPED:
                raise (
                    UnavailableError(f"Model '{self.spec.model_id}' was stopped.")
                    if self.error is None
                    else (anew(self.error, retry_after_seconds=self.error.retry_after_seconds))
                )
            pause = self._resumes_at - self._clock.monotonic()
            if self.phase is Phase.BROKEN and pause > _PATIENCE_SECONDS:
                raise self.broken_error(pause)
            await self._news.wait()

    def broken_error(self, pause_seconds: float) -> MainstayError:
        """Return the error for a caller who comes while the engine is down."""
        reason = self.error.message if self.error else "it is starting again"
        return UnavailableError(
            f"The engine of model '{self.spec.model_id}' is down: {reason}", retry_after_seconds=pause_seconds
        )

    def recheck(self, generation: int) -> None:
        """Ask the child at once whether it is well; nobody is given its endpoint until it has answered."""
        if generation == self.generation and self.phase is Phase.READY and self._watchdog is not None:
            self._is_in_doubt = True
            self._watchdog.check_now()

    def call_at_end(self, callback: Callable[[], object]) -> None:
        """Call back when the resident has ended and its memory is free."""
        self._task.add_done_callback(lambda _: callback())

    async def stop(self) -> None:
        """Let the child finish what it works on, within the drain time; end it. Safe to call twice."""
        self._task.cancel()
        await asyncio.wait({self._task})

    def state(self) -> EndpointState:
        """Return what others may know."""
        return EndpointState(
            model_id=self.spec.model_id,
            phase=self.phase,
            generation=self.generation,
            endpoint=self._endpoint,
            memory_bytes=self.spec.memory_bytes,
            reason=self.error.message if self.error else "",
        )

    async def _run(self) -> None:
        try:
            while True:
                ran_seconds = await self._run_child()
                now = self._clock.monotonic()
                pause = self._backoff.pause_seconds(now=now, ran_seconds=ran_seconds)
                if self.error is not None:
                    self.error.retry_after_seconds = pause
                if not self._has_been_ready:
                    return
                self._resumes_at = now + pause
                self._enter(Phase.BROKEN)
                _logger.warning("Starting the engine of model '%s' again in %.1f s.", self.spec.model_id, pause)
                await asyncio.sleep(pause)
                self.generation += 1
                self._enter(Phase.LOADING)
        finally:
            self._enter(Phase.STOPPED)

    async def _run_child(self) -> float:
        """Run one child to its end, which `error` then explains. Returns the seconds for which it was well."""
        self._enter(Phase.LOADING)
        socket_path = self._socket_path()
        socket_path.unlink(missing_ok=True)
        child: Child | None = None
        ready_at: float | None = None
        grace_seconds = 0.0
        try:
            child = await Child.start(
                self.spec, socket_path=socket_path, log=self._log, drain_seconds=self._settings.drain_seconds
            )
            await self._until_ready(child, socket_path)
            ready_at = self._clock.monotonic()
            self._watchdog = Watchdog(child, socket_path, spec=self.spec, settings=self._settings, clock=self._clock)
            self._become_ready(socket_path)
            # Only cancellation leaves the next line without a broken child: that is the order to stop.
            grace_seconds = self._settings.drain_seconds + _STOP_MARGIN_SECONDS
            await self._watchdog.watch(on_healthy=self._remove_doubt)
        except MainstayError as error:
            grace_seconds = 0.0
            self.error = error
            _logger.warning("%s", error.message)
        finally:
            self._endpoint = None
            self._watchdog = None
            if child is not None:
                await child.stop(grace_seconds=grace_seconds)
            socket_path.unlink(missing_ok=True)
        return 0.0 if ready_at is None else self._clock.monotonic() - ready_at

    async def _until_ready(self, child: Child, socket_path: Path) -> None:
        limit = self._settings.load_timeout_seconds
        deadline = self._clock.monotonic() + limit
        with HealthProbe(socket_path) as probe:
            while not child.has_ended:
                if await probe.is_healthy(timeout_seconds=_LOAD_ANSWER_SECONDS):
                    return
                if self._clock.monotonic() > deadline:
                    raise UnavailableError(
                        f"Model '{self.spec.model_id}' did not finish loading from {self.spec.model_path} within "
                        f"{limit:g} s; see {self._log.path}."
                    )
                await child.wait(_LOAD_POLL_SECONDS)
        raise child.load_error(self.spec)

    def _become_ready(self, socket_path: Path) -> None:
        self._endpoint = Endpoint(
            socket_path=socket_path,
            slots=self.spec.slots,
            generation=self.generation,
            context_tokens=self.spec.context_tokens,
            kind=self.spec.kind,
        )
        self._is_in_doubt = False
        self._has_been_ready = True
        self.error = None
        self._enter(Phase.READY)

    def _remove_doubt(self) -> None:
        if self._is_in_doubt:
            self._is_in_doubt = False
            self._tell_waiters()

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self._tell_waiters()
        self._on_change(self.state())

    def _tell_waiters(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _socket_path(self) -> Path:
        # A name of its own for each child: nothing that still knows the old one can reach the new one.
        digest = hashlib.sha256(self.spec.model_id.encode()).hexdigest()[:10]
        return self._settings.run_directory / f"e-{digest}-{self.generation}.sock"
