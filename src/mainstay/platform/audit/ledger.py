"""Appends events to an organisation's chain, in the transaction of the act that they tell of."""

from collections.abc import Sequence

from mainstay.kit.clock import Clock
from mainstay.kit.database import Transaction, Value
from mainstay.platform.audit.chain import GENESIS, canonical_body, event_hash
from mainstay.platform.audit.events import Act, Event

_BEGIN = (
    "INSERT INTO audit_heads (organisation_id, sequence, hash) VALUES (:organisation_id, 0, :hash) "
    "ON CONFLICT (organisation_id) DO NOTHING"
)
# The update locks the row until the commit: a chain has one writer at a time, on either database.
_TAKE = (
    "UPDATE audit_heads SET sequence = sequence + :count WHERE organisation_id = :organisation_id "
    "RETURNING sequence, hash"
)
_ADVANCE = "UPDATE audit_heads SET hash = :hash WHERE organisation_id = :organisation_id"
_APPEND = (
    "INSERT INTO audit_events "
    "(organisation_id, sequence, at_ms, action, actor_id, target_id, body, previous_hash, hash) "
    "VALUES (:organisation_id, :sequence, :at_ms, :action, :actor_id, :target_id, :body, :previous_hash, :hash)"
)


class Ledger:
    """Writes the audit log. An act whose event cannot be written is rolled back with it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def append(self, transaction: Transaction, act: Act, organisation_id: str, events: Sequence[Event]) -> None:
        """Append `events` in their order. Do it last in the transaction: the chain waits for its end."""
        if not events:
            return
        values: dict[str, Value] = {"organisation_id": organisation_id, "hash": GENESIS, "count": len(events)}
        await transaction.execute(_BEGIN, values)
        ((last, previous),) = await transaction.fetch(_TAKE, values)
        previous = bytes(previous)
        rows = []
        for sequence, event in enumerate(events, int(last) - len(events) + 1):
            at_ms = int(self._clock.wall() * 1000)
            body = canonical_body(act, event, organisation_id=organisation_id, sequence=sequence, at_ms=at_ms)
            target_id = event.target.id if event.target is not None else None
            link = event_hash(previous, body)
            rows.append(
                (
                    organisation_id,
                    sequence,
                    at_ms,
                    event.action,
                    act.actor.id,
                    target_id,
                    body.decode(),
                    previous,
                    link,
                )
            )
            previous = link
        await transaction.execute_many(_APPEND, rows)
        await transaction.execute(_ADVANCE, {"organisation_id": organisation_id, "hash": previous})
