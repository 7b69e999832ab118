"""From journal to database: batches, a database that is away, shutdown, and workers that are killed."""

import asyncio
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from mainstay.kit.database import Database, DatabaseError, open_database
from mainstay.platform.metering.journal import CallEnd, CallStart, Journal, Outcome
from mainstay.platform.metering.prices import Price
from mainstay.platform.metering.recorder import Recorder
from mainstay.platform.metering.recovery import Recovery
from mainstay.platform.metering.segments import segment_numbers


def start(call_id: str, **more: object) -> CallStart:
    values = {
        "call_id": call_id,
        "request_id": "req_1",
        "organisation_id": "org_default",
        "project_id": "proj_default",
        "key_id": "key_1",
        "operation": "chat.completions",
        "deployment": "gpt-4o",
        "provider": "vendor",
        "model": "gpt-4o-2024-08-06",
        "is_stream": True,
        "started_at": 1_800_000_000.25,
    }
    return CallStart(**(values | more))  # type: ignore[arg-type]


def end(call_id: str, **more: object) -> CallEnd:
    values = {"call_id": call_id, "ended_at": 1_800_000_001.0, "status": 200, "outcome": Outcome.OK}
    return CallEnd(**(values | more))  # type: ignore[arg-type]


class Switch:
    """A database that can be switched off."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.is_off = False
        self.asked = asyncio.Semaphore(0)

    def __getattr__(self, name: str) -> object:
        return getattr(self._database, name)

    def transaction(self) -> object:
        self.asked.release()
        if self.is_off:
            raise DatabaseError("The database is off.")
        return self._database.transaction()


def _folders(root: Path) -> list[str]:
    return [path.name for path in root.iterdir() if path.is_dir()]


async def outcomes(database: Database) -> dict[str, str]:
    return dict(await database.fetch("SELECT call_id, outcome FROM usage_records"))  # type: ignore[arg-type]


async def test_call_leaves_one_complete_record(database: Database, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    price = Price(2.5, 10, cached_input_per_million=1.25, currency="EUR")
    recorder = Recorder(journal, database, {"gpt-4o": price}.get)
    journal.start(start("a"))
    await recorder.record()
    assert await outcomes(database) == {}
    journal.end(
        end(
            "a",
            duration_ms=812.7,
            first_token_ms=101.2,
            last_token_ms=800.9,
            prompt_tokens=1000,
            cached_tokens=400,
            completion_tokens=50,
            reasoning_tokens=10,
            tokens_are_estimated=True,
            model="gpt-4o-2024-11-20",
        )
    )
    await recorder.record()
    rows = await database.fetch(
        "SELECT key_id, operation, deployment, provider, model, is_stream, started_at_ms, first_token_ms, "
        "last_token_ms, duration_ms, status, outcome, failure, prompt_tokens, cached_tokens, completion_tokens, "
        "reasoning_tokens, tokens_are_estimated, cost_nano, currency FROM usage_records"
    )
    cost_nano = 600 * 2500 + 400 * 1250 + 50 * 10_000
    who = ("key_1", "chat.completions", "gpt-4o", "vendor", "gpt-4o-2024-11-20", True)
    how = (1_800_000_000_250, 101, 800, 812, 200, "ok", None)
    assert rows == [(*who, *how, 1000, 400, 50, 10, True, cost_nano, "EUR")]


async def test_segments_are_removed_when_their_calls_are_recorded_and_not_before(
    database: Database, tmp_path: Path
) -> None:
    journal = Journal(tmp_path, segment_bytes=16 * 1024)
    recorder = Recorder(journal, database)
    journal.start(start("long"))
    for number in range(200):
        journal.start(start(f"{number}"))
        journal.end(end(f"{number}"))
    await recorder.record()
    current = journal.position[0]
    assert current > 3
    assert segment_numbers(journal.folder.path)[0] == 1
    assert 2 not in segment_numbers(journal.folder.path)
    journal.end(end("long"))
    await recorder.record()
    assert min(segment_numbers(journal.folder.path)) >= current
    assert len(await outcomes(database)) == 201
    assert recorder.backlog_bytes == 0


async def test_nothing_is_lost_while_the_database_is_away(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    switch = Switch(database)
    journal = Journal(tmp_path, segment_bytes=16 * 1024)
    recorder = Recorder(journal, switch, interval_seconds=0.001)  # type: ignore[arg-type]
    switch.is_off = True
    task = asyncio.create_task(recorder.run())
    for number in range(300):
        journal.start(start(f"{number}"))
        journal.end(end(f"{number}"))
        if number % 100 == 0:
            await switch.asked.acquire()
    assert recorder.backlog_bytes > 0
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1
    switch.is_off = False
    await recorder.record()
    assert recorder.backlog_bytes == 0
    task.cancel()
    assert len(await outcomes(database)) == 300
    assert set((await outcomes(database)).values()) == {"ok"}


async def test_full_disk_of_the_database_loses_nothing(tmp_path: Path, migrated_sqlite: Path) -> None:
    import shutil

    shutil.copy(migrated_sqlite, tmp_path / "full.db")
    database = open_database(f"sqlite:///{tmp_path / 'full.db'}")
    async with database.transaction() as transaction:
        await transaction.fetch("PRAGMA max_page_count = 30")
    journal = Journal(tmp_path / "journal")
    recorder = Recorder(journal, database)
    for number in range(500):
        journal.start(start(f"{number}"))
        journal.end(end(f"{number}"))
    with pytest.raises(DatabaseError, match="full"):
        await recorder.record()
    assert await outcomes(database) == {}
    async with database.transaction() as transaction:
        await transaction.fetch("PRAGMA max_page_count = 100000")
    await recorder.record()
    assert len(await outcomes(database)) == 500
    await database.aclose()


@pytest.mark.parametrize(
    "more",
    [
        {"model": "nul \x00"},
        {"failure": "'; DROP TABLE usage_records; --"},
        {"prompt_tokens": 2**63},
        {"prompt_tokens": -5, "first_token_ms": -1.0, "duration_ms": 1e300},
    ],
)
async def test_strange_ends_are_recorded_and_hold_up_nobody(
    database: Database, tmp_path: Path, more: dict[str, object]
) -> None:
    journal = Journal(tmp_path)
    recorder = Recorder(journal, database, {"gpt-4o": Price(1e6)}.get)
    journal.start(start("strange", request_id="\x00", deployment="gpt-4o"))
    journal.start(start("next"))
    journal.end(end("strange", **more))
    journal.end(end("next"))
    await recorder.record()
    assert set(await outcomes(database)) == {"strange", "next"}


async def test_orderly_shutdown_leaves_no_folder(database: Database, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    recorder = Recorder(journal, database)
    journal.start(start("a"))
    journal.end(end("a"))
    assert await recorder.drain(10)
    assert _folders(tmp_path) == []
    assert await outcomes(database) == {"a": "ok"}


async def test_shutdown_without_database_leaves_the_folder_to_the_next_worker(
    database: Database, tmp_path: Path
) -> None:
    switch = Switch(database)
    switch.is_off = True
    journal = Journal(tmp_path)
    recorder = Recorder(journal, switch)  # type: ignore[arg-type]
    journal.start(start("ended"))
    journal.end(end("ended", outcome=Outcome.ERROR, status=502, failure="reset"))
    journal.start(start("open"))
    assert not await recorder.drain(10)
    assert await Recovery(tmp_path, database).recover() == 1
    assert await outcomes(database) == {"ended": "error", "open": "interrupted"}
    assert await database.fetch("SELECT status FROM usage_records WHERE call_id = 'open'") == [(0,)]
    assert _folders(tmp_path) == []


async def test_recovery_without_database_lets_go_of_the_folder(database: Database, tmp_path: Path) -> None:
    switch = Switch(database)
    switch.is_off = True
    journal = Journal(tmp_path)
    journal.start(start("open"))
    journal.close()
    journal.folder.release()
    with pytest.raises(DatabaseError):
        await Recovery(tmp_path, switch).recover()  # type: ignore[arg-type]
    switch.is_off = False
    assert await Recovery(tmp_path, switch).recover() == 1  # type: ignore[arg-type]
    assert await outcomes(database) == {"open": "interrupted"}


async def test_ten_adopters_at_once_record_each_call_once(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    for worker in range(5):
        journal = Journal(tmp_path)
        for number in range(50):
            journal.start(start(f"{worker} {number}"))
            if number % 2:
                journal.end(end(f"{worker} {number}"))
        journal.close()
        journal.folder.release()
    others = [open_database(database_url) for _ in range(9)]
    adopted = await asyncio.gather(*(Recovery(tmp_path, each).recover() for each in (database, *others)))
    assert sum(adopted) == 5
    found = await outcomes(database)
    assert len(found) == 250
    assert all(outcome == ("ok" if int(call.split()[1]) % 2 else "interrupted") for call, outcome in found.items())
    for each in others:
        await each.aclose()


async def test_recovery_that_was_killed_half_way_changes_nothing_when_done_again(
    database: Database, tmp_path: Path
) -> None:
    journal = Journal(tmp_path, segment_bytes=16 * 1024)
    recorder = Recorder(journal, database)
    for number in range(100):
        journal.start(start(f"{number}"))
        journal.end(end(f"{number}"))
    journal.start(start("open"))
    await recorder.record()
    # The segments with the ends are gone, some with starts are left, as after a kill while the folder is removed.
    last = segment_numbers(journal.folder.path)[-1]
    journal.close()
    journal.folder.release()
    await Recovery(tmp_path, database).recover()
    assert last > 1
    found = await outcomes(database)
    assert found.pop("open") == "interrupted"
    assert set(found.values()) == {"ok"}
    assert len(found) == 100


WRITER = """
import asyncio, itertools, os, sys, time
from pathlib import Path
from mainstay.kit.database import open_database
from mainstay.platform.metering.journal import CallEnd, CallStart, Journal, Outcome
from mainstay.platform.metering.recorder import Recorder

