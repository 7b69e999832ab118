"""A worker as its supervisor sees it, over the control socket."""

import asyncio
import signal
import socket
import tempfile
from pathlib import Path

import pytest

from mainstay.kit import control
from mainstay.server.worker import Worker
from mainstay.settings import Settings


class Supervisor:
    """Tells a worker of changes as soon as it has registered, which is before it can have read anything."""

    def __init__(self):
        self.notices = []
        self.is_ready = asyncio.Event()
        self.connection = None

    async def register(self, connection, params):
        del params
        self.connection = connection
        self.notices = [asyncio.create_task(connection.call(method)) for method in ("reload", "keys_changed")]
        return {"local_key": "sk-local", "engines": []}

    async def ready(self, connection, params):
        del connection, params
        self.is_ready.set()


@pytest.fixture
def home():
    with tempfile.TemporaryDirectory(prefix="ms-", dir="/tmp") as folder:
        (Path(folder) / "mainstay.toml").touch()
        yield Path(folder)


async def test_what_a_worker_is_told_while_it_starts_is_done_once_it_can_be(home):
    supervisor, path = Supervisor(), home / "c.sock"
    handlers = {"register": supervisor.register, "ready": supervisor.ready}
    server = await control.listen(path, handlers)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        worker = asyncio.create_task(Worker(Settings.load(home, {}), listening, control_path=str(path)).run())
        try:
            await asyncio.wait_for(supervisor.is_ready.wait(), 30)
            await asyncio.wait_for(asyncio.gather(*supervisor.notices), 10)
        finally:
            await supervisor.connection.aclose()
            await asyncio.wait_for(worker, 30)
            asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
            server.close()
