"""When a worker says that it can answer."""

import asyncio

import pytest

from mainstay.kit.errors import UnavailableError
from mainstay.server.readiness import Readiness


class Engines:
    """Loads what may be loaded."""

    def __init__(self, *possible):
        self.possible = set(possible)
        self.broken = set()
        self.loaded = set()
        self.asked = asyncio.Event()

    async def ensure(self, model):
        self.asked.set()
        if model not in self.possible:
            raise UnavailableError(f"{model} cannot be loaded")
        self.loaded.add(model)

    def is_ready(self, model):
        return model in self.loaded

    def is_broken(self, model):
        return model in self.broken


async def turns():
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def started():
    tasks = []

    async def start(engines, *models):
        readiness = Readiness(engines, models)
        tasks.append(asyncio.create_task(readiness.run()))
        await turns()
        return readiness

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_it_waits_for_its_models_and_has_them_loaded(started):
    engines = Engines("a", "b")
    assert Readiness(engines, ("a", "b")).waiting_for() == ["model a", "model b"]
    assert (await started(engines, "a", "b")).waiting_for() == []


async def test_a_model_that_made_room_for_another_leaves_it_ready(started):
    engines = Engines("a")
    readiness = await started(engines, "a")
    engines.loaded.clear()
    assert readiness.waiting_for() == []


async def test_a_broken_engine_makes_it_wait(started):
    engines = Engines("a")
    readiness = await started(engines, "a")
    engines.broken.add("a")
    assert readiness.waiting_for() == ["model a"]


async def test_a_model_that_cannot_be_loaded_keeps_it_waiting_and_the_others_are_loaded(started):
    engines = Engines("b")
    assert (await started(engines, "a", "b")).waiting_for() == ["model a"]


async def test_a_reload_may_name_another_model(started):
    engines = Engines("a", "b")
    readiness = await started(engines, "a")
    readiness.replace(("b",))
    assert readiness.waiting_for() == ["model b"]
    await turns()
    assert readiness.waiting_for() == []


async def test_a_worker_that_leaves_is_not_ready(started):
    readiness = await started(Engines())
    assert readiness.waiting_for() == []
    readiness.is_leaving = True
    assert readiness.waiting_for() == ["this worker is leaving"]
