"""Reading a chain out of the database, in batches, and verifying it."""

import asyncio
from collections.abc import AsyncIterator, Mapping

from mainstay.kit.database import Database, Dialect, Row
from mainstay.kit.errors import NotFoundError
from mainstay.platform.audit.chain import GENESIS
from mainstay.platform.audit.signing import Checkpoint, PublicKeys
from mainstay.platform.audit.verify import ChainCheck, Entry, Report

BATCH_ROWS = 2000
_AT_ONCE = 250
"""Events that are yielded at once: a server that verifies answers calls meanwhile."""
COLUMNS = {
    # As bytes: a damaged file may hold what is no text, which must be found, not fail the search.
    Dialect.SQLITE: (
        "sequence, at_ms, CAST(action AS BLOB), CAST(actor_id AS BLOB), CAST(target_id AS BLOB), "
        "CAST(body AS BLOB), previous_hash, hash"
    ),
    Dialect.POSTGRESQL: "sequence, at_ms, action, actor_id, target_id, body, previous_hash, hash",
}
_ENTRIES = (
    "SELECT {} FROM audit_events "
    "WHERE organisation_id = :organisation_id AND sequence > :after AND sequence <= :through "
    "ORDER BY sequence LIMIT :rows"
)
_CHECKPOINTS = (
    "SELECT organisation_id, through_sequence, hash, signed_at_ms, key_id, signature FROM audit_checkpoints "
    "WHERE organisation_id = :organisation_id AND through_sequence > :after AND through_sequence <= :through "
    "ORDER BY through_sequence"
)
_HEAD = "SELECT sequence, hash FROM audit_heads WHERE organisation_id = :organisation_id"
_BIGGEST = 2**63 - 1


async def organisations_with_events(database: Database) -> list[str]:
    """Return the ids of every organisation that anything in the audit log's tables is of."""
    rows = await database.fetch(
        "SELECT organisation_id FROM audit_heads UNION SELECT organisation_id FROM audit_events "
        "UNION SELECT organisation_id FROM audit_checkpoints"
    )
    return sorted(str(row[0]) for row in rows)


async def entries(database: Database, organisation_id: str, *, after: int, through: int) -> AsyncIterator[list[Entry]]:
    """Yield events in batches, in their order. Others get their turn after each."""
    sql = _ENTRIES.format(COLUMNS[database.dialect])
    while after < through:
        rows = await database.fetch(
            sql, {"organisation_id": organisation_id, "after": after, "through": through, "rows": BATCH_ROWS}
        )
        if not rows:
            return
        after = int(rows[-1][0])
        for first in range(0, len(rows), _AT_ONCE):
            yield [entry_of(row) for row in rows[first : first + _AT_ONCE]]
            await asyncio.sleep(0)


async def checkpoints(database: Database, organisation_id: str, *, after: int, through: int) -> list[Checkpoint]:
    """Return the checkpoints at events after `after` and not after `through`."""
    rows = await database.fetch(_CHECKPOINTS, {"organisation_id": organisation_id, "after": after, "through": through})
    return [checkpoint_of(row) for row in rows]


async def head_of(database: Database, organisation_id: str) -> tuple[int, bytes] | None:
    """Return sequence and hash of the last event as the head has it; None if there is no head."""
    rows = await database.fetch(_HEAD, {"organisation_id": organisation_id})
    return (int(rows[0][0]), bytes(rows[0][1])) if rows else None


async def verify_stored(
    database: Database,
    organisation_id: str,
    public_keys: PublicKeys,
    *,
    after: int = 0,
    events_max: int | None = None,
    anchors: Mapping[int, tuple[bytes, str]] | None = None,
) -> Report:
    """Verify an organisation's log while it grows: up to the event that was the last at the beginning.

    `after` begins at a later event, `events_max` ends earlier. Raises NotFoundError if there is no event `after`.
    """
    # Checkpoints before the head: an honest one is of an event that is there by then.
    begin = after or -_BIGGEST  # also what nobody numbers so
    claims = await checkpoints(database, organisation_id, after=begin, through=_BIGGEST)
    head = await head_of(database, organisation_id)
    newest = head[0] if head is not None else await _last_sequence(database, organisation_id)
    through = newest if events_max is None else min(newest, after + events_max)
    previous = await _hash_at(database, organisation_id, after)
    is_to_end = through == newest
    expected = {at: one for at, one in (anchors or {}).items() if at > after and (is_to_end or at <= through)}
    check = ChainCheck(organisation_id, public_keys, after=after, previous=previous, anchors=expected)
    check.expect(one for one in claims if is_to_end or one.through_sequence <= through)
    async for batch in entries(database, organisation_id, after=begin, through=through):
        check.add(batch)
    if is_to_end:
        await _compare_end(database, organisation_id, check, head)
    return check.report()


def entry_of(row: Row) -> Entry:
    """Make an entry of the columns in the order of its members."""
    sequence, at_ms, action, actor_id, target_id, body, previous_hash, link = row
    target = None if target_id is None else _text(target_id)
    return Entry(
        sequence, at_ms, _text(action), _text(actor_id), target, _bytes(body), _bytes(previous_hash), _bytes(link)
    )


def checkpoint_of(row: Row) -> Checkpoint:
    """Make a checkpoint of the columns in the order of its members."""
    organisation_id, through_sequence, link, signed_at_ms, key_id, signature = row
    return Checkpoint(
        organisation_id=organisation_id,
        through_sequence=through_sequence,
        hash=_bytes(link),
        signed_at_ms=signed_at_ms,
        key_id=key_id,
        signature=_bytes(signature),
    )


async def _compare_end(
    database: Database, organisation_id: str, check: ChainCheck, head: tuple[int, bytes] | None
) -> None:
    """The log must end where its head says; events behind it are right only if the head has moved meanwhile."""
    if head is None:
        check.fault(check.last_sequence, "the log has no head: it was taken away")
        return
    check.end(*head, what="its head")
    last = await _last_sequence(database, organisation_id)
    now = await head_of(database, organisation_id)
    if last > head[0] and (now is None or now[0] < last):
        check.fault(last, f"it lies behind the head of the log, which is at {head[0]}")


async def _last_sequence(database: Database, organisation_id: str) -> int:
    rows = await database.fetch(
        "SELECT COALESCE(MAX(sequence), 0) FROM audit_events WHERE organisation_id = :organisation_id",
        {"organisation_id": organisation_id},
    )
    return int(rows[0][0])


async def _hash_at(database: Database, organisation_id: str, sequence: int) -> bytes:
    if not sequence:
        return GENESIS
    rows = await database.fetch(
        "SELECT hash FROM audit_events WHERE organisation_id = :organisation_id AND sequence = :sequence",
        {"organisation_id": organisation_id, "sequence": sequence},
    )
    if not rows:
        raise NotFoundError(f"The audit log has no event {sequence}; begin after one that it has.", param="after")
    return bytes(rows[0][0])


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)
