"""How many workers run: as many as there should be, whatever happens while they are replaced."""

import asyncio
import errno
import itertools
import os

import pytest

from mainstay.kit.errors import UnavailableError
from mainstay.supervisor import workers as module
from mainstay.supervisor.workers import Workers

COUNT = 2


class Process:
    """A process as asyncio shows it, which ends when it is told to."""

    def __init__(self, pid):
        self.pid = pid
        self.returncode = None
        self._ended = asyncio.Event()

    def end(self, code):
        self.returncode = code
        self._ended.set()

    async def wait(self):
        await self._ended.wait()
        return self.returncode

    def send_signal(self, number):
        self.end(-number)

    def kill(self):
        self.end(-9)


class Machine:
    """Starts processes, unless it is short of them."""

    def __init__(self):
        self.refusals = 0
        self.refused = asyncio.Event()
        self._pids = itertools.count(1)
        self._started = asyncio.Queue()

    async def start(self, *arguments, **options):
        del arguments, options
        if self.refusals:
            self.refusals -= 1
            self.refused.set()
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        process = Process(next(self._pids))
        self._started.put_nowait(process)
        return process

    async def next(self, count):
        return [await asyncio.wait_for(self._started.get(), 5) for _ in range(count)]

    async def starts_nothing_more(self):
        await settle()
        return self._started.empty()


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def machine(monkeypatch):
    machine = Machine()
    monkeypatch.setattr(asyncio, "create_subprocess_exec", machine.start)
    monkeypatch.setattr(module, "_LONGEST_PAUSE_SECONDS", 0.0)
    return machine


@pytest.fixture
async def workers(tmp_path):
    workers = Workers(
        count=COUNT,
        socket_fd=0,
        control_path="unused",
        settings_path="",
        grace_seconds=5,
        metrics_folder=tmp_path / "metrics",
    )
    yield workers
    await workers.stop()


def make_ready(workers, processes):
    for process in processes:
        workers.register(process.pid, None).is_ready.set()


async def start(workers, machine):
    starting = asyncio.create_task(workers.start())
    first = await machine.next(1)
    make_ready(workers, first)
    others = await machine.next(COUNT - 1)
    make_ready(workers, others)
    await starting
    return [*first, *others]


def pids(processes):
    return [process.pid for process in processes]


async def test_the_first_worker_starts_alone_since_it_may_have_a_database_to_bring_up_to_date(workers, machine):
    starting = asyncio.create_task(workers.start())
    first = await machine.next(1)
    assert await machine.starts_nothing_more()
    make_ready(workers, first)
    make_ready(workers, await machine.next(COUNT - 1))
    await starting
    assert len(workers.process_ids()) == COUNT


async def test_a_restart_replaces_every_worker(workers, machine):
    await start(workers, machine)
    restarting = asyncio.create_task(workers.restart())
    new = await machine.next(COUNT)
    make_ready(workers, new)
    await restarting
    await settle()
    assert workers.process_ids() == pids(new)


async def test_a_restart_that_is_abandoned_leaves_the_old_workers_alone(workers, machine):
    old = await start(workers, machine)
    restarting = asyncio.create_task(workers.restart())
    new = await machine.next(COUNT)
    restarting.cancel()
    await asyncio.wait({restarting})
    await settle()
    assert [process.returncode for process in new] == [-9] * COUNT
    assert workers.process_ids() == pids(old)


async def test_a_new_worker_that_does_not_start_leaves_the_old_workers_alone(workers, machine):
    old = await start(workers, machine)
    restarting = asyncio.create_task(workers.restart())
    new = await machine.next(COUNT)
    new[0].end(1)
    with pytest.raises(UnavailableError, match="did not start"):
        await restarting
    assert await machine.starts_nothing_more()
    assert workers.process_ids() == pids(old)


async def test_a_machine_short_of_processes_fails_a_restart_and_nothing_else(workers, machine):
    old = await start(workers, machine)
    machine.refusals = 1
    with pytest.raises(UnavailableError, match="cannot be started"):
        await workers.restart()
    await settle()
    assert workers.process_ids() == pids(old)


async def test_an_old_worker_that_dies_while_it_is_replaced_has_one_successor(workers, machine):
    old = await start(workers, machine)
    restarting = asyncio.create_task(workers.restart())
    new = await machine.next(COUNT)
    old[0].end(1)
    await settle()
    make_ready(workers, new)
    await restarting
    assert await machine.starts_nothing_more()
    assert workers.process_ids() == pids(new)


async def test_an_old_worker_that_dies_while_a_restart_fails_is_replaced(workers, machine):
    old = await start(workers, machine)
    restarting = asyncio.create_task(workers.restart())
    new = await machine.next(COUNT)
    old[0].end(1)
    await settle()
    new[0].end(1)
    with pytest.raises(UnavailableError):
        await restarting
    successors = await machine.next(1)
    make_ready(workers, successors)
    assert await machine.starts_nothing_more()
    assert workers.process_ids() == pids([old[1], *successors])


async def test_a_worker_that_cannot_be_replaced_at_once_is_replaced_later(workers, machine):
    old = await start(workers, machine)
    machine.refusals = 2
    old[0].end(1)
    successors = await machine.next(1)
    make_ready(workers, successors)
    await settle()
    assert machine.refusals == 0
    assert workers.process_ids() == pids([old[1], *successors])
