"""Accepts connections on the inherited socket, and stops accepting without cutting anyone off."""

import asyncio
import socket
from email.utils import formatdate
from functools import partial
from time import time
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from mainstay.api.app import App
from mainstay.api.http_protocol import HttpProtocol, sweep

_KEEP_ALIVE_SECONDS = 75
_LAST_WORDS_SECONDS = 5.0
"""What a cut stream gets to deliver its last event."""
_LINGER_SECONDS = 1.0
"""How long an idle connection is kept when the worker leaves, so that a request under way to it is answered."""
_POLL_SECONDS = 0.05


class Listener:
    """The HTTP side of a worker."""

    def __init__(self, app: App, listening: socket.socket, *, header_timeout_seconds: float) -> None:
        config = Config(
            app,
            interface="asgi3",
            http=HttpProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
        config.load()
        self._socket = listening
        self._state = ServerState()
        no_state: dict[str, Any] = {}  # uvicorn's own type
        self._protocol = partial(
            HttpProtocol, config, self._state, no_state, header_timeout_seconds=header_timeout_seconds
        )
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Accept connections."""
        loop = asyncio.get_running_loop()
        self._sweeper = loop.create_task(self._sweep())
        self._server = await loop.create_server(self._protocol, sock=self._socket)

    async def stop(self, grace_seconds: float) -> None:
        """Stop accepting, let requests finish for `grace_seconds`, then end what is left with a last event.

        The listening socket stays open in the supervisor and in other workers: connections wait there.
        """
        if self._server is not None:
            self._server.close()
        for connection in self._connections():
            connection.leave()
        await self._until_idle(min(_LINGER_SECONDS, grace_seconds))
        for connection in self._connections():
            connection.close_if_idle()
        await self._until_idle(grace_seconds - _LINGER_SECONDS)
        for connection in self._connections():
            connection.drain()
        await self._until_idle(_LAST_WORDS_SECONDS)
        for connection in self._connections():
            connection.transport.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _connections(self) -> list[HttpProtocol]:
        return [connection for connection in self._state.connections if isinstance(connection, HttpProtocol)]

    async def _until_idle(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        # uvicorn's sets have no event to wait for.
        while (self._state.connections or self._state.tasks) and loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)

    async def _sweep(self) -> None:
        """Each second: the Date header, and the connections that are late."""
        while True:
            self._state.default_headers = [(b"date", formatdate(time(), usegmt=True).encode())]
            sweep(self._state.connections)
            await asyncio.sleep(1)
