"""The schema's states, and upgrades that are killed, doubled or from the future."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from mainstay.kit.database import Database, DatabaseError, open_database
from mainstay.migrations import SchemaError, SchemaState, ensure_current, inspect_schema, require_current
from mainstay.migrations.schema import TABLES, VERSIONS, known_versions
from mainstay.migrations.upgrade import upgrade

SECOND = """
import time
import sqlalchemy as sa
from alembic import op
revision = "9000"
down_revision = "0005"
def upgrade():
    op.create_table("second", sa.Column("id", sa.Text, primary_key=True))
    {then}
"""


def _versions(folder: Path, then: str) -> Path:
    versions = folder / "versions"
    versions.mkdir()
    for path in VERSIONS.glob("v_*.py"):
        (versions / path.name).write_text(path.read_text())
    (versions / "v_9000_second.py").write_text(SECOND.format(then=then))
    return versions


async def test_new_database_is_migrated_with_one_default_organisation_and_project(empty_database: Database) -> None:
    found = await ensure_current(empty_database)
    assert found.state is SchemaState.EMPTY
    assert await empty_database.fetch("SELECT id FROM organisations") == [("org_default",)]
    assert await empty_database.fetch("SELECT organisation_id, id FROM projects") == [("org_default", "proj_default")]
    assert (await ensure_current(empty_database)).state is SchemaState.CURRENT


async def test_every_table_of_tenants_has_organisation_and_project(database: Database) -> None:
    for table in ("api_keys", "usage_records"):
        await database.fetch(f"SELECT organisation_id, project_id FROM {table}")


async def test_migrations_leave_exactly_the_tables_that_the_code_describes(database: Database) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from mainstay.migrations.tables import METADATA
    from mainstay.migrations.upgrade import _engine

    engine = _engine(database)
    async with engine.connect() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync), METADATA)  # type: ignore[arg-type]
        )
    await engine.dispose()
    assert differences == []
    assert set().union(*(metadata.tables for metadata in METADATA)) == TABLES


def test_versions_follow_one_another_as_alembic_sees_them() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(VERSIONS.parent))
    config.set_main_option("path_separator", "os")
    walked = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert walked[::-1] == known_versions()


def test_looking_at_a_current_schema_imports_neither_alembic_nor_sqlalchemy(migrated_sqlite: Path) -> None:
    code = f"""
import asyncio, sys
from mainstay.kit.database import open_database
from mainstay.migrations import ensure_current
async def look():
    database = open_database("sqlite:///{migrated_sqlite}")
    await ensure_current(database)
    await database.aclose()
asyncio.run(look())
import mainstay.platform.identity.keyring, mainstay.platform.metering.recorder, mainstay.platform.metering.usage
print(sorted({{"alembic", "sqlalchemy", "asyncpg"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


async def test_database_of_a_newer_program_is_refused(database: Database) -> None:
    async with database.transaction() as transaction:
        await transaction.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaError, match="newer Mainstay"):
        await ensure_current(database)
    with pytest.raises(SchemaError, match="newer Mainstay"):
        await upgrade(database)


async def test_two_versions_at_once_are_refused_as_half_migrated(database: Database) -> None:
    async with database.transaction() as transaction:
        await transaction.execute("INSERT INTO alembic_version VALUES ('0000')")
    with pytest.raises(SchemaError, match="half migrated"):
        await ensure_current(database)


async def test_missing_table_at_the_newest_version_is_refused_by_name(database: Database) -> None:
    async with database.transaction() as transaction:
        await transaction.execute("DROP TABLE usage_records")
    with pytest.raises(SchemaError, match="usage_records are missing"):
        await ensure_current(database)


async def test_tables_without_a_version_are_refused_and_left_alone(empty_database: Database) -> None:
    async with empty_database.transaction() as transaction:
        await transaction.execute("CREATE TABLE api_keys (id TEXT)")
    with pytest.raises(SchemaError, match="no schema version"):
        await ensure_current(empty_database)
    assert await empty_database.fetch("SELECT * FROM api_keys") == []


async def test_worker_refuses_a_database_that_is_behind(empty_database: Database) -> None:
    with pytest.raises(SchemaError, match="mainstay serve"):
        await require_current(empty_database)


async def test_unreachable_database_is_a_clear_error() -> None:
    database = open_database("postgresql://nobody@/none?host=/tmp/ms-no-such-folder")
    with pytest.raises(DatabaseError, match="Check that it runs"):
        await ensure_current(database)
    await database.aclose()


async def test_ten_processes_worth_of_upgrades_at_once_run_once(empty_database_url: str) -> None:
    databases = [open_database(empty_database_url) for _ in range(10)]
    await asyncio.gather(*(ensure_current(database) for database in databases))
    assert await databases[0].fetch("SELECT version_num FROM alembic_version") == [(known_versions()[-1],)]
    assert await databases[0].fetch("SELECT COUNT(*) FROM organisations") == [(1,)]
    for database in databases:
        await database.aclose()


async def test_failed_migration_leaves_the_database_as_it_was(database: Database, tmp_path: Path) -> None:
    versions = _versions(tmp_path, then="op.execute('SELECT * FROM no_such_table')")
    with pytest.raises(DatabaseError, match="is as it was"):
        await upgrade(database, versions)
    assert (await inspect_schema(database)).state is SchemaState.CURRENT
    with pytest.raises(DatabaseError):
        await database.fetch("SELECT * FROM second")


async def test_killed_migration_is_rolled_back_and_resumed(
    empty_database_url: str, empty_database: Database, tmp_path: Path
) -> None:
    versions = _versions(tmp_path, then="print('in the middle', flush=True); time.sleep(60)")
    code = f"""
import asyncio
from pathlib import Path
from mainstay.kit.database import open_database
from mainstay.migrations.upgrade import upgrade
asyncio.run(upgrade(open_database({empty_database_url!r}), Path({str(versions)!r})))
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"in the middle\n"
    finally:
        process.kill()
        await process.wait()
    assert (await inspect_schema(empty_database, versions)).state is SchemaState.EMPTY
    (versions / "v_9000_second.py").write_text(SECOND.format(then=""))
    await upgrade(empty_database, versions)
    assert await empty_database.fetch("SELECT * FROM second") == []
    assert (await inspect_schema(empty_database, versions)).state is SchemaState.CURRENT
