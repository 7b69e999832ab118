"""Upgrades that are killed at any statement: the database is as it was, and the next start finishes the work."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mainstay.kit.database import Database, DatabaseError, open_database
from mainstay.migrations import SchemaError, SchemaState, ensure_current, inspect_schema
from mainstay.migrations.schema import VERSIONS, known_versions
from mainstay.migrations.upgrade import upgrade

_UPGRADE = """
import asyncio, os, signal, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
from mainstay.kit.database import open_database
from mainstay.migrations import ensure_current

count = 0

@event.listens_for(Engine, "before_cursor_execute")
def about_to_execute(connection, cursor, statement, parameters, context, many):
    global count
    count += 1
    if count == {at}:
        os.kill(os.getpid(), signal.SIGKILL)

async def run():
    database = open_database({url!r})
    await ensure_current(database)
    await database.aclose()
    print(count)

asyncio.run(run())
"""


async def _upgrade_in_a_process(url: str, *, killed_at: int) -> int | None:
    """Return how many statements the upgrade has, or None if it was killed before its end."""
    code = _UPGRADE.format(url=url, at=killed_at)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=subprocess.PIPE)
    said, _ = await asyncio.wait_for(process.communicate(), 90)
    if process.returncode == -signal.SIGKILL:
        return None
    assert process.returncode == 0
    return int(said)


async def _begin_at_the_first_version(database: Database, folder: Path) -> None:
    """A database of the first release, with a key in use."""
    versions = folder / "versions"
    versions.mkdir()
    first = next(VERSIONS.glob("v_0001_*.py"))
    (versions / first.name).write_text(first.read_text())
    await upgrade(database, versions)
    async with database.transaction() as transaction:
        await transaction.execute(
            "INSERT INTO api_keys (id, organisation_id, project_id, name, digest, pepper_id, hint, scopes, "
            "created_at_ms, revision) VALUES ('key_1', 'org_default', 'proj_default', 'kept', :digest, 'p', 'h', "
            "'[\"inference\"]', 1, 1)",
            {"digest": b"d" * 32},
        )


async def _kill_at(url: str, database: Database, statements: list[int], *, before: SchemaState) -> None:
    for at in statements:
        assert await _upgrade_in_a_process(url, killed_at=at) is None, f"statement {at}"
        assert (await inspect_schema(database)).state is before, f"statement {at}"


async def test_killed_first_start_leaves_nothing_and_the_next_one_finishes(
    empty_database_url: str, empty_database: Database
) -> None:
    await _kill_at(empty_database_url, empty_database, [40], before=SchemaState.EMPTY)
    assert await _upgrade_in_a_process(empty_database_url, killed_at=-1)
    assert (await inspect_schema(empty_database)).state is SchemaState.CURRENT


async def test_killed_upgrade_leaves_the_old_version_with_its_rows_and_the_next_one_finishes(
    empty_database_url: str, empty_database: Database, tmp_path: Path
) -> None:
    await _begin_at_the_first_version(empty_database, tmp_path)
    await _kill_at(empty_database_url, empty_database, [3, 60], before=SchemaState.BEHIND)
    assert await _upgrade_in_a_process(empty_database_url, killed_at=-1)
    assert (await inspect_schema(empty_database)).state is SchemaState.CURRENT
    assert await empty_database.fetch("SELECT id, name, version, principal_id FROM api_keys") == [
        ("key_1", "kept", 1, None)
    ]


@pytest.mark.heavy
@pytest.mark.timeout(1800)
async def test_upgrade_can_be_killed_at_each_of_its_statements(
    empty_database_url: str, empty_database: Database, tmp_path: Path
) -> None:
    await _begin_at_the_first_version(empty_database, tmp_path)
    at = 0
    while True:
        at += 1
        if await _upgrade_in_a_process(empty_database_url, killed_at=at) is not None:
            break
        assert (await inspect_schema(empty_database)).state is SchemaState.BEHIND, f"statement {at}"
    assert at > 60
    assert (await inspect_schema(empty_database)).state is SchemaState.CURRENT
    assert await empty_database.fetch("SELECT id FROM api_keys") == [("key_1",)]


async def test_database_that_is_further_than_it_says_is_refused_and_left_alone(database: Database) -> None:
    before = known_versions()[-2]
    async with database.transaction() as transaction:
        await transaction.execute("UPDATE alembic_version SET version_num = :before", {"before": before})
    with pytest.raises(DatabaseError, match="is as it was"):
        await ensure_current(database)
    assert await database.fetch("SELECT version_num FROM alembic_version") == [(before,)]


async def test_database_that_is_less_far_than_it_says_is_refused(database: Database) -> None:
    async with database.transaction() as transaction:
        await transaction.execute("DROP TABLE audit_events")
        await transaction.execute("DROP TABLE leases")
    with pytest.raises(SchemaError, match="audit_events, leases are missing"):
        await ensure_current(database)


async def test_two_starts_at_once_of_which_one_is_killed_end_with_one_schema(empty_database_url: str) -> None:
    _, finished = await asyncio.gather(
        _upgrade_in_a_process(empty_database_url, killed_at=30),  # unless it finds the work done
        _upgrade_in_a_process(empty_database_url, killed_at=-1),
    )
    assert finished is not None
    database = open_database(empty_database_url)
    assert (await inspect_schema(database)).state is SchemaState.CURRENT
    assert await database.fetch("SELECT COUNT(*) FROM organisations") == [(1,)]
    await database.aclose()
