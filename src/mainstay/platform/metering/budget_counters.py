"""What budgets have left: the part of the limiter that counts days and months instead of minutes.

Used is what the database holds as of the last look at it, for all workers, and what calls of this worker have used
that is not in there yet, and what its open calls hold. So a budget is overspent by no more than the calls that are
open, and what the other workers let through between two looks.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mainstay.kit.errors import RateLimitedError
from mainstay.platform.metering.periods import Calendar, Period, next_first_day, shown
from mainstay.platform.metering.prices import NANO

_HELD_RETRY_SECONDS: Final = 1.0


class Notice(StrEnum):
    """What is told of a budget, once in each period; the values are actions in the audit log."""

    THRESHOLD_REACHED = "budget.threshold_reached"
    USED_UP = "budget.used_up"


@dataclass(frozen=True, slots=True)
class Budget:
    """What a scope may use in each day or month; None is no limit."""

    id: str
    scope: str
    """Whose it is, in words that a caller may read, e.g. `project proj_8f0c`."""
    period: Period
    tokens: int | None = None
    cost_nano: int | None = None
    currency: str | None = None
    """Of `cost_nano`; what is paid in other currencies is not counted."""
    warn_at_percent: int = 100
    is_blocking: bool = True
    """Without it the use is counted and reported, and nobody is refused."""


class BudgetReachedError(RateLimitedError):
    """A budget has no room for the call. Waiting does not help, unless it is only open calls that hold the rest."""

    code = "insufficient_quota"
    type = "insufficient_quota"
    can_retry = False


class BudgetCounter:
    """What is used of one budget in one period."""

    __slots__ = (
        "first_day",
        "has_refused",
        "held_cost",
        "held_tokens",
        "pending_cost",
        "pending_tokens",
        "recorded_cost",
        "recorded_tokens",
        "told",
    )

    def __init__(self, first_day: int) -> None:
        self.first_day = first_day
        self.recorded_tokens = self.recorded_cost = 0
        self.pending_tokens = self.pending_cost = 0
        self.held_tokens = self.held_cost = 0
        self.has_refused = False
        self.told: set[Notice] = set()
        """Which notices were given."""

    @property
    def used_tokens(self) -> int:
        """What has been used for certain."""
        return self.recorded_tokens + self.pending_tokens

    @property
    def used_cost(self) -> int:
        """What has been spent for certain."""
        return self.recorded_cost + self.pending_cost

    def percent_of(self, budget: Budget) -> int:
        """Return how much is used, of tokens or of money, whichever is more."""
        parts = ((self.used_tokens, budget.tokens), (self.used_cost, budget.cost_nano))
        percents = (used * 100 // limit if limit else 100 for used, limit in parts if limit is not None)
        return max(percents, default=0)

    def has_room(self, budget: Budget, tokens: int, cost_nano: int) -> bool:
        """Whether a call fits in. One that costs nothing needs no money."""
        return (budget.tokens is None or self.used_tokens + self.held_tokens + tokens <= budget.tokens) and (
            budget.cost_nano is None
            or cost_nano == 0
            or self.used_cost + self.held_cost + cost_nano <= budget.cost_nano
        )


class BudgetClaim:
    """What one call holds of one budget."""

    __slots__ = ("_cost_nano", "_counter", "_is_paid", "_tokens")

    def __init__(self, counter: BudgetCounter, tokens: int, cost_nano: int, *, is_paid: bool) -> None:
        counter.held_tokens += tokens
        counter.held_cost += cost_nano
        self._counter = counter
        self._tokens = tokens
        self._cost_nano = cost_nano
        self._is_paid = is_paid
        """Whether the call is paid in the budget's currency."""

    def settle(self, tokens: int, cost_nano: int) -> None:
        """Count what was really used, in the period in which the call began."""
        counter = self._counter
        counter.held_tokens -= self._tokens
        counter.held_cost -= self._cost_nano
        counter.pending_tokens += tokens
        if self._is_paid:
            counter.pending_cost += cost_nano


