"""What callers see of a database, whichever it is."""

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol

from mainstay.kit.errors import ConflictError, UnavailableError

Value = str | int | float | bytes | None
Values = Mapping[str, Value]
# Any: the types of the columns are known to the query alone.
Row = tuple[Any, ...]

PLACEHOLDER = re.compile(r"(?<!:):([a-z_][a-z0-9_]*)")
"""`:name` in a statement; `::` is PostgreSQL's cast."""

NO_VALUES: Values = MappingProxyType({})


class Dialect(StrEnum):
    """The kinds of database."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


class DatabaseError(UnavailableError):
    """The database did not do what was asked: unreachable, locked, full, or the statement is wrong.

    The driver's own exception is the cause. Nothing of a transaction that raised this was kept. The message says where
    the database is, which is no caller's concern.
    """

    code = "database_unavailable"

    @property
    def told(self) -> str:
        """What callers are told."""
        return "The database of this service cannot be used at the moment. Try again; the server's log says why."


class RowRefusedError(ConflictError):
    """The database refused a row that contradicts others. Its own words are for the operator."""

    @property
    def told(self) -> str:
        """What callers are told."""
        return "What was asked for contradicts what is there by now; look again, then try again."


class Transaction(Protocol):
    """All or nothing. Placeholders are `:name`."""

    async def fetch(self, sql: str, values: Values = NO_VALUES) -> list[Row]:
        """Run one statement and return its rows (also those of RETURNING)."""
        ...

    async def execute(self, sql: str, values: Values = NO_VALUES) -> int:
        """Run one statement and return the number of rows that it changed."""
        ...

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        """Run one statement for each of `rows`, which hold the values of its placeholders in their order."""
        ...


class Database(Protocol):
    """Connections to one database, opened when first needed."""

    @property
    def dialect(self) -> Dialect:
        """Which of the two it is."""
        ...

    @property
    def url(self) -> str:
        """Where it is, as the operator wrote it; may hold a password."""
        ...

    async def fetch(self, sql: str, values: Values = NO_VALUES) -> list[Row]:
        """Run one reading statement outside any transaction. Raises DatabaseError."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Begin; commit at the end of the block, roll back if it raises. Raises DatabaseError or ConflictError.

        On SQLite writers wait for one another from the start of the block (BEGIN IMMEDIATE).
        """
        ...

    async def aclose(self) -> None:
        """Close every connection; safe to call twice."""
        ...
