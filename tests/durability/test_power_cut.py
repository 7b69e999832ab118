"""The power goes, a write fails, the disk is full: acknowledged acts stay, others leave no trace, the log verifies."""

import asyncio
import contextlib
import itertools
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from tests.durability.acts import check, perform
from tests.durability.disk import PATH, Disk, DiskDatabase, PowerCutError

from mainstay.kit.database import DatabaseError, open_database
from mainstay.kit.database.sqlite import SYNCHRONOUS

NORMAL = "PRAGMA synchronous = NORMAL"


@pytest.fixture
def disk(migrated_sqlite: Path) -> Disk:
    return Disk({PATH: migrated_sqlite.read_bytes()})


class _Cut:
    """Lets some writes pass, then none."""

    def __init__(self, after: int) -> None:
        self._after = after

    def __call__(self, number: int) -> None:
        if number > self._after:
            raise PowerCutError


async def _until_the_power_goes(disk: Disk, names: Iterator[str], *, cut: _Cut, synchronous: str) -> list[str]:
    """Act until the power goes; return the acts that were acknowledged."""
    disk.on_write = cut
    acknowledged: list[str] = []
    database = None
    try:
        database = DiskDatabase(disk, synchronous=synchronous)
        for name in names:
            await perform(database, name)
            acknowledged.append(name)
    except (PowerCutError, DatabaseError, apsw.Error):
        pass
    if database is not None:
        with contextlib.suppress(PowerCutError, apsw.Error):
            await database.aclose()
    return acknowledged


async def _cut_often(disk: Disk, times: int, *, synchronous: str) -> None:
    names = (f"{number:05}" for number in itertools.count())
    acknowledged: set[str] = set()
    for seed in range(times):
        dice = random.Random(seed)
        cut = _Cut(dice.randint(1, 400))
        acknowledged |= set(await _until_the_power_goes(disk, names, cut=cut, synchronous=synchronous))
        disk.lose_power(dice)
        database = DiskDatabase(disk, synchronous=synchronous)
        await check(database, acknowledged)
        await database.aclose()
    assert len(acknowledged) > times


async def test_nothing_acknowledged_is_lost_by_100_power_cuts(disk: Disk) -> None:
    await _cut_often(disk, 100, synchronous=SYNCHRONOUS)


@pytest.mark.heavy
async def test_nothing_acknowledged_is_lost_by_1000_power_cuts(disk: Disk) -> None:
    await _cut_often(disk, 1000, synchronous=SYNCHRONOUS)


async def test_the_check_can_fail_acts_are_lost_where_commits_are_not_synced(disk: Disk) -> None:
    with pytest.raises(AssertionError, match="acknowledged acts are lost"):
        await _cut_often(disk, 100, synchronous=NORMAL)


@pytest.mark.parametrize("error", [apsw.IOError, apsw.FullError])
async def test_write_that_fails_fails_one_act_whole_whichever_write_it_is(disk: Disk, error: type[Exception]) -> None:
    acknowledged: set[str] = set()
    failed = 0
    database = DiskDatabase(disk)
    for number in range(150):

        def fail(count: int, at: int = number % 30 + 1) -> None:
            if count == at:
                raise error

        disk.writes, disk.on_write = 0, fail
        for name in (f"{number}a", f"{number}b"):
            try:
                await perform(database, name)
                acknowledged.add(name)
            except DatabaseError:
                failed += 1
        disk.on_write = lambda count: None
        assert await check(database, acknowledged) == acknowledged
    await database.aclose()
    assert failed > 50
    assert len(acknowledged) > 50


async def test_nothing_is_done_that_cannot_be_written_down_on_a_full_disk(
    migrated_sqlite: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mainstay.db"
    await asyncio.to_thread(shutil.copy, migrated_sqlite, path)
    database = open_database(f"sqlite:///{path}")
    acknowledged = set()
    await perform(database, "first")
    acknowledged.add("first")
    await _limit_pages(database, more=5)
    refused = 0
    for number in range(200):
        try:
            await perform(database, f"{number}")
            acknowledged.add(f"{number}")
        except DatabaseError as error:
            refused += 1
            assert "Check the disk" in error.message
        if refused > 10:
            break
    assert refused > 10
    assert await check(database, acknowledged) == acknowledged
    await _limit_pages(database, more=1000)
    await perform(database, "there is room again")
    await check(database, {*acknowledged, "there is room again"})
    await database.aclose()


async def _limit_pages(database, *, more: int) -> None:
    ((pages,),) = await database.fetch("PRAGMA page_count")
    await database._writer.execute(f"PRAGMA max_page_count = {pages + more}")
