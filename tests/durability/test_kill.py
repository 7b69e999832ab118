"""kill -9 while acts are written: what was acknowledged is there with its audit event, and nothing by halves."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from tests.durability.acts import check

from mainstay.kit.database import open_database

WRITER = Path(__file__).with_name("writer.py")


async def _kill(url: str, times: int) -> None:
    acknowledged: set[str] = set()
    for attempt in range(times):
        dice = random.Random(attempt)
        writers = [_start(url, f"{attempt}{which}") for which in "ab"]
        # One is killed while the other goes on, and then that one too.
        for writer in writers:
            acknowledged |= _acknowledged(writer, at_least=dice.randint(1, 25))
            writer.kill()
        for writer in writers:
            with writer:
                assert writer.stdout is not None
                acknowledged |= set(writer.stdout.read().split("\n")[:-1])
        database = open_database(url)
        try:
            await check(database, acknowledged)
        finally:
            await database.aclose()
    assert len(acknowledged) >= 2 * times


def _start(url: str, prefix: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, WRITER, url, prefix], stdout=subprocess.PIPE, text=True)


def _acknowledged(writer: subprocess.Popen[str], *, at_least: int) -> set[str]:
    assert writer.stdout is not None
    return {writer.stdout.readline().strip() for _ in range(at_least)}


async def test_nothing_acknowledged_is_lost_by_5_kills(database_url: str) -> None:
    await _kill(database_url, 5)


@pytest.mark.heavy
@pytest.mark.timeout(900)
async def test_nothing_acknowledged_is_lost_by_50_kills(database_url: str) -> None:
    await _kill(database_url, 50)
