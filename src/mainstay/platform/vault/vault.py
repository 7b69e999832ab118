"""The vault: seals secrets for the database with a data key of their organisation, which a root key seals in turn."""

import os

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Dialect, Row, Transaction, Value
from mainstay.kit.ids import new_sortable_id
from mainstay.platform.vault.root_keys import MissingRootKeyError, RootKeys
from mainstay.platform.vault.sealing import KEY_BYTES, BrokenSealError, open_text, seal_text

FORMAT = b"\x01"
_PREFIX = "dkey_"
_ID_BYTES = 16
_HEADER_BYTES = len(FORMAT) + _ID_BYTES
_CURRENT = (
    "SELECT id, root_key_id, wrapped FROM data_keys "
    "WHERE organisation_id = :organisation_id AND retired_at_ms IS NULL ORDER BY id DESC LIMIT 1"
)
_BY_ID = "SELECT id, root_key_id, wrapped FROM data_keys WHERE organisation_id = :organisation_id AND id = :id"
_INSERT = (
    "INSERT INTO data_keys (id, organisation_id, root_key_id, wrapped, created_at_ms) "
    "VALUES (:id, :organisation_id, :root_key_id, :wrapped, :created_at_ms)"
)


class Vault:
    """Seals and opens. Call it outside of transactions: the first secret of an organisation makes its data key.

    A sealed text is a format byte, the id of its data key, nonce, ciphertext and tag. It is bound to its organisation
    and to its purpose, so that one that is copied into another row does not open there.
    """

    def __init__(self, database: Database, root_keys: RootKeys, clock: Clock) -> None:
        self._database = database
        self._root_keys = root_keys
        self._clock = clock
        self._opened: dict[tuple[str, str], bytes] = {}

    async def seal(self, organisation_id: str, plain: bytes, *, purpose: str) -> bytes:
        """Return `plain` sealed for the organisation and the purpose, which is "table.column/row_id".

        Raises MissingRootKeyError and DatabaseError.
        """
        # Asked each time, which is cheap beside the write that follows: a data key may have been retired meanwhile.
        rows = await self._database.fetch(_CURRENT, {"organisation_id": organisation_id})
        row = rows[0] if rows else await self._first_data_key(organisation_id)
        header = FORMAT + bytes.fromhex(str(row[0]).removeprefix(_PREFIX))
        key = await self._open_data_key(organisation_id, row)
        return header + seal_text(key, plain, context=_context(header, organisation_id, purpose))

    async def open(self, organisation_id: str, sealed: bytes, *, purpose: str) -> bytes:
        """Return what was sealed for the same organisation and purpose.

        Raises BrokenSealError, MissingRootKeyError and DatabaseError.
        """
        header = bytes(sealed[:_HEADER_BYTES])
        data_key_id = sealed_by(header)
        key = self._opened.get((organisation_id, data_key_id))
        if key is None:
            rows = await self._database.fetch(_BY_ID, {"organisation_id": organisation_id, "id": data_key_id})
            if not rows:
                raise BrokenSealError(
                    f"The secret {purpose} of organisation '{organisation_id}' is sealed with data key {data_key_id}, "
                    "which that organisation does not have; enter the secret again, or restore a complete backup."
                )
            key = await self._open_data_key(organisation_id, rows[0])
        return open_text(key, bytes(sealed[_HEADER_BYTES:]), context=_context(header, organisation_id, purpose))

    async def _first_data_key(self, organisation_id: str) -> Row:
        async with self._database.transaction() as transaction:
            await lock_data_keys(transaction, self._database.dialect)
            rows = await transaction.fetch(_CURRENT, {"organisation_id": organisation_id})
            if rows:
                return rows[0]
            if not self._root_keys.ids():
                await self._first_root_key(transaction)
            return await add_data_key(transaction, self._root_keys, organisation_id, self._clock)

    async def _first_root_key(self, transaction: Transaction) -> None:
        """Create it, unless the database knows of root keys: then they are missing here."""
        known = await transaction.fetch("SELECT DISTINCT root_key_id FROM data_keys ORDER BY root_key_id")
        if known:
            ids = ", ".join(str(row[0]) for row in known)
            raise MissingRootKeyError(
                f"The database has secrets sealed with the root key {ids}, and {self._root_keys.folder} has none. "
                "Restore the folder from a backup, or copy it from the server that made it."
            )
        self._root_keys.add()

    async def _open_data_key(self, organisation_id: str, row: Row) -> bytes:
        data_key_id, root_key_id, wrapped = row
        found = self._opened.get((organisation_id, data_key_id))
        if found is None:
            context = wrapping_context(organisation_id, data_key_id)
            found = await self._root_keys.unwrap(root_key_id, bytes(wrapped), context=context)
            self._opened[organisation_id, data_key_id] = found
        return found


async def lock_data_keys(transaction: Transaction, dialect: Dialect) -> None:
    """Have nobody else make or change data keys until the end of the transaction; SQLite has one writer anyway."""
    if dialect is Dialect.POSTGRESQL:
        await transaction.execute("LOCK TABLE data_keys IN SHARE ROW EXCLUSIVE MODE")


async def add_data_key(transaction: Transaction, root_keys: RootKeys, organisation_id: str, clock: Clock) -> Row:
    """Make a data key; return its id, its root key's id and its sealed bytes. The data keys must be locked."""
    data_key_id = new_sortable_id(_PREFIX)
    context = wrapping_context(organisation_id, data_key_id)
    root_key_id, wrapped = await root_keys.wrap(os.urandom(KEY_BYTES), context=context)
    values: dict[str, Value] = {
        "id": data_key_id,
        "organisation_id": organisation_id,
        "root_key_id": root_key_id,
        "wrapped": wrapped,
        "created_at_ms": int(clock.wall() * 1000),
    }
    await transaction.execute(_INSERT, values)
    return (data_key_id, root_key_id, wrapped)


def sealed_by(sealed: bytes) -> str:
    """Return the id of the data key that a text is sealed with. Raises BrokenSealError if it is no sealed text."""
    if len(sealed) < _HEADER_BYTES or not sealed.startswith(FORMAT):
        raise BrokenSealError("A sealed text is of an unknown format or cut off; restore a backup.")
    return _PREFIX + sealed[len(FORMAT) : _HEADER_BYTES].hex()


def wrapping_context(organisation_id: str, data_key_id: str) -> bytes:
    """Return what binds a sealed data key to its row."""
    return b"\0".join((b"mainstay data key 1", organisation_id.encode(), data_key_id.encode()))


def _context(header: bytes, organisation_id: str, purpose: str) -> bytes:
    return b"\0".join((b"mainstay secret 1", header, organisation_id.encode(), purpose.encode()))
