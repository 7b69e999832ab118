"""The installation's database, for commands that read or change it without going through the server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from mainstay.cli.output import Output
from mainstay.kit import control
from mainstay.kit.database import Database, open_database
from mainstay.kit.database.sqlite import SQLiteDatabase
from mainstay.kit.errors import MainstayError, NotFoundError
from mainstay.migrations import SchemaState, ensure_current, inspect_schema
from mainstay.settings import Settings
from mainstay.supervisor.paths import control_path

_NOTICE_SECONDS = 5.0
_TOLD_PROBLEMS = 3


def database_settings(output: Output) -> Settings:
    """Load the settings for the database alone: keys and usage are there whatever else is wrong, and that is told."""
    settings = Settings.load(only=("database",), needs_keys=False)
    for problem in settings.problems[:_TOLD_PROBLEMS]:
        output.note(f"warning: {problem}")
    if len(settings.problems) > _TOLD_PROBLEMS:
        output.note(f"warning: {len(settings.problems)} problems in all; `mainstay deployments check` lists them.")
    return settings


@asynccontextmanager
async def installed_database(settings: Settings) -> AsyncIterator[Database]:
    """Open the database that the settings name, bring it up to date, and close it after the block."""
    database = open_database(settings.database_url.reveal())
    try:
        await ensure_current(database)
        yield database
    finally:
        await database.aclose()


@asynccontextmanager
async def existing_database(settings: Settings) -> AsyncIterator[Database]:
    """As `installed_database`, and make nothing. Raises NotFoundError if there is no installation."""
    await require_installation(settings)
    async with installed_database(settings) as database:
        yield database


async def require_installation(settings: Settings) -> None:
    """Raise NotFoundError unless the database is there and is more than empty."""
    database = open_database(settings.database_url.reveal())
    try:
        # Looking into a file that is not there would create it.
        is_there = not isinstance(database, SQLiteDatabase) or await asyncio.to_thread(database.path.exists)
        if not is_there or (await inspect_schema(database)).state is SchemaState.EMPTY:
            raise NotFoundError(
                f"There is no installation in {settings.home}; set MAINSTAY_HOME, or start one with `make run` or "
                "`mainstay serve`."
            )
    finally:
        await database.aclose()


async def tell_keys_changed(home: Path) -> None:
    """Tell a running server to look at the keys now. If none listens, nothing is lost: servers look every second."""
    with suppress(MainstayError, TimeoutError):
        async with asyncio.timeout(_NOTICE_SECONDS):
            connection = await control.connect(control_path(home), {})
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(connection.run())
                try:
                    await connection.call("keys_changed")
                finally:
                    await connection.aclose()
                    reading.cancel()
