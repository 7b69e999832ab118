"""Finding events by several actors, actions, targets and projects at once, from either end."""

from collections.abc import Sequence
from dataclasses import dataclass

from mainstay.kit.database import Database, Value
from mainstay.platform.audit.stored import COLUMNS, entry_of
from mainstay.platform.audit.verify import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSearch:
    """Which events: those that fit all that is given, and of each list one."""

    actions: Sequence[str] | None = None
    actor_ids: Sequence[str] | None = None
    """Of who acts, or of the credential that is used."""
    target_ids: Sequence[str] | None = None
    project_ids: Sequence[str] | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    """Not this one any more."""

    def condition(self) -> tuple[str, dict[str, Value]]:
        """Return the end of a WHERE, and its values."""
        values: dict[str, Value] = {}
        clause = ""
        if self.actions is not None:
            clause += f" AND {_one_of('action', 'action', self.actions, values)}"
        if self.actor_ids is not None:
            said = _said("credential_id", "credential", self.actor_ids, values)
            clause += f" AND ({_one_of('actor_id', 'actor', self.actor_ids, values)} OR {said})"
        if self.target_ids is not None:
            clause += f" AND {_one_of('target_id', 'target', self.target_ids, values)}"
        if self.project_ids is not None:
            said = _said("project_id", "project", self.project_ids, values)
            clause += f" AND ({_one_of('target_id', 'in', self.project_ids, values)} OR {said})"
        for name, sign, at_ms in (("since_ms", ">=", self.since_ms), ("until_ms", "<", self.until_ms)):
            if at_ms is not None:
                clause += f" AND at_ms {sign} :{name}"
                values[name] = at_ms
        return clause, values


async def search_events(
    database: Database,
    organisation_id: str,
    wanted: EventSearch,
    *,
    after: int | None = None,
    before: int | None = None,
    limit: int,
) -> list[Entry]:
    """Return up to `limit` events, newest first: older than `after`, or the next newer ones than `before`."""
    clause, values = wanted.condition()
    values |= {"organisation_id": organisation_id, "rows": limit}
    order = "ASC" if before is not None and after is None else "DESC"
    for name, sign, sequence in (("after", "<", after), ("before", ">", before)):
        if sequence is not None:
            clause += f" AND sequence {sign} :{name}"
            values[name] = sequence
    rows = await database.fetch(
        f"SELECT {COLUMNS[database.dialect]} FROM audit_events WHERE organisation_id = :organisation_id"  # noqa: S608 - placeholders
        f"{clause} ORDER BY sequence {order} LIMIT :rows",
        values,
    )
    found = [entry_of(row) for row in rows]
    return found if order == "DESC" else found[::-1]


def _one_of(column: str, name: str, wanted: Sequence[str], values: dict[str, Value]) -> str:
    if not wanted:
        return "1 = 0"
    named: dict[str, Value] = {f"{name}_{number}": one for number, one in enumerate(wanted)}
    values.update(named)
    return f"{column} IN ({', '.join(f':{each}' for each in named)})"


def _said(member: str, name: str, wanted: Sequence[str], values: dict[str, Value]) -> str:
    """The body has the member with one of the values: JSON without spaces, in which quotes in texts are escaped."""
    if not wanted:
        return "1 = 0"
    named: dict[str, Value] = {}
    for number, one in enumerate(wanted):
        escaped = one.replace("!", "!!").replace("%", "!%").replace("_", "!_")
        named[f"{name}_like_{number}"] = f'%"{member.replace("_", "!_")}":"{escaped}"%'
    values.update(named)
    return "(" + " OR ".join(f"body LIKE :{each} ESCAPE '!'" for each in named) + ")"
