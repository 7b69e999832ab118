"""Finding events: by action, actor, target and time, a page at a time."""

from dataclasses import dataclass

from mainstay.kit.database import Database, Value
from mainstay.kit.errors import NotFoundError
from mainstay.platform.audit.signing import Checkpoint
from mainstay.platform.audit.stored import COLUMNS, checkpoint_of, entry_of
from mainstay.platform.audit.verify import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events: those that fit all that is given."""

    action: str | None = None
    """`user.created`, or `user` for all that begin so."""
    actor: str | None = None
    target: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    """Not this one any more."""

    def described(self) -> dict[str, str | int]:
        """Return what is given."""
        said = {
            "action": self.action,
            "actor": self.actor,
            "target": self.target,
            "since_ms": self.since_ms,
            "until_ms": self.until_ms,
        }
        return {name: value for name, value in said.items() if value is not None}

    def condition(self) -> tuple[str, dict[str, Value]]:
        """Return the end of a WHERE, and its values."""
        parts = [_CONDITIONS[name] for name in self.described()]
        values: dict[str, Value] = dict(self.described())
        if self.action is not None:
            values |= {"action_start": self.action + ".", "action_length": len(self.action) + 1}
        return "".join(" AND " + part for part in parts), values


EVERYTHING = EventFilter()
_CONDITIONS = {
    "action": "(action = :action OR substr(action, 1, :action_length) = :action_start)",
    "actor": "actor_id = :actor",
    "target": "target_id = :target",
    "since_ms": "at_ms >= :since_ms",
    "until_ms": "at_ms < :until_ms",
}


async def find_events(
    database: Database,
    organisation_id: str,
    wanted: EventFilter = EVERYTHING,
    *,
    after: int | None = None,
    limit: int,
    is_descending: bool = False,
) -> list[Entry]:
    """Return up to `limit` events that follow the one with the sequence `after` in the order that is asked for."""
    condition, values = wanted.condition()
    sign, order = ("<", "DESC") if is_descending else (">", "ASC")
    position = "" if after is None else f" AND sequence {sign} :after"
    rows = await database.fetch(
        f"SELECT {COLUMNS[database.dialect]} FROM audit_events WHERE organisation_id = :organisation_id"  # noqa: S608 - constants only
        f"{condition}{position} ORDER BY sequence {order} LIMIT :rows",
        values | {"organisation_id": organisation_id, "after": after, "rows": limit},
    )
    return [entry_of(row) for row in rows]


async def find_checkpoints(
    database: Database, organisation_id: str, *, after: int | None = None, limit: int, is_descending: bool = False
) -> list[Checkpoint]:
    """Return up to `limit` checkpoints that follow the one at the event `after`."""
    sign, order = ("<", "DESC") if is_descending else (">", "ASC")
    position = "" if after is None else f" AND through_sequence {sign} :after"
    rows = await database.fetch(
        "SELECT organisation_id, through_sequence, hash, signed_at_ms, key_id, signature FROM audit_checkpoints "  # noqa: S608 - constants only
        f"WHERE organisation_id = :organisation_id{position} ORDER BY through_sequence {order} LIMIT :rows",
        {"organisation_id": organisation_id, "after": after, "rows": limit},
    )
    return [checkpoint_of(row) for row in rows]


async def get_event(database: Database, organisation_id: str, sequence: int) -> Entry:
    """Return one event. Raises NotFoundError."""
    found = await find_events(database, organisation_id, after=sequence - 1, limit=1)
    if not found or found[0].sequence != sequence:
        raise NotFoundError(f"There is no audit event {sequence}.")
    return found[0]
