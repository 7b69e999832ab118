"""The supervisor: one event loop that keeps everything else running.

It holds no calls and no secrets of callers, imports little, and is ready in a fraction of a second: the engine
starts to load before anything slow is even imported.
"""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path

from mainstay.kit import control
from mainstay.kit.control import Connection, Params
from mainstay.kit.errors import ConfigurationError, MainstayError, UnavailableError
from mainstay.kit.ids import new_api_key
from mainstay.platform.engine.control_endpoints import endpoint_to_wire
from mainstay.platform.engine.endpoint import EndpointState, Phase
from mainstay.platform.engine.residency import Residency
from mainstay.platform.engine.spec import EngineSettings, EngineSpec
from mainstay.supervisor.in_force import SettingsInForce
from mainstay.supervisor.workers import Workers

_LOG = logging.getLogger("mainstay.supervisor")
_LEFT_AT_ONCE = 130
"""Exit status after a second signal, as shells report an interrupt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorSettings:
    """What the supervisor needs to know."""

    control_path: Path
    engines: EngineSettings
    preload: tuple[str, ...]
    workers: int
    drain_grace_seconds: float


class Supervisor:
    """Runs until SIGTERM or SIGINT; SIGHUP reloads the settings, SIGUSR2 replaces the workers.

    `before_workers` runs while the engines load and before the first worker starts, for what must be there by
    then. `in_force` refuses a mainstay.toml that has become wrong.
    """

    def __init__(
        self,
        settings: SupervisorSettings,
        listener: socket.socket,
        *,
        specs: Callable[[str], EngineSpec],
        in_force: SettingsInForce,
        before_workers: Callable[[], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._specs = specs
        self._in_force = in_force
        self._before_workers = before_workers
        self._local_key = new_api_key()
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._residency: Residency
        self._workers: Workers

    async def run(self) -> None:
        """Serve until told to stop, then let calls finish, then end the engines."""
        settings = self._settings
        self._residency = Residency(self._specs, settings.engines, on_change=self._tell_workers)
        self._workers = Workers(
            count=settings.workers,
            socket_fd=self._listener.fileno(),
            control_path=str(settings.control_path),
            grace_seconds=settings.drain_grace_seconds,
            settings_path=str(self._in_force.path),
            metrics_folder=settings.control_path.with_name("metrics"),
        )
        self._residency.preload(settings.preload)
        server = await control.listen(settings.control_path, self._handlers())
        self._handle_signals()
        try:
            await self._before_workers()
            await self._workers.start()
            await self._stop.wait()
        finally:
            self._listener.close()
            await self._workers.stop()
            await self._residency.aclose()
            server.close()
            settings.control_path.unlink(missing_ok=True)
            for task in self._tasks:
                task.cancel()

    def _handlers(self) -> dict[str, control.Handler]:
        return {
            "register": self._register,
            "ready": self._ready,
            "ensure": self._ensure,
            "broken": self._broken,
            "busy": self._busy,
            "reload": self._reload,
            "restart": self._restart,
            "status": self._status,
            "local_key": self._give_local_key,
            "keys_changed": self._keys_changed,
        }

    async def _register(self, connection: Connection, params: Params) -> object:
        self._workers.register(int(params["process_id"]), connection)
        connection.on_close.append(lambda: self._residency.forget_worker(_name(connection)))
        return {"local_key": self._local_key, "engines": [_told(state) for state in self._residency.states()]}

    async def _ready(self, connection: Connection, params: Params) -> object:
        self._workers.register(int(params["process_id"]), connection).is_ready.set()
        return None

    async def _ensure(self, connection: Connection, params: Params) -> object:
        del connection
        return endpoint_to_wire(await self._residency.ensure(str(params["model"])))

    async def _broken(self, connection: Connection, params: Params) -> object:
        del connection
        self._residency.report_broken(str(params["model"]), int(params["generation"]))
        return None

    async def _busy(self, connection: Connection, params: Params) -> object:
        self._residency.busy(str(params["model"]), int(params["delta"]), worker=_name(connection))
        return None

    async def reload(self) -> list[str]:
        """Have every worker read mainstay.toml anew; returns warnings.

        The file is checked first: a bad one raises ConfigurationError and changes nothing, anywhere.
        """
        warnings = self._in_force.take_over(with_new_workers=False)
        await asyncio.gather(*(self._tell_of_settings(worker) for worker in self._workers.connections()))
        _LOG.info("settings reloaded")
        return warnings

    async def restart(self) -> list[str]:
        """Replace the workers; no connection is refused, no call is cut within the grace period.

        They start with mainstay.toml as it is now; a bad file is refused as a reload refuses it.
        """
        warnings = self._in_force.take_over(with_new_workers=True)
        await self._workers.restart()
        _LOG.info("workers replaced")
        return warnings

    async def _reload(self, connection: Connection, params: Params) -> object:
        del connection, params
        return {"warnings": await self.reload()}

    async def _restart(self, connection: Connection, params: Params) -> object:
        del connection, params
        return {"warnings": await self.restart()}

    async def _status(self, connection: Connection, params: Params) -> object:
        del connection, params
        return {
            "workers": self._workers.process_ids(),
            "engines": [
                {"model": state.model_id, "phase": state.phase.value, "generation": state.generation}
                for state in self._residency.states()
            ],
        }

    async def _give_local_key(self, connection: Connection, params: Params) -> object:
        """A key for this machine's owner: whoever may open the control socket. It lives as long as this process."""
        del connection, params
        return {"api_key": self._local_key}

    async def _keys_changed(self, connection: Connection, params: Params) -> object:
        """Answer when every worker knows the keys, so that a new key is good once its maker sees it."""
        del connection, params
        await asyncio.gather(*(worker.call("keys_changed") for worker in self._workers.connections()))
        return None

    async def _tell_of_settings(self, worker: Connection) -> None:
        try:
            await worker.call("reload")
        except UnavailableError:
            if not worker.is_closed:
                raise
            # It has left meanwhile; its successor starts with the new settings.

    def _tell_workers(self, state: EndpointState) -> None:
        for worker in self._workers.connections():
            worker.notify("engine", _told(state))

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop_or_leave)
        loop.add_signal_handler(signal.SIGINT, self._stop_or_leave)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._start(self._on_signal("reload", self.reload())))
        loop.add_signal_handler(signal.SIGUSR2, lambda: self._start(self._on_signal("restart", self.restart())))

    def _stop_or_leave(self) -> None:
        """Stop; asked a second time, leave at once: the children follow, and the journal keeps what was open."""
        if self._stop.is_set():
            _LOG.warning("stopping at once; open calls are cut and recorded as interrupted")
            os._exit(_LEFT_AT_ONCE)
        self._stop.set()
        seconds = self._settings.drain_grace_seconds
        _LOG.info("stopping: open calls may finish for %.0f s; a second signal (Ctrl-C) cuts them", seconds)

    async def _on_signal(self, name: str, work: Awaitable[object]) -> None:
        try:
            await work
        except ConfigurationError as error:
            _LOG.error("%s refused, nothing has changed: %s", name, error.message)
        except MainstayError as error:
            _LOG.error("%s failed: %s", name, error.message)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _name(connection: Connection) -> str:
    """Whose counts are whose: a worker is its control connection."""
    return str(id(connection))


def _told(state: EndpointState) -> dict[str, object]:
    endpoint = endpoint_to_wire(state.endpoint) if state.endpoint is not None else None
    return {"model": state.model_id, "endpoint": endpoint, "is_broken": state.phase is Phase.BROKEN}
