"""What every caller may use, from memory: limits and budgets of all that it belongs to, as scopes of the limiter."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Row
from mainstay.platform.identity.caller import Caller
from mainstay.platform.identity.change_feed import Changed, ChangeKind
from mainstay.platform.metering.budget_counters import Budget
from mainstay.platform.metering.limiter import Limiter, Scope
from mainstay.platform.metering.periods import Period
from mainstay.platform.metering.scope_refs import ScopeRef, ScopeType, is_key
from mainstay.platform.metering.spending import Spending
from mainstay.platform.metering.spent import read_spent, take_over

GroupsOf = Callable[[str], tuple[str, ...]]
"""All groups of a principal, those that its groups are in too."""

GROUPS_MAX = 128
"""Groups of one principal that a call is counted for; those that have a limit or a budget come first."""

_CACHED_MAX = 20_000
_IDS_PER_QUERY = 500
_LIMITS = "SELECT id, organisation_id, scope_type, scope_id, requests_per_minute, tokens_per_minute FROM limits"
_BUDGETS = (
    "SELECT id, organisation_id, scope_type, scope_id, period, tokens, cost_nano, currency, warn_at_percent, action "
    "FROM budgets"
)

_Place = tuple[str, str, str]
"""The organisation, and the type and id of a scope in it."""


@dataclass(frozen=True, slots=True)
class PerMinute:
    """Requests and tokens per minute; None is no limit."""

    requests: int | None = None
    tokens: int | None = None

    def tighter(self, other: "PerMinute") -> "PerMinute":
        """Return what is left when both hold."""
        return PerMinute(_least(self.requests, other.requests), _least(self.tokens, other.tokens))


_UNLIMITED = PerMinute()


@dataclass(frozen=True, slots=True)
class Allotment:
    """What holds for the calls of one caller, and which groups they count for."""

    scopes: tuple[Scope, ...] = ()
    group_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Rules:
    """What was set for one scope."""

    limit_id: str = ""
    per_minute: PerMinute = _UNLIMITED
    budgets: tuple[Budget, ...] = ()

    def without(self, id_: str) -> "_Rules":
        """Return what is left without one limit or budget."""
        if id_ == self.limit_id:
            return _Rules(budgets=self.budgets)
        return replace(self, budgets=tuple(budget for budget in self.budgets if budget.id != id_))


_NO_RULES = _Rules()


class Allotments:
    """All limits and budgets. A view for the change feed, behind the one that `groups_of` asks."""

    kinds = frozenset({ChangeKind.LIMIT, ChangeKind.BUDGET, ChangeKind.PRINCIPAL, ChangeKind.MEMBERS})

    def __init__(
        self,
        database: Database,
        limiter: Limiter,
        clock: Clock,
        *,
        groups_of: GroupsOf,
        of_a_key: PerMinute = _UNLIMITED,
    ) -> None:
        self.recording = asyncio.Lock()
        """Held while calls of this process go into the database, and while its sums are read: each call is in one
        of the two, never in both."""
        self._database = database
        self._counters = limiter.budgets
        self._clock = clock
        self._groups_of = groups_of
        self._of_a_key = of_a_key
        self._places: dict[str, _Place] = {}
        self._rules: dict[_Place, _Rules] = {}
        self._of_callers: dict[str, tuple[Caller, Allotment]] = {}

    def of(self, caller: Caller) -> Allotment:
        """Return what holds for a caller; after the first time a look-up."""
        found = self._of_callers.get(caller.key_id)
        if found is not None and found[0] is caller:
            return found[1]
        if len(self._of_callers) >= _CACHED_MAX:
            self._of_callers.clear()
        allotment = self._make(caller)
        self._of_callers[caller.key_id] = (caller, allotment)
        return allotment

    def replace_key_default(self, of_a_key: PerMinute) -> None:
        """Let this hold for keys, and for people without a key, that have no limit of their own."""
        self._of_a_key = of_a_key
        self._of_callers = {}

    def budget(self, budget_id: str) -> Budget | None:
        """Return a budget that is in force."""
        place = self._places.get(budget_id)
        found = () if place is None else self._rules[place].budgets
        return next((budget for budget in found if budget.id == budget_id), None)

    def budgets_of(self, places: Iterable[Row]) -> list[str]:
        """Return the ids of the budgets of scopes, each an organisation, a type and an id."""
        return [budget.id for place in places for budget in self._rules.get(_place(place), _NO_RULES).budgets]

    def note_recorded(self, spending: Spending) -> None:
        """Note that calls of this process have reached the database."""
        for key, amount in spending.items():
            for budget in self._rules.get((key.organisation_id, key.scope_type, key.scope_id), _NO_RULES).budgets:
                cost = amount.cost_nano if key.currency == budget.currency else 0
                self._counters.note_recorded(budget, day=key.day, tokens=amount.tokens, cost_nano=cost)

    async def reload(self) -> None:
        """Read everything anew."""
        limits = await self._database.fetch(_LIMITS)
        budgets = await self._database.fetch(_BUDGETS)
        await self._load_spent(None)
        gone = self._places.keys() - {row[0] for row in budgets}
        self._places, self._rules = {}, {}
        self._put(limits, budgets)
        self._counters.forget(gone)

    async def apply(self, changed: Changed) -> None:
        """Read again what has changed."""
        limit_ids = changed.get(ChangeKind.LIMIT, frozenset())
        budget_ids = changed.get(ChangeKind.BUDGET, frozenset())
        limits = await self._fetch(_LIMITS, limit_ids)
        budgets = await self._fetch(_BUDGETS, budget_ids)
        if budget_ids:
            await self._load_spent(budget_ids)
        self._put(limits, budgets, gone=limit_ids | budget_ids)
        self._counters.forget(budget_ids - self._places.keys())
        self._counters.tell_again(budget_ids)

    async def _load_spent(self, budget_ids: Iterable[str] | None) -> None:
        """Let the counters know what budgets have used before they are put in force."""
        async with self.recording:
            for spent in await read_spent(self._database, self._clock.wall(), budget_ids):
                take_over(self._counters, spent)

    async def _fetch(self, select: str, ids: frozenset[str]) -> list[Row]:
        rows: list[Row] = []
        ordered = sorted(ids)
        for first in range(0, len(ordered), _IDS_PER_QUERY):
            named = {f"id_{number}": id_ for number, id_ in enumerate(ordered[first : first + _IDS_PER_QUERY])}
            rows += await self._database.fetch(
                f"{select} WHERE id IN ({', '.join(f':{name}' for name in named)})", named
            )
        return rows

    def _put(self, limits: Iterable[Row], budgets: Iterable[Row], *, gone: frozenset[str] = frozenset()) -> None:
        """Put rows in force in place of those that are `gone`; in one go, as calls may come at any time."""
        for id_ in gone & self._places.keys():
            place = self._places.pop(id_)
            self._rules[place] = self._rules[place].without(id_)
        for id_, *where, requests, tokens in limits:
            place = self._places[id_] = _place(where)
            rules = self._rules.get(place, _NO_RULES)
            self._rules[place] = replace(rules, limit_id=id_, per_minute=PerMinute(requests, tokens))
        for row in budgets:
            place = self._places[row[0]] = _place(row[1:4])
            rules = self._rules.get(place, _NO_RULES)
            self._rules[place] = replace(rules, budgets=(*rules.budgets, _budget(row)))
        self._of_callers = {}

    def _make(self, caller: Caller) -> Allotment:
        organisation_id, principal_id = caller.organisation_id, caller.principal_id
        group_ids = () if principal_id is None else self._groups_of(principal_id)
        if len(group_ids) > GROUPS_MAX:
            has_none = {id_: self._scope(organisation_id, _group(id_), None) is None for id_ in group_ids}
            group_ids = tuple(sorted(group_ids, key=lambda id_: (has_none[id_], id_))[:GROUPS_MAX])
        refs = [ScopeRef(type=ScopeType.ORGANISATION, id=organisation_id)]
        if caller.project_id:
            refs.append(ScopeRef(type=ScopeType.PROJECT, id=caller.project_id))
        refs += (_group(group_id) for group_id in group_ids)
        if principal_id is not None:
            refs.append(ScopeRef(type=ScopeType.USER, id=principal_id))
        refs.append(ScopeRef(type=ScopeType.KEY, id=caller.key_id))
        own = self._of_credential(caller)
        scopes = (self._scope(organisation_id, ref, own.get(ref.type)) for ref in refs)
        return Allotment(tuple(scope for scope in scopes if scope is not None), group_ids)

    def _of_credential(self, caller: Caller) -> Mapping[ScopeType, PerMinute]:
        """Return what holds besides the rows: the key's own limits, or else the default.

        Sessions and tokens come and go, so the default counts for whoever is behind them.
        """
        own = PerMinute(caller.requests_per_minute, caller.tokens_per_minute)
        default = self._of_a_key
        counted = ScopeType.KEY
        if caller.principal_id is not None and not is_key(caller.key_id):
            counted = ScopeType.USER
        scope_id = caller.key_id if counted is ScopeType.KEY else caller.principal_id
        row = self._rules.get((caller.organisation_id, counted, scope_id or ""), _NO_RULES).per_minute
        missing = PerMinute(
            default.requests if own.requests is None and row.requests is None else None,
            default.tokens if own.tokens is None and row.tokens is None else None,
        )
        if counted is ScopeType.KEY:
            return {ScopeType.KEY: own.tighter(missing)}
        return {ScopeType.KEY: own, ScopeType.USER: missing}

    def _scope(self, organisation_id: str, ref: ScopeRef, own: PerMinute | None) -> Scope | None:
        rules = self._rules.get((organisation_id, ref.type, ref.id), _NO_RULES)
        per_minute = rules.per_minute if own is None else rules.per_minute.tighter(own)
        if per_minute == _UNLIMITED and not rules.budgets:
            return None
        return Scope(str(ref), per_minute.requests, per_minute.tokens, rules.budgets)


def _group(group_id: str) -> ScopeRef:
    return ScopeRef(type=ScopeType.GROUP, id=group_id)


def _place(values: Iterable[str]) -> _Place:
    organisation_id, scope_type, scope_id = values
    return organisation_id, scope_type, scope_id


def _budget(row: Row) -> Budget:
    id_, _, scope_type, scope_id, period, tokens, cost_nano, currency, warn_at_percent, action = row
    return Budget(
        id=id_,
        scope=str(ScopeRef(type=ScopeType(scope_type), id=scope_id)),
        period=Period(period),
        tokens=tokens,
        cost_nano=cost_nano,
        currency=currency,
        warn_at_percent=warn_at_percent,
        is_blocking=action == "block",
    )


def _least(first: int | None, second: int | None) -> int | None:
    return min((value for value in (first, second) if value is not None), default=None)
