"""What is asked of a list of resources, and what is found."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from mainstay.kit.database import Database, Row, Value
from mainstay.platform.identity.scim.filters import Compiler

COUNT_DEFAULT = 100
COUNT_MAX = 1000

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which resources: those that `filter` lets through, from `start_index` (from 1) up to `count` of them.

    `wants_links` is false when nobody looks at a user's groups, or at a group's members.
    """

    filter: str | None = None
    sort_by: str | None = None
    is_descending: bool = False
    start_index: int = 1
    count: int = COUNT_DEFAULT
    wants_links: bool = True
    is_lenient: bool = False
    """Attributes that the kind does not have are not an error: several kinds are searched."""


@dataclass(frozen=True, slots=True)
class Relation:
    """What is selected: `columns` of principals `p`, of one type, and of the table that is joined to them.

    `narrowing` is a condition on that table.
    """

    columns: str
    type: str
    joined: str
    narrowing: str = ""

    @property
    def principals(self) -> str:
        """The principals, and the WHERE that names the organisation."""
        return f"principals p WHERE p.organisation_id = :organisation_id AND p.type = '{self.type}'"

    @property
    def tables(self) -> str:
        """All tables, with the same WHERE."""
        return self.principals.replace(" WHERE ", f" JOIN {self.joined} WHERE ", 1) + self.narrowing

    @property
    def few(self) -> str:
        """The same, where the condition that follows names the ids: no index is read for the organisation."""
        return self.tables.replace("p.organisation_id =", "p.organisation_id || '' =", 1)

    @property
    def page(self) -> str:
        """A page of all of them in the order of their ids: first the page, then what is joined."""
        ids = f"SELECT p.* FROM {self.principals} ORDER BY p.id LIMIT :count OFFSET :skipped"  # noqa: S608 - constants
        return f"SELECT {self.columns} FROM ({ids}) p JOIN {self.joined} ORDER BY p.id"  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """One page, and how many there are in all."""

    total: int
    items: list[T] = field(default_factory=list)


async def select(
    database: Database, compiler: Compiler, relation: Relation, query: Query, *, organisation_id: str
) -> tuple[int, Sequence[Row]]:
    """Return how many rows there are in all, and those of the page.

    Raises InvalidFilterError or InvalidPathError.
    """
    is_whole = query.filter is None and query.sort_by is None and not relation.narrowing
    condition = "" if query.filter is None else f" AND {compiler.where(query.filter)}"
    tables = relation.few if compiler.is_lookup else relation.tables
    order = "p.id" if query.sort_by is None else compiler.order_by(query.sort_by, is_descending=query.is_descending)
    values: dict[str, Value] = {**compiler.values, "organisation_id": organisation_id}
    rows: Sequence[Row] = []
    if query.count:
        statement = (
            f"SELECT {relation.columns} FROM {tables}{condition} "  # noqa: S608 - constants and placeholders
            f"ORDER BY {order} LIMIT :count OFFSET :skipped"
        )
        rows = await database.fetch(
            relation.page if is_whole else statement,
            values | {"count": query.count, "skipped": query.start_index - 1},
        )
    if rows and len(rows) < query.count:
        return query.start_index - 1 + len(rows), rows
    counted_in = relation.principals if is_whole else tables
    counted = await database.fetch(f"SELECT count(*) FROM {counted_in}{condition}", values)  # noqa: S608 - as above
    return int(counted[0][0]), rows
