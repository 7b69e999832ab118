"""What a caller may see, as a condition of SQL: a list is filtered before it is cut into pages, never after.

The conditions say in SQL what `Authority.authorize` says of one resource in memory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mainstay.kit.clock import Clock
from mainstay.kit.database import Value
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.authorize import Authority
from mainstay.platform.identity.caller import Caller
from mainstay.platform.identity.grant_levels import LEVELS, Level


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Where a statement has what permissions hang on; every one as the statement names it, such as `projects.id`.

    They are written by programmers, never by callers.
    """

    type: str
    id: str
    project: str | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition; `clause` follows another one. Its placeholders begin with `visible_`."""

    clause: str
    values: Mapping[str, Value] = field(default_factory=dict)


NO_CONDITION = Condition("")
_NOTHING = Condition(" AND 1 = 0")


class Visibility:
    """Makes conditions for callers."""

    def __init__(self, authority: Authority, clock: Clock) -> None:
        self._authority = authority
        self._clock = clock

    def condition(self, caller: Caller, action: Action, columns: Columns) -> Condition:
        """Return which rows the caller may do `action` to. The statement itself keeps to the caller's organisation."""
        standing = self._authority.standing(caller)
        if standing.refusal is not None:
            return _NOTHING
        if action in standing.everywhere:
            return NO_CONDITION
        ways = _Ways(caller.organisation_id, int(self._clock.wall() * 1000), sorted(standing.names))
        if columns.project is not None:
            ways.any_of(columns.project, sorted(own for own, may in standing.projects.items() if action in may))
        levels = LEVELS.get(columns.type)
        if levels is not None and action in standing.limit and standing.names:
            if columns.owner is not None and caller.principal_id is not None and action in levels[Level.OWNER]:
                ways.any_of(columns.owner, [caller.principal_id])
            enough = [level for level, actions in levels.items() if action in actions]
            ways.granted(columns.type, columns.id, enough)
            if columns.project is not None and columns.type != "project":
                ways.granted("project", columns.project, enough)
            ways.granted("organisation", ":organisation_id", enough)
        return ways.condition()


class _Ways:
    """Ways in which a row may be seen; one is enough."""

    def __init__(self, organisation_id: str, now_ms: int, principals: Sequence[str]) -> None:
        self._principals = principals
        self._ways: list[str] = []
        self._values: dict[str, Value] = {"visible_organisation": organisation_id, "visible_now_ms": now_ms}
        self._is_granted = False

    def any_of(self, column: str, ids: Sequence[str]) -> None:
        """The column holds one of the ids."""
        if ids:
            self._ways.append(f"{column} IN ({self._placeholders(ids)})")

    def granted(self, type_: str, column: str, levels: Sequence[str]) -> None:
        """The column names a resource on which one of the levels is granted to one of the principals."""
        if not levels:
            return
        column = ":visible_organisation" if type_ == "organisation" else column
        self._ways.append(
            f"{column} IN (SELECT resource_id FROM grants WHERE organisation_id = :visible_organisation "  # noqa: S608 - placeholders only
            f"AND resource_type IN ({self._placeholders([type_])}) AND level IN ({self._placeholders(levels)}) "
            f"AND principal_id IN ({self._placeholders(self._principals)}) "
            "AND (expires_at_ms IS NULL OR expires_at_ms > :visible_now_ms))"
        )

    def condition(self) -> Condition:
        """Return all ways as one condition."""
        if not self._ways:
            return _NOTHING
        used = " AND (" + " OR ".join(self._ways) + ")"
        return Condition(used, {name: value for name, value in self._values.items() if f":{name}" in used})

    def _placeholders(self, values: Sequence[str]) -> str:
        names = []
        for value in values:
            name = next((known for known, other in self._values.items() if other == value), None)
            if name is None:
                name = f"visible_{len(self._values)}"
                self._values[name] = value
            names.append(f":{name}")
        return ", ".join(names)
