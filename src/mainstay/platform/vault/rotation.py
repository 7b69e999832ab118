"""Rotation: data keys sealed with a new root key, and secrets sealed with new data keys, while servers run.

What a server seals meanwhile with the old key stays readable, and is sealed anew by the next rotation: keys are
retired, not deleted. A root key's file is the operator's to remove, once nothing and no backup needs it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Row, Transaction, Value
from mainstay.kit.sealing import SealedColumn
from mainstay.platform.vault.root_keys import RootKeys
from mainstay.platform.vault.sealing import BrokenSealError
from mainstay.platform.vault.vault import Vault, add_data_key, lock_data_keys, sealed_by, wrapping_context

_BATCH_ROWS = 200
_KEYS = "SELECT id, organisation_id, root_key_id, wrapped FROM data_keys WHERE root_key_id <> :newest ORDER BY id"
_WRAP = "UPDATE data_keys SET root_key_id = :root_key_id, wrapped = :wrapped WHERE id = :id"
_RETIRE = (
    "UPDATE data_keys SET retired_at_ms = :now_ms "
    "WHERE organisation_id = :organisation_id AND retired_at_ms IS NULL AND id <> :id"
)

Record = Callable[[Transaction, str, dict[str, str]], Awaitable[None]]
"""Writes down, in a transaction, what was rotated of which organisation."""


@dataclass(frozen=True, slots=True)
class RootKeyUse:
    """A root key and what it seals."""

    id: str
    file: str | None
    """Where it is; None if it is missing here."""
    is_newest: bool
    data_keys: int


@dataclass(slots=True)
class Resealed:
    """What became of the secrets."""

    sealed_anew: int = 0
    up_to_date: int = 0
    unreadable: list[str] = field(default_factory=list)
    """The places of those that do not open."""


class Rotation:
    """Rotates keys. Safe to cut off at any time, and to do again."""

    def __init__(self, database: Database, root_keys: RootKeys, clock: Clock) -> None:
        self._database = database
        self._root_keys = root_keys
        self._clock = clock
        self._vault = Vault(database, root_keys, clock)

    async def root_keys_in_use(self) -> list[RootKeyUse]:
        """Return all root keys, those that are missing here too."""
        rows = await self._database.fetch("SELECT root_key_id, COUNT(*) FROM data_keys GROUP BY root_key_id")
        counts = {str(row[0]): int(row[1]) for row in rows}
        present = self._root_keys.ids()
        missing = sorted(counts.keys() - set(present))
        return [
            RootKeyUse(id_, self._file(id_), is_newest=present[-1:] == [id_], data_keys=counts.get(id_, 0))
            for id_ in [*missing, *present]
        ]

    async def rotate_root_key(self, record: Record) -> tuple[str, int]:
        """Add a root key and seal every data key with it; return its id and how many data keys there were.

        Raises MissingRootKeyError, with nothing changed but the new file, if a root key is not here.
        """
        newest = self._root_keys.add()
        async with self._database.transaction() as transaction:
            await lock_data_keys(transaction, self._database.dialect)
            rows = await transaction.fetch(_KEYS, {"newest": newest})
            for id_, organisation_id, root_key_id, wrapped in rows:
                context = wrapping_context(organisation_id, id_)
                plain = await self._root_keys.unwrap(root_key_id, bytes(wrapped), context=context)
                now_by, again = await self._root_keys.wrap(plain, context=context)
                await transaction.execute(_WRAP, {"id": id_, "root_key_id": now_by, "wrapped": again})
            for organisation_id in sorted({str(row[1]) for row in rows}):
                await record(transaction, organisation_id, {"root_key": newest})
        return newest, len(rows)

    async def rotate_data_keys(self, record: Record) -> int:
        """Give every organisation a new data key, which seals from now on; return how many there are."""
        rows = await self._database.fetch("SELECT DISTINCT organisation_id FROM data_keys ORDER BY organisation_id")
        for (organisation_id,) in rows:
            async with self._database.transaction() as transaction:
                await lock_data_keys(transaction, self._database.dialect)
                added = await add_data_key(transaction, self._root_keys, organisation_id, self._clock)
                now_ms = int(self._clock.wall() * 1000)
                values: dict[str, Value] = {"organisation_id": organisation_id, "id": added[0], "now_ms": now_ms}
                await transaction.execute(_RETIRE, values)
                await record(transaction, organisation_id, {"data_key": str(added[0])})
        return len(rows)

    async def reseal(self, columns: Iterable[SealedColumn]) -> Resealed:
        """Seal every secret anew that is not sealed with its organisation's current data key."""
        rows = await self._database.fetch("SELECT id FROM data_keys WHERE retired_at_ms IS NULL")
        current = {str(row[0]) for row in rows}
        done = Resealed()
        for column in columns:
            async for row in self._rows(column):
                await self._reseal(column, row, current, done)
        return done

    async def _reseal(self, column: SealedColumn, row: Row, current: set[str], done: Resealed) -> None:
        organisation_id, sealed, *values = row
        key = dict(zip(column.key, values, strict=True))
        purpose = column.purpose.format(**{name: _text(value) for name, value in key.items()})
        try:
            if sealed_by(bytes(sealed)) in current:
                done.up_to_date += 1
                return
            plain = await self._vault.open(organisation_id, bytes(sealed), purpose=purpose)
        except BrokenSealError:
            done.unreadable.append(purpose)
            return
        again = await self._vault.seal(organisation_id, plain, purpose=purpose)
        where = " AND ".join(f"{name} = :{name}" for name in column.key)
        async with self._database.transaction() as transaction:
            # Unless somebody has entered another secret meanwhile.
            await transaction.execute(
                f"UPDATE {column.table} SET {column.column} = :again WHERE {where} AND {column.column} = :sealed",  # noqa: S608 - constants only
                {**key, "again": again, "sealed": bytes(sealed)},
            )
        done.sealed_anew += 1

    async def _rows(self, column: SealedColumn) -> AsyncIterator[Row]:
        """Yield organisation, sealed text and primary key of every row that has one."""
        names = ", ".join(column.key)
        places = ", ".join(f":{name}" for name in column.key)
        after: dict[str, Value] = {}
        while True:
            position = f" AND ({names}) > ({places})" if after else ""
            rows = await self._database.fetch(
                f"SELECT organisation_id, {column.column}, {names} FROM {column.table} "  # noqa: S608 - constants only
                f"WHERE {column.column} IS NOT NULL{position} ORDER BY {names} LIMIT :rows",
                {**after, "rows": _BATCH_ROWS},
            )
            for row in rows:
                yield row
            if len(rows) < _BATCH_ROWS:
                return
            after = dict(zip(column.key, rows[-1][2:], strict=True))

    def _file(self, root_key_id: str) -> str | None:
        path = self._root_keys.path_of(root_key_id)
        return None if path is None else str(path)


def _text(value: Value) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