async def write():
    journal = Journal(Path(sys.argv[1]), segment_bytes=64 * 1024)
    recorder = Recorder(journal, open_database(sys.argv[2]), interval_seconds=0.01)
    task = asyncio.create_task(recorder.run())
    begun = []
    for number in itertools.count():
        call_id = f"{os.getpid()} {number}"
        journal.start(CallStart(
            call_id=call_id, request_id="r", organisation_id="org_default", project_id="proj_default", key_id="k",
            operation="chat.completions", deployment="d", provider="p", model="m", is_stream=False,
            started_at=time.time(),
        ))
        os.write(1, f"start {call_id}\\n".encode())
        begun.append(call_id)
        if len(begun) > 50:
            ended = begun.pop(number % 50)
            journal.end(CallEnd(call_id=ended, ended_at=time.time(), status=200, outcome=Outcome.OK))
            os.write(1, f"end {ended}\\n".encode())
        await asyncio.sleep(0)

asyncio.run(write())
"""


async def _kill_one_under_load(root: Path, database_url: str, *, lines: int) -> tuple[set[str], set[str]]:
    """Run a writer, kill it in the middle; return what it said to have started and ended."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(root), database_url, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    said = [await asyncio.wait_for(process.stdout.readline(), 60) for _ in range(lines)]
    process.kill()
    said += (await process.stdout.read()).splitlines(keepends=True)
    await process.wait()
    words = [line.decode().strip().partition(" ") for line in said if line.endswith(b"\n")]
    started = {call for verb, _, call in words if verb == "start"}
    return started, {call for verb, _, call in words if verb == "end"}


async def _kill_and_count(database: Database, database_url: str, root: Path, *, cycles: int) -> None:
    started: set[str] = set()
    ended: set[str] = set()
    for cycle in range(cycles):
        more_started, more_ended = await _kill_one_under_load(root, database_url, lines=500 + 700 * (cycle % 7))
        started |= more_started
        ended |= more_ended
        await Recovery(root, database).recover()
    assert len(ended) > 200 * cycles
    found = await outcomes(database)
    assert {call for call in ended if found.get(call) != "ok"} == set()
    assert started - set(found) == set()
    # At most one call a cycle was written down and not yet said to be, when the kill came.
    assert len(set(found) - started) <= cycles
    wrongly = {call for call, outcome in found.items() if outcome == "ok"} - ended
    assert len(wrongly) <= cycles
    assert _folders(root) == []


async def test_killed_workers_lose_no_call_and_double_none(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    await _kill_and_count(database, database_url, tmp_path / "journal", cycles=5)


@pytest.mark.heavy
async def test_twenty_killed_workers_lose_no_call_and_double_none(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    await _kill_and_count(database, database_url, tmp_path / "journal", cycles=20)
