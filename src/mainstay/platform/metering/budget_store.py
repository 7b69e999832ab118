"""Budgets that administrators set: tokens and money per day or month, and how much of them is used."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, Literal, NoReturn

import msgspec

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Row, Transaction, Value
from mainstay.kit.errors import ConflictError, InvalidRequestError, NotFoundError
from mainstay.kit.ids import new_sortable_id
from mainstay.kit.pages import Page, PageRequest
from mainstay.platform.audit.events import Act, Event, Target
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.change_feed import ChangeKind
from mainstay.platform.identity.principals import require_version
from mainstay.platform.metering.periods import Period
from mainstay.platform.metering.scope_refs import ScopeRef, ScopeType, require_scope, scope_filter
from mainstay.platform.metering.spent import Spent, read_other_currencies, read_spent

AMOUNT_MAX: Final = 10**18
"""Tokens, or billionths of a currency's unit."""

_COLUMNS = (
    "id, scope_type, scope_id, period, tokens, cost_nano, currency, action, warn_at_percent, created_at_ms, version"
)
_SELECT = f"SELECT {_COLUMNS} FROM budgets WHERE organisation_id = :organisation_id"  # noqa: S608 - constants only
_INSERT = (
    f"INSERT INTO budgets (organisation_id, {_COLUMNS}) VALUES (:organisation_id, :id, :scope_type, :scope_id, "  # noqa: S608 - constants only
    ":period, :tokens, :cost_nano, :currency, :action, :warn_at_percent, :created_at_ms, 1) "
    "ON CONFLICT (organisation_id, scope_type, scope_id, period) DO NOTHING RETURNING id"
)
# Raising the version locks the row until the commit: what is read then is what is changed.
_TAKE = (
    "UPDATE budgets SET version = version + 1 WHERE organisation_id = :organisation_id AND id = :id "  # noqa: S608 - constants only
    f"RETURNING {_COLUMNS}"
)
# With other terms, notices that were given say nothing any more.
_UPDATE = (
    "UPDATE budgets SET tokens = :tokens, cost_nano = :cost_nano, currency = :currency, action = :action, "
    "warn_at_percent = :warn_at_percent, warned_in_day = NULL, used_up_in_day = NULL "
    "WHERE organisation_id = :organisation_id AND id = :id"
)
_DELETE = "DELETE FROM budgets WHERE organisation_id = :organisation_id AND id = :id"

_is_currency = re.compile("[A-Z]{3}").fullmatch

BudgetAction = Literal["block", "warn"]


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a budget allows. `tokens` and `cost_nano` (billionths of `currency`) are limits unless they are None."""

    tokens: int | None = None
    cost_nano: int | None = None
    currency: str | None = None
    action: BudgetAction = "block"
    """Whether calls are refused when it is used up, or only reported."""
    warn_at_percent: int = 80


class StoredBudget(msgspec.Struct, frozen=True, kw_only=True):
    """What one scope may use in each period."""

    id: str
    scope: ScopeRef
    period: Period
    terms: Terms
    created_at_ms: int
    version: int


class BudgetUse(msgspec.Struct, frozen=True, kw_only=True):
    """A budget, and what is used of it in the present period; calls of the last second or two may be missing."""

    budget: StoredBudget
    spent: Spent
    other_currencies: Sequence[str] = ()
    """In which the scope has spent too, which a budget of money in another currency does not count."""


CurrenciesOf = Callable[[str], Collection[str]]
"""Returns the currencies of the prices that an organisation's calls have."""


