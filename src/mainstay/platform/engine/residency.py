"""Which models are loaded: on demand, once, within the memory budget, the least recently used leaving first."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable

from mainstay.kit.clock import Clock, SystemClock
from mainstay.kit.errors import ConfigurationError, MainstayError, NotFoundError, UnavailableError
from mainstay.platform.engine.backoff import Backoff
from mainstay.platform.engine.endpoint import Endpoint, EndpointState, Phase
from mainstay.platform.engine.resident import Resident, anew
from mainstay.platform.engine.spec import EngineSettings, EngineSpec

_RETRY_SECONDS = 5.0
_GIBIBYTE = 1024**3

_logger = logging.getLogger(__name__)


def _ignore(_: EndpointState) -> None:
    return None


class Residency:
    """Owns every engine child of this machine. Implements `Endpoints` for its own process; one per supervisor.

    `specs` tells how to run a model and raises NotFoundError for one that it does not know or have. `on_change` is
    called in the loop's thread at every change of an engine and must not raise.
    """

    def __init__(
        self,
        specs: Callable[[str], EngineSpec],
        settings: EngineSettings,
        *,
        on_change: Callable[[EndpointState], None] = _ignore,
        clock: Clock | None = None,
    ) -> None:
        self._specs = specs
        self._settings = settings
        self._on_change = on_change
        self._clock = clock or SystemClock()
        self._residents: dict[str, Resident] = {}
        self._leaving: set[Resident] = set()
        self._generations: dict[str, int] = {}
        self._backoffs: dict[str, Backoff] = {}
        self._failures: dict[str, tuple[MainstayError, float]] = {}
        self._busy: dict[str, dict[str, int]] = {}
        self._calm = asyncio.Event()
        self._admission = asyncio.Lock()
        self._preloading: set[asyncio.Task[None]] = set()
        self._is_closed = False
        settings.run_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.log_directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def ensure(self, model_id: str) -> Endpoint:
        """Return the model's endpoint once it is ready; concurrent callers share one child.

        Raises NotFoundError, ConfigurationError (its files cannot be used) or UnavailableError (not now).
        """
        try:
            async with asyncio.timeout(self._settings.wait_timeout_seconds):
                resident = self._residents.get(model_id) or await self._admit(model_id)
                return await resident.endpoint()
        except TimeoutError as error:
            raise UnavailableError(
                f"Model '{model_id}' is still loading after {self._settings.wait_timeout_seconds:g} s; try again.",
                retry_after_seconds=_RETRY_SECONDS,
            ) from error

    def report_broken(self, model_id: str, generation: int) -> None:
        """Have the child of that generation checked at once; until it answers, `ensure` waits."""
        if resident := self._residents.get(model_id):
            resident.recheck(generation)

    def busy(self, model_id: str, delta: int, *, worker: str = "") -> None:
        """Count a worker's requests in (+1) or out (-1); a model with requests in is never evicted."""
        counts = self._busy.setdefault(model_id, {})
        counts[worker] = max(counts.get(worker, 0) + delta, 0)
        if counts[worker] == 0:
            del counts[worker]
            self._tell_calm()
        if resident := self._residents.get(model_id):
            resident.last_used = self._clock.monotonic()

    def forget_worker(self, worker: str) -> None:
        """Drop the counts of a worker that has died: its requests died with it."""
        for counts in self._busy.values():
            counts.pop(worker, None)
        self._tell_calm()

    def preload(self, model_ids: Iterable[str]) -> None:
        """Load models in the background, trying again until each has been ready once."""
        for model_id in model_ids:
            task = asyncio.create_task(self._preload(model_id), name=f"preload {model_id}")
            self._preloading.add(task)
            task.add_done_callback(self._preloading.discard)

    async def stop(self, model_id: str) -> None:
        """Unload a model, letting running requests end within the drain time. The next `ensure` loads it again."""
        if resident := self._residents.pop(model_id, None):
            await self._dismiss(resident)

    def states(self) -> list[EndpointState]:
        """Return the state of every model that holds memory."""
        return [resident.state() for resident in self._residents.values()]

    async def aclose(self) -> None:
        """Unload everything, all at the same time, and admit nothing more."""
        self._is_closed = True
        for task in self._preloading:
            task.cancel()
        if self._preloading:
            await asyncio.wait(set(self._preloading))
        residents = [self._residents.pop(model_id) for model_id in tuple(self._residents)]
        async with asyncio.TaskGroup() as group:
            for resident in (*residents, *self._leaving):
                group.create_task(self._dismiss(resident))

    async def _admit(self, model_id: str) -> Resident:
        async with self._admission:
            if resident := self._residents.get(model_id):
                return resident
            if self._is_closed:
                raise UnavailableError("The server is shutting down.")
            self._raise_recent_failure(model_id)
            spec = self._specs(model_id)
            _check_files(spec)
            await self._make_room(spec)
            # Closed or not, it may have changed while room was being made.
            if self._is_closed:
                raise UnavailableError("The server is shutting down.")
            return self._take_in(spec)

    def _take_in(self, spec: EngineSpec) -> Resident:
        model_id = spec.model_id
        backoff = self._backoffs.setdefault(
            model_id,
            Backoff(
                first_seconds=self._settings.first_pause_seconds, longest_seconds=self._settings.longest_pause_seconds
            ),
        )
        resident = Resident(
            spec,
            self._settings,
            generation=self._generations.get(model_id, 0) + 1,
            backoff=backoff,
            clock=self._clock,
            on_change=self._note,
        )
        self._residents[model_id] = resident
        resident.call_at_end(lambda: self._forget(resident))
        return resident

    async def _make_room(self, spec: EngineSpec) -> None:
        """Evict idle models, least recently used first, until `spec` fits; evict none if that would not suffice."""
        budget = self._settings.memory_budget_bytes
        if spec.memory_bytes > budget:
            raise UnavailableError(
                f"Model '{spec.model_id}' needs {spec.memory_bytes / _GIBIBYTE:.1f} GiB and engines may use "
                f"{budget / _GIBIBYTE:.1f} GiB in all; raise the memory budget or choose a smaller model.",
                can_retry=False,
            )
        missing = self._used_bytes() + spec.memory_bytes - budget
        victims: list[Resident] = []
        for resident in sorted(self._residents.values(), key=lambda each: each.last_used):
            if missing <= 0:
                break
            if self._is_idle(resident):
                victims.append(resident)
                missing -= resident.spec.memory_bytes
        if missing > 0:
            raise UnavailableError(
                f"No memory for model '{spec.model_id}': the loaded models are busy; try again.",
                retry_after_seconds=_RETRY_SECONDS,
            )
        for victim in victims:
            _logger.info("Unloading model '%s' to make room for '%s'.", victim.spec.model_id, spec.model_id)
            await self.stop(victim.spec.model_id)

    def _is_idle(self, resident: Resident) -> bool:
        if resident.phase is Phase.LOADING or self._busy.get(resident.spec.model_id):
            return False
        return self._clock.monotonic() - resident.last_used >= self._settings.minimum_idle_seconds

    def _used_bytes(self) -> int:
        return sum(resident.spec.memory_bytes for resident in (*self._residents.values(), *self._leaving))

    async def _dismiss(self, resident: Resident) -> None:
        self._leaving.add(resident)
        # The child knows what it works on; only the workers know whether all of the answer has arrived.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_seconds):
                while self._busy.get(resident.spec.model_id):
                    await self._calm.wait()
        await resident.stop()
        self._leaving.discard(resident)

    def _tell_calm(self) -> None:
        calm, self._calm = self._calm, asyncio.Event()
        calm.set()

    def _note(self, state: EndpointState) -> None:
        self._generations[state.model_id] = state.generation
        self._on_change(state)

    def _forget(self, resident: Resident) -> None:
        model_id = resident.spec.model_id
        self._leaving.discard(resident)
        if self._residents.get(model_id) is resident:
            del self._residents[model_id]
        if resident.error is not None:
            pause = resident.error.retry_after_seconds or 0.0
            self._failures[model_id] = (resident.error, self._clock.monotonic() + pause)

    def _raise_recent_failure(self, model_id: str) -> None:
        """Refuse a model that has just failed to load, so that impatient callers do not make it a crash loop."""
        error, until = self._failures.get(model_id, (None, 0.0))
        remaining = until - self._clock.monotonic()
        if error is not None and remaining > 0:
            raise anew(error, retry_after_seconds=remaining)
        self._failures.pop(model_id, None)

    async def _preload(self, model_id: str) -> None:
        while True:
            try:
                await self.ensure(model_id)
            except NotFoundError as error:
                _logger.warning("%s", error.message)
            except MainstayError as error:
                await asyncio.sleep(error.retry_after_seconds or self._settings.longest_pause_seconds)
                continue
            return


def _check_files(spec: EngineSpec) -> None:
    for path in spec.paths:
        if not path.is_file():
            raise ConfigurationError(
                f"Model '{spec.model_id}' needs {path}, which does not exist; run `mainstay models pull "
                f"{spec.model_id}`.",
                status=503,
            )
