"""Databases for every test that asks for one: each test runs on SQLite and on PostgreSQL."""

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mainstay.kit.database import Database, open_database
from mainstay.migrations import ensure_current
from mainstay.testing.postgres import Postgres, running_postgres

DIALECTS = ["sqlite", "postgresql"]


def _run_on(url: str, statement: str) -> None:
    import asyncpg

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


async def _migrate(url: str) -> None:
    database = open_database(url)
    try:
        await ensure_current(database)
    finally:
        await database.aclose()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server, started by the first test that needs it."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_postgres(postgres: Postgres) -> str:
    """The name of a migrated database that tests copy."""
    _run_on(postgres.url(), "CREATE DATABASE migrated")
    asyncio.run(_migrate(postgres.url("migrated")))
    return "migrated"


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database file that tests copy."""
    path = tmp_path_factory.mktemp("migrated") / "mainstay.db"
    asyncio.run(_migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def empty_database_url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a new database without any table."""
    if dialect == "sqlite":
        yield f"sqlite:///{tmp_path / 'mainstay.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = f"test_{uuid.uuid4().hex}"
    _run_on(server.url(), f"CREATE DATABASE {name}")
    yield server.url(name)
    _run_on(server.url(), f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a new, migrated database."""
    if dialect == "sqlite":
        path = tmp_path / "mainstay.db"
        shutil.copy(request.getfixturevalue("migrated_sqlite"), path)
        yield f"sqlite:///{path}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    template = request.getfixturevalue("migrated_postgres")
    name = f"test_{uuid.uuid4().hex}"
    _run_on(server.url(), f"CREATE DATABASE {name} TEMPLATE {template}")
    yield server.url(name)
    _run_on(server.url(), f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A new, migrated database."""
    database = open_database(database_url)
    yield database
    await database.aclose()


@pytest.fixture
async def empty_database(empty_database_url: str) -> AsyncIterator[Database]:
    """A new database without any table."""
    database = open_database(empty_database_url)
    yield database
    await database.aclose()