class Budgets:
    """The budgets of one database."""

    def __init__(
        self, database: Database, acts: Acts, clock: Clock, *, currencies_of: CurrenciesOf = lambda _: ()
    ) -> None:
        self._currencies_of = currencies_of
        self._database = database
        self._acts = acts
        self._clock = clock

    async def create(
        self, act: Act, organisation_id: str, scope: ScopeRef, *, period: Period, terms: Terms
    ) -> StoredBudget:
        """Give a budget to a scope that has none for such a period.

        Raises NotFoundError, InvalidRequestError, or ConflictError if it has one.
        """
        _check(terms)
        self._require_prices_in(organisation_id, terms.currency)
        budget = StoredBudget(
            id=new_sortable_id("budget_"),
            scope=scope,
            period=period,
            terms=terms,
            created_at_ms=int(self._clock.wall() * 1000),
            version=1,
        )
        async with self._database.transaction() as transaction:
            await require_scope(transaction, organisation_id, scope)
            if not await transaction.fetch(_INSERT, _values(budget, organisation_id)):
                raise ConflictError(
                    f"The {scope.type.value} '{scope.id}' has a budget for each {period.value}; change that one."
                )
            await self._record(transaction, act, organisation_id, _set_event(None, budget))
        return budget

    async def get(self, organisation_id: str, budget_id: str) -> BudgetUse:
        """Return one budget. Raises NotFoundError."""
        rows = await self._database.fetch(f"{_SELECT} AND id = :id", _named(organisation_id, budget_id))
        return await self.use_of(_only(rows, budget_id))

    async def use_of(self, budget: StoredBudget) -> BudgetUse:
        """Return what is used of a budget. Raises NotFoundError if it was removed meanwhile."""
        found = await self._with_use([budget])
        return found[0] if found else _gone(budget.id)

    async def of_ids(self, organisation_id: str, budget_ids: Iterable[str]) -> Sequence[BudgetUse]:
        """Return those of the budgets that there are, in the order of their ids."""
        found = []
        for budget_id in sorted(budget_ids):
            rows = await self._database.fetch(f"{_SELECT} AND id = :id", _named(organisation_id, budget_id))
            found += [_budget(row) for row in rows]
        return await self._with_use(found)

    async def update(
        self,
        act: Act,
        organisation_id: str,
        budget_id: str,
        *,
        changes: dict[str, int | str | None],
        expected_version: int | None = None,
    ) -> StoredBudget:
        """Change some members of its terms, by name.

        Raises NotFoundError, InvalidRequestError or VersionMismatchError.
        """
        async with self._database.transaction() as transaction:
            before = await self._take(transaction, organisation_id, budget_id, expected_version)
            after = msgspec.structs.replace(
                before, terms=msgspec.structs.replace(before.terms, **changes), version=before.version + 1
            )
            _check(after.terms)
            if changes.keys() & {"cost_nano", "currency"}:
                self._require_prices_in(organisation_id, after.terms.currency)
            await transaction.execute(_UPDATE, _values(after, organisation_id))
            await self._record(transaction, act, organisation_id, _set_event(before, after))
        return after

    async def delete(
        self, act: Act, organisation_id: str, budget_id: str, *, expected_version: int | None = None
    ) -> StoredBudget:
        """Take a budget away; what was spent stays known. Raises NotFoundError or VersionMismatchError."""
        async with self._database.transaction() as transaction:
            budget = await self._take(transaction, organisation_id, budget_id, expected_version)
            await transaction.execute(_DELETE, _named(organisation_id, budget_id))
            event = Event(action="budget.removed", target=_target(budget), details=_whose(budget))
            await self._record(transaction, act, organisation_id, event)
        return budget

    async def _with_use(self, budgets: Sequence[StoredBudget]) -> list[BudgetUse]:
        found = await read_spent(self._database, self._clock.wall(), [budget.id for budget in budgets])
        spent = {one.budget_id: one for one in found}
        of_money = [budget.id for budget in budgets if budget.terms.currency is not None]
        others = await read_other_currencies(self._database, self._clock.wall(), of_money)
        # One that was removed meanwhile is not there any more.
        return [
            BudgetUse(budget=budget, spent=spent[budget.id], other_currencies=others.get(budget.id, ()))
            for budget in budgets
            if budget.id in spent
        ]

    def _require_prices_in(self, organisation_id: str, currency: str | None) -> None:
        """Raise InvalidRequestError for a budget that no call would count against, which would never refuse one."""
        priced = self._currencies_of(organisation_id)
        if currency is not None and priced and currency not in priced:
            raise InvalidRequestError(
                f"No deployment here has prices in {currency}, so that nothing would count against such a budget; "
                f"there are prices in {', '.join(sorted(priced))}.",
                param="currency",
            )

    async def list(
        self,
        organisation_id: str,
        page: PageRequest,
        *,
        scope_type: ScopeType | None = None,
        scope_id: str | None = None,
    ) -> Page[BudgetUse]:
        """Return a page of the budgets, of one type or one scope only if that is asked for."""
        where, values = scope_filter(scope_type, scope_id)
        rows = await self._database.fetch(
            _SELECT + where + page.clause(), {"organisation_id": organisation_id, **values, **page.values()}
        )
        found = page.cut(rows, _budget)
        return Page(await self._with_use(found.items), has_more=found.has_more)

    async def _take(
        self, transaction: Transaction, organisation_id: str, budget_id: str, expected_version: int | None
    ) -> StoredBudget:
        """Return a budget as it was, with its row locked and its version raised."""
        budget = _only(await transaction.fetch(_TAKE, _named(organisation_id, budget_id)), budget_id)
        budget = msgspec.structs.replace(budget, version=budget.version - 1)
        require_version(budget.version, expected_version, f"The budget '{budget.id}'")
        return budget

    async def _record(self, transaction: Transaction, act: Act, organisation_id: str, event: Event) -> None:
        changes = [] if event.target is None else [(ChangeKind.BUDGET, event.target.id)]
        await self._acts.record(transaction, act, organisation_id, events=[event], changes=changes)


