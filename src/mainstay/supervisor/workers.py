"""The worker processes: started, replaced without refusing a connection, restarted when they die."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from mainstay.kit.control import Connection
from mainstay.kit.errors import MainstayError, UnavailableError
from mainstay.kit.processes import Lifeline

_LOG = logging.getLogger("mainstay.supervisor")
_START_TIMEOUT_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 30.0
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which prometheus_client knows that it is one process of several."""
_STOP_MARGIN_SECONDS = 15.0
"""What a worker gets beyond the grace period to end its streams and write down what it knows."""


@dataclass(slots=True, eq=False)
class Worker:
    """One worker process, known by its process id once it has been started."""

    process: asyncio.subprocess.Process
    lifeline: Lifeline
    connection: Connection | None = None
    is_ready: asyncio.Event = field(default_factory=asyncio.Event)
    is_leaving: bool = False


class Workers:
    """Keeps `count` workers running on the listening socket."""

    def __init__(
        self,
        *,
        count: int,
        socket_fd: int,
        control_path: str,
        settings_path: str,
        metrics_folder: Path,
        grace_seconds: float,
    ) -> None:
        self._count = count
        self._socket_fd = socket_fd
        self._control_path = control_path
        self._settings_path = settings_path
        self._metrics_folder = metrics_folder
        self._grace_seconds = grace_seconds
        self._workers: set[Worker] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pause_seconds = 0.0
        self._is_stopping = False
        self._restart = asyncio.Lock()

    async def start(self) -> None:
        """Start all workers and wait until they accept connections.

        The first one alone, since it brings the database up to date: what keeps it from serving would keep all.
        """
        await self._until_ready(await self._spawn())
        others = [await self._spawn() for _ in range(self._count - 1)]
        await asyncio.gather(*(self._until_ready(worker) for worker in others))

    async def restart(self) -> None:
        """Replace every worker: the new ones accept before the old ones are told to leave.

        Raises UnavailableError, with the old workers still serving, when a new one does not start.
        """
        async with self._restart:
            old = [worker for worker in self._workers if not worker.is_leaving]
            new: list[Worker] = []
            try:
                for _ in range(self._count):
                    new.append(await self._spawn())  # noqa: PERF401 - those before one that fails must be known
                await asyncio.gather(*(self._until_ready(worker) for worker in new))
            except BaseException:  # a restart whose caller has gone away is cancelled
                for worker in new:
                    self._kill(worker)
                raise
            for worker in old:
                self._own(self._leave(worker))

    async def stop(self) -> None:
        """Let every worker finish its calls, within the grace period, and go."""
        self._is_stopping = True
        await asyncio.gather(*(self._leave(worker) for worker in list(self._workers)))
        for task in list(self._tasks):
            task.cancel()

    def register(self, process_id: int, connection: Connection) -> Worker:
        """A worker has connected to the control socket."""
        for worker in self._workers:
            if worker.process.pid == process_id:
                worker.connection = connection
                return worker
        raise MainstayError(f"Process {process_id} is not a worker of this supervisor.", status=403)

    def connections(self) -> list[Connection]:
        """The control connections of all workers that serve."""
        return [worker.connection for worker in self._workers if worker.connection and not worker.connection.is_closed]

    def process_ids(self) -> list[int]:
        """The process ids of the workers, those that are leaving included."""
        return sorted(worker.process.pid for worker in self._workers)

    async def _spawn(self) -> Worker:
        try:
            with ExitStack() as undo:
                lifeline = Lifeline()
                undo.callback(lifeline.close)
                process = await self._execute(lifeline)
                undo.pop_all()
        except OSError as error:
            raise UnavailableError(f"A worker cannot be started: {error}.") from error
        worker = Worker(process, lifeline)
        self._workers.add(worker)
        self._own(self._watch(worker))
        return worker

    async def _execute(self, lifeline: Lifeline) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "mainstay.server",
            f"--socket={self._socket_fd}",
            f"--lifeline={lifeline.child_end}",
            f"--parent={os.getpid()}",
            f"--control={self._control_path}",
            f"--settings={self._settings_path}",
            pass_fds=(self._socket_fd, lifeline.child_end),
            env=self._environment(),
        )

    def _environment(self) -> dict[str, str]:
        """Several workers share their metrics through files, so that whichever is asked tells of all."""
        if self._count == 1:
            return dict(os.environ)
        self._metrics_folder.mkdir(mode=0o700, exist_ok=True)
        return {**os.environ, METRICS_FOLDER: str(self._metrics_folder)}

    async def _until_ready(self, worker: Worker) -> None:
        ready = asyncio.ensure_future(worker.is_ready.wait())
        ended = asyncio.ensure_future(worker.process.wait())
        try:
            await asyncio.wait({ready, ended}, timeout=_START_TIMEOUT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            ended.cancel()
        if not worker.is_ready.is_set():
            raise UnavailableError("A new worker did not start; the server's log says why.")
        self._pause_seconds = 0.0

    async def _watch(self, worker: Worker) -> None:
        """Wait for the worker's end, and put another in its place if it was not told to leave."""
        code = await worker.process.wait()
        self._workers.discard(worker)
        worker.lifeline.close()
        # As prometheus_client's mark_process_dead does: the calls in flight of a dead worker are none.
        (self._metrics_folder / f"gauge_livesum_{worker.process.pid}.db").unlink(missing_ok=True)
        if worker.is_leaving or self._is_stopping:
            return
        _LOG.error("worker %d ended with status %s; starting another", worker.process.pid, code)
        while (replacement := await self._replacement()) is None and self._is_short():
            pass
        if replacement is not None:
            try:
                await self._until_ready(replacement)
            except UnavailableError as error:
                _LOG.error("%s", error.message)  # its own watcher goes on trying

    async def _replacement(self) -> Worker | None:
        """Start a worker after a pause, if one is missing then; None if none is, or none can be started now."""
        await asyncio.sleep(self._pause_seconds)
        self._pause_seconds = min(max(1.0, self._pause_seconds * 2), _LONGEST_PAUSE_SECONDS)
        async with self._restart:  # which counts its workers itself
            if not self._is_short():
                return None
            try:
                return await self._spawn()
            except UnavailableError as error:
                _LOG.error("%s", error.message)
                return None

    def _is_short(self) -> bool:
        staying = sum(not worker.is_leaving for worker in self._workers)
        return staying < self._count and not self._is_stopping

    async def _leave(self, worker: Worker) -> None:
        worker.is_leaving = True
        if worker.process.returncode is not None:
            return
        worker.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self._grace_seconds + _STOP_MARGIN_SECONDS):
                await worker.process.wait()
        except TimeoutError:
            _LOG.error("worker %d did not leave in time and is killed", worker.process.pid)
            self._kill(worker)

    def _kill(self, worker: Worker) -> None:
        worker.is_leaving = True
        if worker.process.returncode is None:
            worker.process.kill()

    def _own(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
