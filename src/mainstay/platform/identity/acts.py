"""Writing down what an act did, in its own transaction: the audit log, what changed for the views in memory, and the
key by which a repeated request is known again.
"""

from collections.abc import Iterable, Sequence

from mainstay.kit.clock import Clock
from mainstay.kit.database import Transaction
from mainstay.kit.errors import ConflictError
from mainstay.platform.audit.events import Act, Event
from mainstay.platform.audit.ledger import Ledger
from mainstay.platform.identity.change_feed import Change, note_changes

_CLAIM = (
    "INSERT INTO idempotency_keys (organisation_id, caller_id, key, request_digest, target_id, created_at_ms) "
    "VALUES (:organisation_id, :caller_id, :key, :request_digest, :target_id, :created_at_ms) "
    "ON CONFLICT (organisation_id, caller_id, key) DO NOTHING RETURNING key"
)


class Acts:
    """Records acts. Call `record` once, as the last thing in the transaction of the act."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    async def record(
        self,
        transaction: Transaction,
        act: Act,
        organisation_id: str,
        *,
        events: Sequence[Event],
        changes: Iterable[Change] = (),
    ) -> None:
        """Write `events` to the organisation's audit log and `changes` to the change feed, with the act or not at all.

        Raises ConflictError when another request with the same idempotency key is being carried out.
        """
        if act.idempotency_key is not None:
            target = next((event.target for event in events if event.target is not None), None)
            claimed = await transaction.fetch(
                _CLAIM,
                {
                    "organisation_id": organisation_id,
                    "caller_id": act.actor.id,
                    "key": act.idempotency_key,
                    "request_digest": act.request_digest or b"",
                    "target_id": None if target is None else target.id,
                    "created_at_ms": int(self._clock.wall() * 1000),
                },
            )
            if not claimed:
                raise ConflictError(
                    "A request with this Idempotency-Key is carried out already; ask again for its answer."
                )
        # Always in this order, so that two acts cannot wait for each other.
        await self._ledger.append(transaction, act, organisation_id, events)
        await note_changes(transaction, changes)
