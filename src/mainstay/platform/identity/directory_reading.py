"""Reading what the directory keeps in memory: whole tables in pages, or the rows of some things."""

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from mainstay.kit.database import Database, Row, Value
from mainstay.platform.identity.change_feed import ChangeKind

PAGE_ROWS = 5000
"""Rows read at a time, so that other tasks get their turn: about 10 ms."""
_IDS_PER_QUERY = 400
# The indexes begin with the organisation: naming all of them lets both databases use the rest of the index.
_ANY_ORGANISATION = "organisation_id IN (SELECT id FROM organisations)"


@dataclass(frozen=True, slots=True)
class Source:
    """A table, in the order of `key`, whose columns come first in a row; `by` is what a change names."""

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    by: tuple[str, ...]


SOURCES: dict[ChangeKind, Source] = {
    ChangeKind.ORGANISATION: Source("organisations", ("id",), ("status",), ("id",)),
    ChangeKind.PROJECT: Source("projects", ("organisation_id", "id"), ("archived_at_ms",), ("id",)),
    ChangeKind.PRINCIPAL: Source("principals", ("id",), ("organisation_id", "type", "status"), ("id",)),
    ChangeKind.ROLE: Source("roles", ("id",), ("organisation_id", "name", "actions"), ("id",)),
    ChangeKind.MEMBERS: Source("group_members", ("group_id", "member_id"), (), ("member_id",)),
    ChangeKind.BINDINGS: Source(
        "role_bindings",
        ("id",),
        ("principal_id", "role_id", "scope_type", "scope_id", "expires_at_ms"),
        ("principal_id",),
    ),
    ChangeKind.GRANTS: Source(
        "grants",
        ("id",),
        ("organisation_id", "resource_type", "resource_id", "principal_id", "level", "expires_at_ms"),
        ("resource_type", "resource_id"),
    ),
    ChangeKind.POLICY: Source(
        "policies",
        ("id",),
        ("organisation_id", "scope_type", "scope_id", "key", "value", "is_locked"),
        ("scope_type", "scope_id"),
    ),
}
"""In the order in which they are read: what is referred to, first."""


async def read_all(database: Database, kind: ChangeKind) -> AsyncIterator[list[Row]]:
    """Yield every row of the kind, in pages. What is committed meanwhile may be in them or not."""
    source = SOURCES[kind]
    key = ", ".join(source.key)
    placeholders = ", ".join(f":after_{number}" for number in range(len(source.key)))
    after = ""
    values: dict[str, Value] = {"rows": PAGE_ROWS}
    while True:
        rows = await database.fetch(f"{_select(source)}{after} ORDER BY {key} LIMIT :rows", values)
        if rows:
            yield rows
        if len(rows) < PAGE_ROWS:
            return
        after = f" WHERE ({key}) > ({placeholders})"
        values |= {f"after_{number}": value for number, value in enumerate(rows[-1][: len(source.key)])}


async def read_some(database: Database, kind: ChangeKind, ids: Collection[str]) -> list[Row]:
    """Return the rows of the things that `ids` name, as changes name them."""
    source = SOURCES[kind]
    if len(source.by) == 1:
        return await _read_those(database, f"{_select(source)} WHERE {source.by[0]}", sorted(ids), {})
    type_column, id_column = source.by
    of_type: dict[str, list[str]] = {}
    for name in sorted(ids):
        type_, _, id_ = name.partition(":")
        of_type.setdefault(type_, []).append(id_)
    statement = f"{_select(source)} WHERE {_ANY_ORGANISATION} AND {type_column} = :type AND {id_column}"
    return [
        row
        for type_, named in of_type.items()
        for row in await _read_those(database, statement, named, {"type": type_})
    ]


async def _read_those(database: Database, statement: str, ids: Sequence[str], values: Mapping[str, Value]) -> list[Row]:
    """Run a statement that ends with a column, for the rows where the column is one of `ids`."""
    found: list[Row] = []
    for part in _parts(ids):
        named = {f"id_{number}": id_ for number, id_ in enumerate(part)}
        within = ", ".join(f":{name}" for name in named)
        found += await database.fetch(f"{statement} IN ({within})", {**values, **named})
    return found


def _select(source: Source) -> str:
    return f"SELECT {', '.join(source.key + source.columns)} FROM {source.table}"  # noqa: S608 - constants only


def _parts(ids: Sequence[str]) -> Iterator[list[str]]:
    remaining = iter(ids)
    while part := list(islice(remaining, _IDS_PER_QUERY)):
        yield part