def _check(terms: Terms) -> None:
    if terms.tokens is None and terms.cost_nano is None:
        raise InvalidRequestError("A budget needs 'tokens', 'cost' or both.")
    for name, value in (("tokens", terms.tokens), ("cost", terms.cost_nano)):
        if value is not None and not 0 <= value <= AMOUNT_MAX:
            raise InvalidRequestError(f"'{name}' must not be negative, nor that large.", param=name)
    if (terms.cost_nano is None) != (terms.currency is None):
        raise InvalidRequestError("'cost' and 'currency' belong together: give both, or none.", param="currency")
    currency = terms.currency
    if currency is not None and _is_currency(currency) is None:
        raise InvalidRequestError("'currency' must be three capital letters such as EUR.", param="currency")
    if not 1 <= terms.warn_at_percent <= 100:
        raise InvalidRequestError("'warn_at_percent' must be between 1 and 100.", param="warn_at_percent")


def _set_event(before: StoredBudget | None, after: StoredBudget) -> Event:
    names = Terms.__struct_fields__
    old = dict.fromkeys(names) if before is None else msgspec.structs.asdict(before.terms)
    new = msgspec.structs.asdict(after.terms)
    return Event(
        action="budget.set",
        target=_target(after),
        changed={name: [old[name], new[name]] for name in names if before is None or old[name] != new[name]},
        details=_whose(after),
    )


def _whose(budget: StoredBudget) -> dict[str, object]:
    return {"scope": msgspec.to_builtins(budget.scope), "period": budget.period.value}


def _target(budget: StoredBudget) -> Target:
    return Target(type="budget", id=budget.id)


def _values(budget: StoredBudget, organisation_id: str) -> dict[str, Value]:
    return {
        "organisation_id": organisation_id,
        "id": budget.id,
        "scope_type": budget.scope.type.value,
        "scope_id": budget.scope.id,
        "period": budget.period.value,
        "created_at_ms": budget.created_at_ms,
        **msgspec.structs.asdict(budget.terms),
    }


def _named(organisation_id: str, budget_id: str) -> dict[str, Value]:
    # PostgreSQL's text cannot hold NUL, so no budget has one in its id.
    return {"organisation_id": organisation_id, "id": budget_id.replace("\x00", "\ufffd")}


def _only(rows: list[Row], budget_id: str) -> StoredBudget:
    return _budget(rows[0]) if rows else _gone(budget_id)


def _gone(budget_id: str) -> NoReturn:
    raise NotFoundError(f"There is no budget '{budget_id[:100]}' here; list the budgets to see which there are.")


def _budget(row: Row) -> StoredBudget:
    id_, scope_type, scope_id, period, tokens, cost_nano, currency, action, warn_at, created_at_ms, version = row
    return StoredBudget(
        id=id_,
        scope=ScopeRef(type=ScopeType(scope_type), id=scope_id),
        period=Period(period),
        terms=Terms(tokens=tokens, cost_nano=cost_nano, currency=currency, action=action, warn_at_percent=warn_at),
        created_at_ms=created_at_ms,
        version=version,
    )
