"""Budgets are never overdrawn, give back what was not used, and begin anew with each day or month."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.platform.metering.budget_counters import Budget, BudgetReachedError
from mainstay.platform.metering.limiter import Limiter, LimitReachedError, Scope
from mainstay.platform.metering.periods import Calendar, Period, month_of, next_first_day, shown
from mainstay.testing.clock import StandingClock

TODAY = int(StandingClock().now // 86_400)
EUROS = 1_000_000_000


def scope(*budgets: Budget, **limits: int) -> tuple[Scope, ...]:
    return (Scope("project proj_1", budgets=budgets, **limits),)


def daily(tokens: int | None = None, **more: object) -> Budget:
    return Budget("budget_1", "project proj_1", Period.DAY, tokens, **more)  # type: ignore[arg-type]


def used(limiter: Limiter, budget: Budget) -> tuple[int, int]:
    counter = limiter.budgets.get(budget.id)
    assert counter is not None
    return counter.used_tokens, counter.used_cost


def test_used_up_budget_refuses_and_says_until_when():
    limiter, budget = Limiter(StandingClock()), daily(1000)
    limiter.reserve(scope(budget), tokens=900).settle(1000)
    with pytest.raises(BudgetReachedError) as caught:
        limiter.reserve(scope(budget), tokens=1)
    error = caught.value
    assert (error.status, error.code, error.type) == (429, "insufficient_quota", "insufficient_quota")
    assert not error.can_retry
    assert error.retry_after_seconds is None
    assert error.message == (
        "The daily budget of project proj_1 is used up: 1000 tokens. It begins anew at 2027-01-16T00:00:00Z; "
        "ask an administrator for more."
    )


def test_call_that_may_need_more_than_is_left_is_refused_and_a_smaller_one_passes():
    limiter, budget = Limiter(StandingClock()), daily(1000)
    limiter.reserve(scope(budget), tokens=900).settle(900)
    with pytest.raises(BudgetReachedError, match="has 100 tokens left of 1000 tokens, and this call may need 101 tok"):
        limiter.reserve(scope(budget), tokens=101)
    limiter.reserve(scope(budget), tokens=100)


def test_what_open_calls_hold_can_be_tried_again():
    limiter, budget = Limiter(StandingClock()), daily(1000)
    open_call = limiter.reserve(scope(budget), tokens=800)
    with pytest.raises(BudgetReachedError, match="has 1000 tokens left, which calls that are being answered") as caught:
        limiter.reserve(scope(budget), tokens=300)
    assert (caught.value.code, caught.value.type, caught.value.can_retry) == ("rate_limit_exceeded", "tokens", True)
    assert caught.value.retry_after_seconds
    open_call.settle(100)
    limiter.reserve(scope(budget), tokens=300)


def test_failed_call_costs_nothing():
    limiter, budget = Limiter(StandingClock()), daily(1000)
    limiter.reserve(scope(budget), tokens=1000).release()
    limiter.reserve(scope(budget), tokens=1000)
    assert used(limiter, budget) == (0, 0)


def test_settling_twice_counts_once():
    limiter, budget = Limiter(StandingClock()), daily(1000)
    reservation = limiter.reserve(scope(budget), tokens=10)
    reservation.settle(7)
    reservation.settle(9)
    assert used(limiter, budget) == (7, 0)


def test_money_is_counted_in_its_own_currency():
    limiter, budget = Limiter(StandingClock()), daily(cost_nano=10 * EUROS, currency="EUR")
    limiter.reserve(scope(budget), tokens=5, cost_nano=4 * EUROS, currency="EUR").settle(5, 9 * EUROS)
    limiter.reserve(scope(budget), tokens=5, cost_nano=900 * EUROS, currency="USD").settle(5, 900 * EUROS)
    limiter.reserve(scope(budget), tokens=5).settle(5)
    assert used(limiter, budget) == (15, 9 * EUROS)
    with pytest.raises(BudgetReachedError, match=r"has 1 EUR left of 10 EUR, and this call may need 2.5 EUR"):
        limiter.reserve(scope(budget), tokens=5, cost_nano=5 * EUROS // 2, currency="EUR")


def test_call_without_a_price_passes_a_budget_whose_money_is_spent():
    limiter, budget = Limiter(StandingClock()), daily(cost_nano=EUROS, currency="EUR")
    limiter.reserve(scope(budget), tokens=1, cost_nano=EUROS, currency="EUR").settle(1, 3 * EUROS)
    limiter.reserve(scope(budget), tokens=1)
    with pytest.raises(BudgetReachedError, match="used up: 1 EUR"):
        limiter.reserve(scope(budget), tokens=1, cost_nano=1, currency="EUR")


def test_budget_that_only_warns_refuses_nobody_and_counts_all():
    limiter, budget = Limiter(StandingClock()), daily(10, is_blocking=False)
    limiter.reserve(scope(budget), tokens=100).settle(100)
    limiter.reserve(scope(budget), tokens=100).settle(50)
    assert used(limiter, budget) == (150, 0)


def test_budget_of_nothing_lets_nothing_pass():
    with pytest.raises(BudgetReachedError):
        Limiter(StandingClock()).reserve(scope(daily(0)), tokens=1)


def test_refusal_takes_nothing_from_limits_and_other_budgets():
    limiter = Limiter(StandingClock())
    wide, narrow = daily(10_000), Budget("budget_2", "key key_1", Period.MONTH, 10)
    scopes = (*scope(wide, requests_per_minute=5, tokens_per_minute=1000), Scope("key key_1", budgets=(narrow,)))
    with pytest.raises(BudgetReachedError, match="monthly budget of key key_1"):
        limiter.reserve(scopes, tokens=11)
    assert used(limiter, wide) == (0, 0)
    left = limiter.remaining(scopes)
    assert left.requests is not None
    assert left.requests.remaining == 5
    full = scope(wide, requests_per_minute=0)
    with pytest.raises(LimitReachedError):
        limiter.reserve(full, tokens=11)
    limiter.reserve(scope(wide), tokens=10_000)


def test_new_day_begins_anew_and_a_call_counts_for_the_day_on_which_it_began():
    clock = StandingClock()
    limiter, budget = Limiter(clock), daily(1000)
    late = limiter.reserve(scope(budget), tokens=600)
    clock.now += 86_400
    limiter.reserve(scope(budget), tokens=1000).settle(400)
    late.settle(600)
    assert used(limiter, budget) == (400, 0)


def test_clock_that_goes_back_over_midnight_does_not_give_the_budget_again():
    clock = StandingClock()
    limiter, budget = Limiter(clock), daily(1000)
    limiter.reserve(scope(budget), tokens=1000).settle(1000)
    clock.now -= 86_400
    with pytest.raises(BudgetReachedError):
        limiter.reserve(scope(budget), tokens=1)


def test_what_reaches_the_database_is_not_counted_twice():
    limiter, budget = Limiter(StandingClock()), daily(1000)
    limiter.reserve(scope(budget), tokens=300).settle(300)
    limiter.budgets.note_recorded(budget, day=TODAY, tokens=200, cost_nano=0)
    assert used(limiter, budget) == (300, 0)
    limiter.budgets.rebase(budget.id, first_day=TODAY, tokens=200 + 550, cost_nano=0)
    assert used(limiter, budget) == (850, 0)
    with pytest.raises(BudgetReachedError):
        limiter.reserve(scope(budget), tokens=151)


def test_calls_of_other_periods_are_not_taken_off():
    limiter, budget = Limiter(StandingClock()), daily(1000)
    limiter.reserve(scope(budget), tokens=300).settle(300)
    limiter.budgets.note_recorded(budget, day=TODAY - 1, tokens=300, cost_nano=0)
    limiter.budgets.rebase(budget.id, first_day=TODAY - 1, tokens=999, cost_nano=0)
    assert used(limiter, budget) == (300, 0)


def test_calls_from_before_the_budget_leave_no_credit():
    limiter, budget = Limiter(StandingClock()), daily(1000)
    limiter.budgets.rebase(budget.id, first_day=TODAY, tokens=0, cost_nano=0)
    limiter.budgets.note_recorded(budget, day=TODAY, tokens=400, cost_nano=0)
    assert used(limiter, budget) == (400, 0)


STEPS = st.lists(st.tuples(st.integers(0, 400), st.floats(0, 1), st.integers(0, 3), st.booleans()), max_size=60)


@given(limit=st.integers(0, 1000), steps=STEPS)
def test_no_order_of_calls_ever_overdraws(limit: int, steps):
    """None settles above its estimate here. The model of the truth is one number."""
    limiter, budget = Limiter(StandingClock()), daily(limit)
    counter = limiter.budgets.counter(budget, StandingClock().now)
    open_calls = []
    spent = recorded = 0
    for amount, part, settle_which, is_recorded in steps:
        try:
            open_calls.append((limiter.reserve(scope(budget), tokens=amount), int(amount * part)))
        except BudgetReachedError as error:
            held = sum(reservation.tokens for reservation, _ in open_calls)
            assert spent + held + amount > limit
            assert error.can_retry == (spent + amount <= limit)
        if open_calls and settle_which == 0:
            reservation, really = open_calls.pop(0)
            reservation.settle(really)
            spent += really
        if is_recorded:
            limiter.budgets.note_recorded(budget, day=TODAY, tokens=spent - recorded, cost_nano=0)
            recorded = spent
            limiter.budgets.rebase(budget.id, first_day=TODAY, tokens=recorded, cost_nano=0)
        assert counter.used_tokens == spent <= limit


def test_counters_of_budgets_that_are_gone_are_forgotten():
    limiter = Limiter(StandingClock())
    limiter.reserve(scope(daily(10)), tokens=1)
    limiter.budgets.forget(["budget_1", "budget_2"])
    assert len(limiter.budgets) == 0


def test_refusals_near_the_end_are_remembered_once():
    limiter, budget = Limiter(StandingClock()), daily(1000, warn_at_percent=90)
    limiter.reserve(scope(budget), tokens=100).settle(100)
    for spends in (0, 850, 0):
        limiter.reserve(scope(budget), tokens=spends).settle(spends)
        with pytest.raises(BudgetReachedError):
            limiter.reserve(scope(budget), tokens=2000)
        assert limiter.budgets.refused == ({budget.id} if spends else set())
        limiter.budgets.refused.clear()


def test_refusal_of_a_budget_that_was_changed_since_is_not_told():
    limiter, budget = Limiter(StandingClock()), daily(10)
    limiter.reserve(scope(budget), tokens=10).settle(10)
    for _ in range(2):
        with pytest.raises(BudgetReachedError):
            limiter.reserve(scope(budget), tokens=1)
        assert limiter.budgets.refused == {budget.id}
        limiter.budgets.tell_again([budget.id, "budget_none"])
        assert limiter.budgets.refused == set()


@given(st.dates(date(1970, 1, 1), date(9990, 12, 1)))
def test_periods_are_those_of_the_calendar(day: date):
    number = (day - date(1970, 1, 1)).days
    first = date(day.year, day.month, 1)
    after = date(day.year + day.month // 12, day.month % 12 + 1, 1)
    assert month_of(number) == (first - date(1970, 1, 1)).days
    assert next_first_day(Period.MONTH, month_of(number)) == (after - date(1970, 1, 1)).days
    moment = datetime(day.year, day.month, day.day, 23, 59, 59, 999_000, tzinfo=UTC).timestamp()
    assert Calendar().first_day(Period.DAY, moment) == number
    assert Calendar().first_day(Period.MONTH, moment) == month_of(number)
    assert shown(number) == f"{day.isoformat()}T00:00:00Z"