class BudgetCounters:
    """The counters of one process, by the id of the budget."""

    def __init__(self) -> None:
        self._counters: dict[str, BudgetCounter] = {}
        self._calendar = Calendar()
        self.refused: set[str] = set()
        """Budgets that have refused a call near their end, for the first time in their period."""

    def __len__(self) -> int:
        """Count the counters in memory."""
        return len(self._counters)

    def counter(self, budget: Budget, wall: float) -> BudgetCounter:
        """Return the counter of the period that `wall` is in; a new one when a period begins."""
        return self._at(budget.id, self._calendar.first_day(budget.period, wall))

    def rebase(
        self, budget_id: str, *, first_day: int, tokens: int, cost_nano: int, told: Iterable[Notice] = ()
    ) -> None:
        """Take over what the database holds for a period: the calls of this worker that are recorded included, and
        the notices that any worker has given.
        """
        counter = self._at(budget_id, first_day)
        if counter.first_day == first_day:
            counter.recorded_tokens, counter.recorded_cost = tokens, cost_nano
            counter.told.update(told)

    def note_recorded(self, budget: Budget, *, day: int, tokens: int, cost_nano: int) -> None:
        """Note that calls of this worker, begun on `day`, have reached the database."""
        counter = self._counters.get(budget.id)
        if counter is None or not counter.first_day <= day < next_first_day(budget.period, counter.first_day):
            return
        counter.recorded_tokens += tokens
        counter.recorded_cost += cost_nano
        # What was settled before the budget was set has not been counted as pending.
        counter.pending_tokens = max(0, counter.pending_tokens - tokens)
        counter.pending_cost = max(0, counter.pending_cost - cost_nano)

    def refuse(self, budget: Budget, counter: BudgetCounter, *, tokens: int, cost_nano: int) -> BudgetReachedError:
        """Build the error for a call without room, and remember the first that a budget refuses near its end."""
        error = refusal(budget, counter, tokens=tokens, cost_nano=cost_nano)
        is_low = counter.percent_of(budget) >= budget.warn_at_percent
        if is_low and not error.can_retry and not counter.has_refused:
            counter.has_refused = True
            self.refused.add(budget.id)
        return error

    def get(self, budget_id: str) -> BudgetCounter | None:
        """Return a counter, if anything of the budget is known."""
        return self._counters.get(budget_id)

    def tell_again(self, budget_ids: Iterable[str]) -> None:
        """Let notices be given once more, since the budgets have changed."""
        for budget_id in budget_ids:
            self.refused.discard(budget_id)
            if (counter := self._counters.get(budget_id)) is not None:
                counter.has_refused = False
                counter.told.clear()

    def forget(self, budget_ids: Iterable[str]) -> None:
        """Drop the counters of budgets that are gone."""
        for budget_id in budget_ids:
            self._counters.pop(budget_id, None)

    def _at(self, budget_id: str, first_day: int) -> BudgetCounter:
        counter = self._counters.get(budget_id)
        if counter is None or counter.first_day < first_day:
            counter = self._counters[budget_id] = BudgetCounter(first_day)
        return counter


def refusal(budget: Budget, counter: BudgetCounter, *, tokens: int, cost_nano: int) -> BudgetReachedError:
    """Build the error for a call that `has_room` did not find room for."""
    is_tokens = budget.tokens is not None and counter.used_tokens + counter.held_tokens + tokens > budget.tokens
    limit, used, needed = (
        (budget.tokens or 0, counter.used_tokens, tokens)
        if is_tokens
        else (budget.cost_nano or 0, counter.used_cost, cost_nano)
    )

    def text(amount: int) -> str:
        return f"{amount} tokens" if is_tokens else f"{amount / NANO:.6g} {budget.currency}"

    whose = f"The {_ADJECTIVE[budget.period]} budget of {budget.scope}"
    if used + needed <= limit:
        return BudgetReachedError(
            f"{whose} has {text(limit - used)} left, which calls that are being answered hold. Try again.",
            code=RateLimitedError.code,
            type="tokens",
            can_retry=True,
            retry_after_seconds=_HELD_RETRY_SECONDS,
        )
    anew = f"It begins anew at {shown(next_first_day(budget.period, counter.first_day))}"
    if used >= limit:
        return BudgetReachedError(f"{whose} is used up: {text(limit)}. {anew}; ask an administrator for more.")
    return BudgetReachedError(
        f"{whose} has {text(limit - used)} left of {text(limit)}, and this call may need {text(needed)}. "
        f"{anew}; ask for a shorter answer, or ask an administrator for more."
    )


_ADJECTIVE = {Period.DAY: "daily", Period.MONTH: "monthly"}
