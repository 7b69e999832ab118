"""One of several does a duty."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from mainstay.kit.database import Database, open_database
from mainstay.kit.lease import Lease


class TurnedClock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
async def others(database_url: str) -> AsyncIterator[list[Database]]:
    databases = [open_database(database_url) for _ in range(4)]
    yield databases
    for one in databases:
        await one.aclose()


async def test_of_many_at_once_one_gets_the_lease(others: list[Database], clock: TurnedClock) -> None:
    leases = [Lease(one, clock, "duty", seconds=60) for one in others * 3]
    assert sum(await asyncio.gather(*(lease.hold() for lease in leases))) == 1


async def test_holder_keeps_it_and_nobody_else_gets_it(database: Database, clock: TurnedClock) -> None:
    first, second = (Lease(database, clock, "duty", seconds=60) for _ in range(2))
    for _ in range(20):
        assert await first.hold()
        assert not await second.hold()
        clock.now += 15


async def test_lease_of_one_that_died_runs_out(database: Database, clock: TurnedClock) -> None:
    first, second = (Lease(database, clock, "duty", seconds=60) for _ in range(2))
    assert await first.hold()
    clock.now += 61
    assert await second.hold()
    assert not await first.hold()


async def test_lease_that_is_given_back_is_free_at_once(database: Database, clock: TurnedClock) -> None:
    first, second = (Lease(database, clock, "duty", seconds=60) for _ in range(2))
    assert await first.hold()
    await second.release()
    assert not await second.hold()
    await first.release()
    assert await second.hold()


async def test_duties_of_different_names_are_held_by_different_ones(database: Database, clock: TurnedClock) -> None:
    assert await Lease(database, clock, "one", seconds=60).hold()
    assert await Lease(database, clock, "other", seconds=60).hold()
