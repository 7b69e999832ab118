"""Pages of long lists, cut by the id of the last item: no offset to count, nothing skipped or shown twice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from mainstay.kit.database import Row, Value

LIMIT_DEFAULT = 20
LIMIT_MAX = 100

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which items: up to `limit` that follow the one with the id `after`, which need not exist any more."""

    limit: int = LIMIT_DEFAULT
    after: str | None = None
    is_descending: bool = False

    def clause(self, column: str = "id") -> str:
        """Return the end of a statement that has a WHERE already; `values` belongs to it.

        One row more than asked for is fetched, to know whether there are more.
        """
        sign, order = ("<", "DESC") if self.is_descending else (">", "ASC")
        after = "" if self.after is None else f" AND {column} {sign} :page_after"
        return f"{after} ORDER BY {column} {order} LIMIT :page_rows"

    def values(self) -> dict[str, Value]:
        """Return the values of the clause's placeholders."""
        values: dict[str, Value] = {"page_rows": self.limit + 1}
        return values if self.after is None else values | {"page_after": self.after}

    def cut(self, rows: Sequence[Row], make: Callable[[Row], T]) -> "Page[T]":
        """Make a page of the rows that were fetched."""
        return Page([make(row) for row in rows[: self.limit]], has_more=len(rows) > self.limit)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items of a list, and whether there are more behind them."""

    items: list[T]
    has_more: bool
