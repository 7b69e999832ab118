"""Runs the migrations through Alembic: one process at a time, all of them or none.

Every pending migration runs in one transaction, DDL included (both databases can), so a killed upgrade leaves
the database as it was and the next start does it again. SQLite's write lock and PostgreSQL's advisory lock keep
two processes apart; the second one finds nothing left to do.
"""

from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from mainstay.kit.database import Database, DatabaseError, Dialect
from mainstay.migrations.schema import VERSIONS, SchemaState, inspect_schema

LOCK_TIMEOUT_SECONDS = 120
ADVISORY_LOCK = 0x6D61696E73746179  # "mainstay"


async def upgrade(database: Database, versions: Path = VERSIONS) -> None:
    """Bring `database` to the newest of `versions`. Raises DatabaseError, or what a migration raises."""
    # First without the lock: a database that cannot be upgraded is refused before anything waits. On SQLite this
    # also switches a new file to WAL, without which the second look below could not read past our own lock.
    await inspect_schema(database, versions)
    engine = _engine(database)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_take_turn)
            # Under the lock, by the same rules: another process may have been here, or be newer than we are.
            if (await inspect_schema(database, versions)).state is not SchemaState.CURRENT:
                await connection.run_sync(_run, versions)
    except DBAPIError as error:
        raise DatabaseError(f"The database could not be upgraded and is as it was: {error.orig}.") from error
    except OSError as error:
        raise DatabaseError(f"The database to upgrade cannot be reached: {error}.") from error
    finally:
        await engine.dispose()


def _run(connection: Connection, versions: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", str(versions))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _engine(database: Database) -> AsyncEngine:
    if database.dialect is Dialect.POSTGRESQL:

        async def connect() -> asyncpg.Connection:
            return await asyncpg.connect(database.url, timeout=LOCK_TIMEOUT_SECONDS)

        return create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    engine = create_async_engine(
        database.url.replace("sqlite:", "sqlite+aiosqlite:", 1),
        poolclass=NullPool,
        connect_args={"timeout": LOCK_TIMEOUT_SECONDS, "isolation_level": None},
    )
    event.listen(engine.sync_engine, "begin", _begin_immediate)
    return engine


def _begin_immediate(connection: Connection) -> None:
    # Python's sqlite3 would begin only before the first INSERT, that is after the DDL.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _take_turn(connection: Connection) -> None:
    if connection.dialect.name == Dialect.POSTGRESQL:
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ADVISORY_LOCK})
