"""SQLite in WAL mode: one connection that writes, a few that read.

Every connection runs on its own thread (aiosqlite). Commits are synchronous=FULL: they are few, because usage
is recorded in batches, and an acknowledged change survives a power cut.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import aiosqlite

from mainstay.kit.database.interface import (
    NO_VALUES,
    PLACEHOLDER,
    DatabaseError,
    Dialect,
    Row,
    RowRefusedError,
    Transaction,
    Value,
    Values,
)

READERS_MAX = 4
BUSY_TIMEOUT_SECONDS = 10.0
JOURNAL = "PRAGMA journal_mode = WAL"
SYNCHRONOUS = "PRAGMA synchronous = FULL"
"""What is committed is on the disk. A test cuts the power at every write with these, and with less."""
_SWITCH_PAUSE_SECONDS = 0.02


class SQLiteDatabase:
    """A SQLite file, created with its folder when first needed."""

    dialect = Dialect.SQLITE

    def __init__(self, path: Path, *, timeout_seconds: float) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        self._timeout_seconds = timeout_seconds
        self._writer: aiosqlite.Connection | None = None
        self._writing = asyncio.Lock()
        self._idle_readers: list[aiosqlite.Connection] = []
        self._reading = asyncio.Semaphore(READERS_MAX)

    async def fetch(self, sql: str, values: Values = NO_VALUES) -> list[Row]:
        """Run one reading statement. Raises DatabaseError."""
        async with self._reader() as connection:
            return await self._bounded(connection, sql, values)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Write, all or nothing. Raises DatabaseError or ConflictError."""
        with _translated(self.path):
            async with asyncio.timeout(self._timeout_seconds):
                await self._writing.acquire()
            try:
                if self._writer is None:
                    self._writer = await self._connect(is_reader=False)
                async with _immediate(self._writer):
                    yield _SQLiteTransaction(self._writer)
            finally:
                self._writing.release()

    async def aclose(self) -> None:
        """Close every connection."""
        readers, self._idle_readers = self._idle_readers, []
        writer, self._writer = self._writer, None
        for connection in [*readers, *([writer] if writer else [])]:
            await connection.close()

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[aiosqlite.Connection]:
        with _translated(self.path):
            async with asyncio.timeout(self._timeout_seconds):
                await self._reading.acquire()
            try:
                connection = self._idle_readers.pop() if self._idle_readers else await self._connect(is_reader=True)
                try:
                    yield connection
                finally:
                    self._idle_readers.append(connection)
            finally:
                self._reading.release()

    async def _bounded(self, connection: aiosqlite.Connection, sql: str, values: Values) -> list[Row]:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return [tuple(row) for row in await connection.execute_fetchall(sql, dict(values))]
        except (TimeoutError, asyncio.CancelledError):
            # The statement runs on in its thread; the connection goes back to the pool only when it has stopped.
            await connection.interrupt()
            raise

    async def _connect(self, *, is_reader: bool) -> aiosqlite.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Created before SQLite would, for its mode: the files beside it (-wal, -shm) inherit it. An existing file
        # is never opened here: closing it again would drop the locks of every connection of this process (POSIX),
        # and the next process to leave would then delete the log that we go on writing to.
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = aiosqlite.connect(self.path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)
        # As SQLAlchemy does: a connection that nobody closed must not keep a dying process alive.
        connection._thread.daemon = True  # noqa: SLF001 - aiosqlite 0.22 has no other way
        try:
            await connection
            await _switch_to_wal(connection)
            await connection.execute(SYNCHRONOUS)
            await connection.execute("PRAGMA foreign_keys = ON")
            if is_reader:
                await connection.execute("PRAGMA query_only = ON")
        except BaseException:
            await connection.close()
            raise
        return connection


async def _switch_to_wal(connection: aiosqlite.Connection) -> None:
    """Have the file keep a write-ahead log, as it does from then on.

    SQLite gives the switch up at once when another process is at it, without waiting as the connection's timeout says.
    """
    deadline = asyncio.get_running_loop().time() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            await connection.execute(JOURNAL)
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not is_busy or asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(_SWITCH_PAUSE_SECONDS)
        else:
            return


class _SQLiteTransaction:
    """The writing connection, between BEGIN and COMMIT."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, values: Values = NO_VALUES) -> list[Row]:
        return [tuple(row) for row in await self._connection.execute_fetchall(sql, dict(values))]

    async def execute(self, sql: str, values: Values = NO_VALUES) -> int:
        async with self._connection.execute(sql, dict(values)) as cursor:
            return cursor.rowcount

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        async with self._connection.executemany(PLACEHOLDER.sub("?", sql), rows):
            pass


@asynccontextmanager
async def _immediate(connection: aiosqlite.Connection) -> AsyncIterator[None]:
    """BEGIN IMMEDIATE … COMMIT; the connection has no open transaction afterwards, whatever happens."""
    try:
        await connection.execute("BEGIN IMMEDIATE")
        yield
        await connection.execute("COMMIT")
    except BaseException:
        # A cancelled statement still runs in the thread: queue behind it before asking what it left open.
        await connection.execute_fetchall("SELECT 1")
        if connection.in_transaction:
            await connection.execute("ROLLBACK")
        raise


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn the driver's exceptions into ours, in one place."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise RowRefusedError(f"The database {path} refused a row: {error}.") from error
    except TimeoutError as error:
        raise DatabaseError(f"The database {path} did not answer in time.") from error
    except (sqlite3.Error, OSError) as error:
        raise DatabaseError(f"The database {path} failed: {error}. Check the disk, then try again.") from error
