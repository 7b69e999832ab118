"""Sealing what is stored: unreadable, and bound to the organisation and the place that it was sealed for."""

from dataclasses import dataclass
from typing import Protocol


class Sealer(Protocol):
    """Seals secrets for the database.

    `purpose` names the place, as "table.column/row_id": what was copied to another place does not open there.
    Seal before the transaction that stores the result, not in it: sealing may have to write a key first.
    """

    async def seal(self, organisation_id: str, plain: bytes, *, purpose: str) -> bytes:
        """Return `plain` sealed with the organisation's key."""
        ...

    async def open(self, organisation_id: str, sealed: bytes, *, purpose: str) -> bytes:
        """Return what was sealed for the same organisation and purpose. Raises MainstayError if it does not open."""
        ...


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column that holds sealed text, so that it can be sealed anew with another key.

    `key` are the columns of the table's primary key; `purpose` is a format of those, such as
    "providers.credentials/{id}", where bytes are in hexadecimal. The table has a column organisation_id.
    """

    table: str
    column: str
    key: tuple[str, ...]
    purpose: str
