"""PostgreSQL through asyncpg's own pool."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import urlsplit

import asyncpg

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

CONNECTIONS_MAX = 8
CONNECT_TIMEOUT_SECONDS = 5.0


class PostgreSQLDatabase:
    """One PostgreSQL database."""

    dialect = Dialect.POSTGRESQL

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        self.url = url
        self._where = _without_password(url)
        self._timeout_seconds = timeout_seconds
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def fetch(self, sql: str, values: Values = NO_VALUES) -> list[Row]:
        """Run one reading statement. Raises DatabaseError."""
        async with self._connection() as connection:
            return await _PostgreSQLTransaction(connection).fetch(sql, values)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Read committed, all or nothing. Raises DatabaseError or ConflictError."""
        async with self._connection() as connection, connection.transaction():
            yield _PostgreSQLTransaction(connection)

    async def aclose(self) -> None:
        """Close every connection, by force if they are still busy after the timeout."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
        with _translated(self._where):
            pool = await self._open_pool()
            async with pool.acquire(timeout=self._timeout_seconds) as connection:
                yield connection

    async def _open_pool(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self.url,
                    min_size=0,
                    max_size=CONNECTIONS_MAX,
                    timeout=CONNECT_TIMEOUT_SECONDS,
                    command_timeout=self._timeout_seconds,
                )
            return self._pool


class _PostgreSQLTransaction:
    """A connection that understands `:name` placeholders."""

    def __init__(self, connection: asyncpg.pool.PoolConnectionProxy) -> None:
        self._connection = connection

    async def fetch(self, sql: str, values: Values = NO_VALUES) -> list[Row]:
        statement, names = _numbered(sql)
        return [tuple(row) for row in await self._connection.fetch(statement, *_in_order(names, values))]

    async def execute(self, sql: str, values: Values = NO_VALUES) -> int:
        statement, names = _numbered(sql)
        tag: str = await self._connection.execute(statement, *_in_order(names, values))
        count = tag.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        statement, _ = _numbered(sql)
        await self._connection.executemany(statement, rows)


def _numbered(sql: str) -> tuple[str, list[str]]:
    """Replace `:name` by `$1`, `$2`, …, the same name by the same number; return the names in order."""
    numbers: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f"${numbers.setdefault(match[1], len(numbers) + 1)}"

    return PLACEHOLDER.sub(number, sql), list(numbers)


def _in_order(names: Sequence[str], values: Values) -> list[Value]:
    return [values[name] for name in names]


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname or 'a local socket'}{parts.path}"


@contextmanager
def _translated(where: str) -> Iterator[None]:
    """Turn the driver's exceptions into ours, in one place."""
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        raise RowRefusedError(f"The database at {where} refused a row: {error}.") from error
    except TimeoutError as error:
        raise DatabaseError(f"The database at {where} did not answer in time. Check that it runs.") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise DatabaseError(f"The database at {where} failed: {error}. Check that it runs, then try again.") from error
