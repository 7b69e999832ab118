"""One worker, from its start to its last word."""

import asyncio
import logging
import os
import signal
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from mainstay.kit import control
from mainstay.kit.control import Connection, Params
from mainstay.platform.engine.control_endpoints import ControlEndpoints, endpoint_from_wire
from mainstay.server.composition import Parts, compose
from mainstay.server.listener import Listener
from mainstay.settings import Settings

_TELL_SECONDS = 5.0
_LOG = logging.getLogger("mainstay.server")


class Worker:
    """Answers calls until SIGTERM, or until the supervisor is gone."""

    def __init__(self, settings: Settings, listening: socket.socket, *, control_path: str) -> None:
        self._settings = settings
        self._listening = listening
        self._control_path = Path(control_path)
        self._connection: Connection | None = None
        self._endpoints = ControlEndpoints(lambda: self._connection)
        self._parts: Parts
        self._is_composed = asyncio.Event()
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Serve."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop.set)
        async with AsyncExitStack() as stack:
            connection = await self._connect(stack)
            welcome = await connection.call("register", {"process_id": os.getpid()})
            for engine in welcome["engines"]:
                self._note_engine(engine)
            self._parts = await compose(
                self._settings,
                stack,
                endpoints=self._endpoints,
                local_key=str(welcome["local_key"]),
                tell_others=self._tell_others,
            )
            self._is_composed.set()
            server = self._settings.server
            listener = Listener(self._parts.app, self._listening, header_timeout_seconds=server.header_timeout_seconds)
            await listener.start()
            await connection.call("ready", {"process_id": os.getpid()})
            await self._stop.wait()
            self._parts.readiness.is_leaving = True
            await listener.stop(server.drain_grace_seconds)

    async def _connect(self, stack: AsyncExitStack) -> Connection:
        handlers: dict[str, control.Handler] = {
            "engine": self._engine_changed,
            "reload": self._reload,
            "keys_changed": self._keys_changed,
        }
        connection = self._connection = await control.connect(self._control_path, handlers)
        connection.on_close.append(self._stop.set)
        reading = asyncio.get_running_loop().create_task(connection.run())
        stack.callback(reading.cancel)
        stack.push_async_callback(connection.aclose)
        return connection

    async def _engine_changed(self, connection: Connection, params: Params) -> Any:  # control calls carry JSON
        del connection
        self._note_engine(params)

    async def _reload(self, connection: Connection, params: Params) -> Any:  # control calls carry JSON
        del connection, params
        await self._is_composed.wait()  # a worker that starts may have read the old file
        self._settings = self._parts.reload(Settings.load(self._settings.home, file=self._settings.file))

    async def _keys_changed(self, connection: Connection, params: Params) -> Any:  # control calls carry JSON
        del connection, params
        await self._is_composed.wait()
        await self._parts.settle.refresh()

    async def _tell_others(self) -> None:
        """Have the supervisor tell every worker, this one too, that something was written."""
        if self._connection is None or self._settings.server.workers == 1:
            await self._parts.settle.refresh()
            return
        async with asyncio.timeout(_TELL_SECONDS):
            await self._connection.call("keys_changed")

    def _note_engine(self, told: Params) -> None:
        endpoint = told["endpoint"]
        self._endpoints.changed(
            str(told["model"]),
            None if endpoint is None else endpoint_from_wire(endpoint),
            is_broken=bool(told["is_broken"]),
        )
