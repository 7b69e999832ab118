"""`Limiter`: requests and tokens per minute, tokens and money per day or month, counted over a tuple of scopes.

Reserve before a call, settle after it. A limit is a token bucket: its burst is the limit, and it refills by
limit / 60 each second. What is kept per scope is what is *used*, which fades to nothing; a scope that has used
nothing needs no memory, so idle scopes are forgotten.

The estimate is held while the call runs; when it settles, what was really used counts. A reservation that is
never settled, because its process died, fades like any other use. Budgets do not fade: see `budget_counters`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mainstay.kit.clock import Clock
from mainstay.kit.errors import RateLimitedError
from mainstay.platform.metering.budget_counters import (
    Budget,
    BudgetClaim,
    BudgetCounter,
    BudgetCounters,
)

EPSILON: Final = 1e-3
"""Far below one request or token, far above the rounding of a clock in seconds times a refill per second."""

SWEEP_AT_LEAST: Final = 1024
"""Scopes are swept no earlier than this many; after that, whenever their number has doubled."""


@dataclass(frozen=True, slots=True)
class Scope:
    """One thing that is limited, such as a key; None is no limit, 0 lets nothing pass."""

    key: str
    """What is counted, in words that its caller may read, e.g. `key key_8f0c`."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    budgets: tuple[Budget, ...] = ()


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of one limit; `reset_seconds` is the time until all of it is there again."""

    limit: int
    remaining: int
    reset_seconds: float


@dataclass(frozen=True, slots=True)
class Remaining:
    """What is left, for each kind, in the scope where least is left; None where nothing is limited."""

    requests: Allowance | None = None
    tokens: Allowance | None = None


_UNLIMITED = Remaining()


class LimitReachedError(RateLimitedError):
    """A scope refused: `type` says whether for its requests or its tokens, `scope` which one it was."""

    def __init__(self, message: str, *, scope: Scope, kind: str, retry_after_seconds: float | None) -> None:
        can_retry = retry_after_seconds is not None
        super().__init__(message, type=kind, can_retry=can_retry, retry_after_seconds=retry_after_seconds)
        self.scope = scope
        self.remaining = Remaining()
        """What is left in all scopes of the refused call."""


class Limiter:
    """The one owner of the counters of its process.

    `share` is the part of every limit that this process may give away: with N workers that split the calls
    evenly, each has 1/N. A call that alone exceeds the share (but not the limit) passes when nothing is used and
    leaves a debt, so that small limits stay usable; the rate over time holds, and only the first burst of all
    workers together may exceed the limit, by less than one call for each.
    """

    def __init__(self, clock: Clock, *, share: float = 1.0) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"The share of a limiter is {share}; it must be above 0 and at most 1.")
        self._now = clock.monotonic
        self._wall = clock.wall
        self._share = share
        self._requests: dict[str, _Counter] = {}
        self._tokens: dict[str, _Counter] = {}
        self._sweep_at = SWEEP_AT_LEAST
        self.budgets = BudgetCounters()

    def __len__(self) -> int:
        """Count the counters in memory."""
        return len(self._requests) + len(self._tokens)

    def reserve(
        self, scopes: tuple[Scope, ...], *, tokens: int, cost_nano: int = 0, currency: str | None = None
    ) -> "Reservation":
        """Take one request, `tokens` and the cost from every scope, or nothing from any. Scopes have distinct keys.

        Raises LimitReachedError, which names the scope and the kind that take longest to admit the call, and
        when they will. A call that can never fit is refused without a time and `can_retry` is False.
        Raises BudgetReachedError when a budget has no room for the call.
        """
        if not scopes:  # nothing is limited, as on most installations
            return Reservation(self, scopes, tokens, reserved_at=0.0)
        now = self._now()
        if len(self._requests) + len(self._tokens) > self._sweep_at:
            self._sweep(now)
        claims = []
        budgets: list[Budget] = []
        for scope in scopes:
            if scope.budgets:
                budgets += scope.budgets
            if (limit := scope.requests_per_minute) is not None:
                claims.append((self._counter(self._requests, scope.key, limit, now), 1))
            if (limit := scope.tokens_per_minute) is not None:
                claims.append((self._counter(self._tokens, scope.key, limit, now), tokens))
        wanted = self._wanted(budgets, tokens, cost_nano, currency) if budgets else ()
        for counter, amount in claims:
            if counter.used + amount > counter.burst and counter.wait_seconds(amount) > 0:
                raise self._refusal(scopes, tokens)
        for counter, amount in claims:
            counter.used += amount
        held = (
            [BudgetClaim(counter, tokens, cost, is_paid=is_paid) for counter, cost, is_paid in wanted] if wanted else ()
        )
        return Reservation(self, scopes, tokens, reserved_at=now, budgets=held)

    def _wanted(
        self, budgets: list[Budget], tokens: int, cost_nano: int, currency: str | None
    ) -> list[tuple[BudgetCounter, int, bool]]:
        """Return what to claim of each budget. Raises BudgetReachedError if one has no room."""
        wall = self._wall()
        wanted = []
        for budget in budgets:
            counter = self.budgets.counter(budget, wall)
            is_paid = currency is not None and currency == budget.currency
            cost = cost_nano if is_paid else 0
            if budget.is_blocking and not counter.has_room(budget, tokens, cost):
                raise self.budgets.refuse(budget, counter, tokens=tokens, cost_nano=cost)
            wanted.append((counter, cost, is_paid))
        return wanted

    def correct(self, scopes: tuple[Scope, ...], *, reserved: int, used: int, reserved_at: float) -> None:
        """Count `used` tokens instead of the `reserved` ones; what was used beyond them becomes a debt.

        Of the tokens that were not used, only those are given back that have not faded since: the rest has
        been given to others already.
        """
        now = self._now()
        for scope in scopes:
            if (limit := scope.tokens_per_minute) is None:
                continue
            counter = self._counter(self._tokens, scope.key, limit, now)
            if used > reserved:
                counter.used += used - reserved
                continue
            held = reserved - (now - reserved_at) * counter.per_second
            counter.used = max(0.0, counter.used - max(0.0, min(reserved - used, held)))

    def remaining(self, scopes: tuple[Scope, ...]) -> Remaining:
        """Tell what is left of the whole limits; a limiter with a share guesses that the others gave as much."""
        if not scopes:
            return _UNLIMITED
        now = self._now()
        if len(scopes) == 1:  # as on most calls
            (scope,) = scopes
            return Remaining(
                requests=self._allowance(self._requests, scope.key, scope.requests_per_minute, now),
                tokens=self._allowance(self._tokens, scope.key, scope.tokens_per_minute, now),
            )
        requests = [self._allowance(self._requests, scope.key, scope.requests_per_minute, now) for scope in scopes]
        tokens = [self._allowance(self._tokens, scope.key, scope.tokens_per_minute, now) for scope in scopes]
        return Remaining(requests=_tightest(requests), tokens=_tightest(tokens))

    def _counter(self, counters: "dict[str, _Counter]", key: str, limit: int, now: float) -> "_Counter":
        """Return the counter of a scope as of now, a new one if nothing is used."""
        counter = counters.get(key)
        if counter is None:
            counter = counters[key] = _Counter(now)
        if counter.limit != limit:
            counter.limit = limit
            counter.burst = limit * self._share
            counter.per_second = counter.burst / 60
        counter.fade(now)
        return counter

    def _allowance(self, counters: "dict[str, _Counter]", key: str, limit: int | None, now: float) -> Allowance | None:
        if limit is None:
            return None
        counter = self._counter(counters, key, limit, now)
        left = limit - counter.used / self._share
        reset_seconds = counter.used / counter.per_second if counter.per_second else 0.0
        return Allowance(limit=limit, remaining=max(0, math.floor(left + EPSILON)), reset_seconds=reset_seconds)

    def _refusal(self, scopes: tuple[Scope, ...], tokens: int) -> LimitReachedError:
        """Build the error for the scope and kind that keep the call waiting longest."""
        waits = [
            (counters[scope.key].wait_seconds(amount), scope, kind, limit)
            for scope in scopes
            for kind, counters, limit, amount in (
                ("requests", self._requests, scope.requests_per_minute, 1),
                ("tokens", self._tokens, scope.tokens_per_minute, tokens),
            )
            if limit is not None
        ]
        seconds, scope, kind, limit = max(waits, key=lambda wait: wait[0])
        error = LimitReachedError(
            _explain(seconds, scope, kind=kind, limit=limit, tokens=tokens),
            scope=scope,
            kind=kind,
            retry_after_seconds=None if math.isinf(seconds) else seconds,
        )
        error.remaining = self.remaining(scopes)
        return error

    def _sweep(self, now: float) -> None:
        """Forget the scopes that have used nothing lately; the cost is spread over as many reservations."""
        for counters in (self._requests, self._tokens):
            for key in [key for key, counter in counters.items() if counter.fade(now) <= 0]:
                del counters[key]
        self._sweep_at = max(SWEEP_AT_LEAST, 2 * len(self))


class Reservation:
    """What one call holds of its limits. Settle or release it once; later calls of either do nothing."""

    __slots__ = ("_budgets", "_is_open", "_limiter", "_reserved_at", "_scopes", "tokens")

    def __init__(
        self,
        limiter: Limiter,
        scopes: tuple[Scope, ...],
        tokens: int,
        *,
        reserved_at: float,
        budgets: Sequence[BudgetClaim] = (),
    ) -> None:
        self._limiter = limiter
        self._scopes = scopes
        self._reserved_at = reserved_at
        self._budgets = budgets
        self._is_open = True
        self.tokens = tokens

    def settle(self, tokens: int, cost_nano: int = 0) -> None:
        """Count the tokens that were really used, and what they cost, in place of the estimate."""
        if not self._is_open:
            return
        self._is_open = False
        for claim in self._budgets:
            claim.settle(tokens, cost_nano)
        if self._scopes:
            self._limiter.correct(self._scopes, reserved=self.tokens, used=tokens, reserved_at=self._reserved_at)

    def release(self) -> None:
        """Give the tokens back, since the call failed; the request stays counted, as it does at the vendors."""
        self.settle(0)

    def remaining(self) -> Remaining:
        """Tell what the scopes have left, for the response headers."""
        return self._limiter.remaining(self._scopes)


class _Counter:
    """How much of one limit is used, as of a moment."""

    __slots__ = ("_at", "burst", "limit", "per_second", "used")

    def __init__(self, now: float) -> None:
        self.used = 0.0
        self.limit = 0
        self.burst = 0.0
        self.per_second = 0.0
        self._at = now

    def fade(self, now: float) -> float:
        """Refill for the time that has passed and return what is still used."""
        if self.used > 0:
            self.used = max(0.0, self.used - (now - self._at) * self.per_second)
        self._at = now
        return self.used

    def wait_seconds(self, amount: int) -> float:
        """Return the time until the amount is admitted: 0 if now, infinite if never."""
        missing = self.used + min(amount, self.burst) - self.burst
        if amount > self.limit or (missing > EPSILON and self.per_second == 0):
            return math.inf
        return missing / self.per_second if missing > EPSILON else 0.0


def _tightest(allowances: list[Allowance | None]) -> Allowance | None:
    limited = [allowance for allowance in allowances if allowance is not None]
    return min(limited, key=lambda allowance: allowance.remaining) if limited else None


def _explain(seconds: float, scope: Scope, *, kind: str, limit: int, tokens: int) -> str:
    if not math.isinf(seconds):
        return f"Rate limit reached for {scope.key}: {limit} {kind} per minute. Try again in {seconds:.3g} s."
    asked = f"{tokens} tokens" if kind == "tokens" else "1 request"
    return (
        f"The call needs {asked}, more than {scope.key} may ever use: {limit} {kind} per minute. "
        "Send less, or ask the operator for a higher limit."
    )
