"""Keeps the budgets of this worker up to date with what all workers spend, and warns when one runs low."""

import asyncio
import logging
from collections.abc import Callable

import msgspec

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, DatabaseError
from mainstay.platform.audit.events import SYSTEM, Event, Target
from mainstay.platform.identity.acts import Acts
from mainstay.platform.metering.allotments import Allotments
from mainstay.platform.metering.budget_counters import Budget, BudgetCounter, BudgetCounters, Notice
from mainstay.platform.metering.prices import NANO
from mainstay.platform.metering.scope_refs import ScopeRef, ScopeType
from mainstay.platform.metering.spent import read_changed, read_spent, take_over

POLL_SECONDS = 1.0

_LOG = logging.getLogger(__name__)
# Whoever changes the row first gives the notice; the others find nothing to change.
_MARK = {
    Notice.THRESHOLD_REACHED: (
        "UPDATE budgets SET warned_in_day = :day WHERE id = :id AND (warned_in_day IS NULL OR warned_in_day < :day) "
        "RETURNING organisation_id, scope_type, scope_id"
    ),
    Notice.USED_UP: (
        "UPDATE budgets SET used_up_in_day = :day WHERE id = :id AND (used_up_in_day IS NULL OR used_up_in_day < :day) "
        "RETURNING organisation_id, scope_type, scope_id"
    ),
}


class BudgetNotice(msgspec.Struct, frozen=True, kw_only=True):
    """A budget runs low, or has no room for another call. Told once in a period, by one worker."""

    action: Notice
    budget_id: str
    organisation_id: str
    scope: ScopeRef
    percent: int
    first_day: int
    """The first day of the period, since 1970-01-01."""


OnNotice = Callable[[BudgetNotice], None]


class SpendingWatch:
    """Looks at the sums once a second."""

    def __init__(
        self,
        database: Database,
        allotments: Allotments,
        counters: BudgetCounters,
        *,
        acts: Acts,
        clock: Clock,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self.on_notice: list[OnNotice] = []
        """Called after a notice is in the audit log."""
        self._database = database
        self._allotments = allotments
        self._counters = counters
        self._acts = acts
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._revision: int | None = None
        self._is_reachable = True

    async def refresh(self) -> None:
        """Take over what has been spent since the last time, and give notices. Raises DatabaseError."""
        async with self._allotments.recording:
            newest, places = await read_changed(self._database, self._revision)
            budget_ids = None if places is None else self._allotments.budgets_of(places)
            changed = await read_spent(self._database, self._clock.wall(), budget_ids)
            for spent in changed:
                take_over(self._counters, spent)
        for budget_id in {spent.budget_id for spent in changed} | self._counters.refused:
            await self._consider(budget_id)
        self._revision = newest

    async def run(self) -> None:
        """Keep refreshing until cancelled. While the database is away, budgets count what this worker does."""
        while True:
            await asyncio.sleep(self._poll_seconds)
            try:
                await self.refresh()
            except DatabaseError as error:
                if self._is_reachable:
                    _LOG.error("budgets: %s What other workers spend is not known.", error.message)
                self._is_reachable = False
            else:
                if not self._is_reachable:
                    _LOG.warning("budgets: The database answers again.")
                self._is_reachable = True

    async def _consider(self, budget_id: str) -> None:
        """Give the notices that are due and were not given."""
        budget, counter = self._allotments.budget(budget_id), self._counters.get(budget_id)
        if budget is not None and counter is not None:
            percent = counter.percent_of(budget)
            is_refused = budget_id in self._counters.refused
            is_due = {
                Notice.THRESHOLD_REACHED: is_refused or percent >= budget.warn_at_percent,
                Notice.USED_UP: is_refused or percent >= 100,
            }
            due = [action for action in is_due if is_due[action] and action not in counter.told]
            for action in due:
                # Two notices at once are one line of the log.
                await self._give(action, budget, counter, is_logged=action is due[-1])
                counter.told.add(action)
        self._counters.refused.discard(budget_id)

    async def _give(self, action: Notice, budget: Budget, counter: BudgetCounter, *, is_logged: bool) -> None:
        used: dict[str, object] = {"tokens": counter.used_tokens}
        if budget.cost_nano is not None:
            used |= {"cost": counter.used_cost / NANO, "currency": budget.currency}
        percent = counter.percent_of(budget)
        async with self._database.transaction() as transaction:
            rows = await transaction.fetch(_MARK[action], {"id": budget.id, "day": counter.first_day})
            if not rows:
                return
            organisation_id, scope_type, scope_id = rows[0]
            scope = {"type": scope_type, "id": scope_id}
            event = Event(
                action=action,
                target=Target(type="budget", id=budget.id),
                details={"scope": scope, "percent": percent, "used": used},
            )
            await self._acts.record(transaction, SYSTEM, organisation_id, events=[event])
        notice = BudgetNotice(
            action=action,
            budget_id=budget.id,
            organisation_id=organisation_id,
            scope=ScopeRef(type=ScopeType(scope_type), id=scope_id),
            percent=percent,
            first_day=counter.first_day,
        )
        if is_logged:
            _LOG.warning("budgets: The budget of %s is used to %d %% (%s).", notice.scope, percent, budget.id)
        for tell in self.on_notice:
            tell(notice)
