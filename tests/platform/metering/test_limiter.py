"""Limits hold to the unit, refuse with the exact time, and cost no memory when idle."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.platform.metering.limiter import SWEEP_AT_LEAST, Limiter, LimitReachedError, Scope


class TurnedClock:
    """A clock that stands still until it is turned."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


def requests(limit: int, key: str = "key a") -> tuple[Scope, ...]:
    return (Scope(key, requests_per_minute=limit),)


def tokens(limit: int, key: str = "key a") -> tuple[Scope, ...]:
    return (Scope(key, tokens_per_minute=limit),)


def admitted(limiter: Limiter, scopes: tuple[Scope, ...], *, tokens: int = 0, attempts: int = 1) -> int:
    count = 0
    for _ in range(attempts):
        try:
            limiter.reserve(scopes, tokens=tokens)
        except LimitReachedError:
            continue
        count += 1
    return count


@given(st.integers(1, 500))
def test_frozen_clock_admits_exactly_the_limit(limit: int):
    assert admitted(Limiter(TurnedClock()), requests(limit), attempts=limit + 5) == limit


def test_no_scope_and_no_limit_admit_everything_and_remember_nothing():
    limiter = Limiter(TurnedClock())
    assert admitted(limiter, (), tokens=10**12, attempts=1000) == 1000
    assert admitted(limiter, (Scope("key a"),), tokens=10**12, attempts=1000) == 1000
    assert len(limiter) == 0


def test_limit_of_zero_lets_nothing_pass():
    with pytest.raises(LimitReachedError) as caught:
        Limiter(TurnedClock()).reserve(requests(0), tokens=0)
    assert not caught.value.can_retry
    assert caught.value.retry_after_seconds is None


def test_refusal_names_scope_kind_and_time():
    limiter = Limiter(TurnedClock())
    admitted(limiter, requests(60), attempts=60)
    with pytest.raises(LimitReachedError) as caught:
        limiter.reserve(requests(60), tokens=0)
    error = caught.value
    assert (error.status, error.type, error.code) == (429, "requests", "rate_limit_exceeded")
    assert error.scope.key == "key a"
    assert error.retry_after_seconds == pytest.approx(1.0)
    assert error.can_retry
    assert "key a" in error.message
    assert "60 requests per minute" in error.message
    assert error.remaining.requests is not None
    assert error.remaining.requests.remaining == 0


def test_call_larger_than_the_limit_is_refused_for_good():
    limiter = Limiter(TurnedClock())
    with pytest.raises(LimitReachedError, match="1001 tokens, more than key a may ever use: 1000 tokens") as caught:
        limiter.reserve(tokens(1000), tokens=1001)
    assert (caught.value.can_retry, caught.value.retry_after_seconds) == (False, None)
    assert admitted(limiter, tokens(1000), tokens=1000) == 1


def test_refusal_of_one_scope_takes_nothing_from_the_others():
    limiter = Limiter(TurnedClock())
    wide = Scope("organisation", requests_per_minute=10, tokens_per_minute=1000)
    narrow = Scope("key a", requests_per_minute=1)
    assert admitted(limiter, (wide, narrow), tokens=10, attempts=9) == 1
    left = limiter.remaining((wide,))
    assert left.requests is not None
    assert left.tokens is not None
    assert (left.requests.remaining, left.tokens.remaining) == (9, 990)


def test_refusal_names_the_scope_that_waits_longest():
    limiter = Limiter(TurnedClock())
    fast, slow = Scope("fast", requests_per_minute=60), Scope("slow", tokens_per_minute=60)
    admitted(limiter, (fast,), attempts=60)
    limiter.reserve((slow,), tokens=60)
    with pytest.raises(LimitReachedError) as caught:
        limiter.reserve((fast, slow), tokens=30)
    assert (caught.value.scope, caught.value.type) == (slow, "tokens")
    assert caught.value.retry_after_seconds == pytest.approx(30)


@given(
    limit=st.integers(1, 10_000_000),
    used=st.floats(0, 1),
    asked=st.floats(0, 1),
    start=st.floats(0, 1e8),
    share=st.sampled_from([1.0, 0.5, 1 / 3, 0.25]),
)
def test_call_is_admitted_at_the_named_time_and_not_before(limit, used, asked, start, share):
    clock = TurnedClock(start)
    limiter = Limiter(clock, share=share)
    limiter.reserve(tokens(limit), tokens=math.ceil(limit * used))
    amount = math.ceil(limit * asked)
    try:
        limiter.reserve(tokens(limit), tokens=amount)
    except LimitReachedError as refusal:
        wait = refusal.retry_after_seconds
        assert wait is not None
        clock.now = start + wait * 0.9
        if wait * limit * share / 60 > 0.1:
            assert admitted(limiter, tokens(limit), tokens=amount) == 0
        clock.now = start + wait
        assert admitted(limiter, tokens(limit), tokens=amount) == 1


STEPS = st.lists(
    st.tuples(st.floats(0, 90), st.integers(0, 120), st.floats(0, 1), st.integers(0, 3)), min_size=1, max_size=40
)


@given(limit=st.integers(1, 100), steps=STEPS)
def test_no_window_ever_admits_more_than_burst_and_refill(limit: int, steps):
    """Tokens count as of their reservation, at what they settled to; none settles above its estimate here."""
    clock = TurnedClock()
    limiter = Limiter(clock)
    open_calls: list[tuple[int, object, float]] = []
    counted: list[list[float]] = []
    for seconds, amount, part, settle_which in steps:
        clock.now += seconds
        try:
            reservation = limiter.reserve(tokens(limit), tokens=amount)
        except LimitReachedError:
            pass
        else:
            counted.append([clock.now, amount])
            open_calls.append((len(counted) - 1, reservation, part))
        if open_calls and settle_which == 0:
            index, oldest, share = open_calls.pop(0)
            really = int(counted[index][1] * share)
            oldest.settle(really)
            counted[index][1] = really
    for first in range(len(counted)):
        total = 0.0
        for moment, amount in counted[first:]:
            total += amount
            assert total <= limit + (moment - counted[first][0]) * limit / 60 + 0.01


def test_settling_below_the_estimate_gives_the_rest_back():
    limiter = Limiter(TurnedClock())
    reservation = limiter.reserve(tokens(1000), tokens=900)
    assert admitted(limiter, tokens(1000), tokens=200) == 0
    reservation.settle(100)
    assert admitted(limiter, tokens(1000), tokens=900) == 1


def test_settling_above_the_estimate_leaves_a_debt_that_time_pays():
    clock = TurnedClock()
    limiter = Limiter(clock)
    limiter.reserve(tokens(600), tokens=100).settle(1200)
    with pytest.raises(LimitReachedError) as caught:
        limiter.reserve(tokens(600), tokens=1)
    assert caught.value.retry_after_seconds == pytest.approx(60.1)
    assert limiter.remaining(tokens(600)).tokens.remaining == 0
    clock.now += 60.1
    assert admitted(limiter, tokens(600), tokens=1) == 1


def test_failed_call_gives_its_tokens_back_and_keeps_its_request():
    limiter = Limiter(TurnedClock())
    scopes = (Scope("key a", requests_per_minute=2, tokens_per_minute=100),)
    limiter.reserve(scopes, tokens=100).release()
    left = limiter.remaining(scopes)
    assert (left.requests.remaining, left.tokens.remaining) == (1, 100)


def test_settling_twice_counts_once():
    limiter = Limiter(TurnedClock())
    reservation = limiter.reserve(tokens(100), tokens=50)
    reservation.settle(10)
    reservation.settle(90)
    reservation.release()
    assert reservation.remaining().tokens.remaining == 90


def test_late_refund_does_not_give_again_what_has_faded():
    clock = TurnedClock()
    limiter = Limiter(clock)
    slow = limiter.reserve(tokens(60), tokens=60)
    clock.now += 30
    limiter.reserve(tokens(60), tokens=30)
    slow.release()
    assert limiter.remaining(tokens(60)).tokens.remaining == 30


def test_reservation_that_is_never_settled_fades():
    clock = TurnedClock()
    limiter = Limiter(clock)
    limiter.reserve(tokens(100), tokens=100)
    clock.now += 60
    assert admitted(limiter, tokens(100), tokens=100) == 1


def test_idle_scopes_are_forgotten_and_busy_ones_are_not():
    clock = TurnedClock()
    limiter = Limiter(clock)
    busy = requests(30, key="busy")
    for number in range(20 * SWEEP_AT_LEAST):
        limiter.reserve(requests(60, key=f"key {number}"), tokens=0)
        if number % 100 == 0:
            admitted(limiter, busy)
        clock.now += 0.01
        assert len(limiter) <= 2 * 101 + SWEEP_AT_LEAST + 2
    assert limiter.remaining(busy).requests.remaining < 30


def test_refused_calls_of_many_scopes_do_not_fill_the_memory():
    limiter = Limiter(TurnedClock())
    for number in range(10 * SWEEP_AT_LEAST):
        admitted(limiter, requests(0, key=f"key {number}"))
    assert len(limiter) <= SWEEP_AT_LEAST + 1


def test_settling_after_the_scope_was_forgotten_still_counts():
    clock = TurnedClock()
    limiter = Limiter(clock)
    reservation = limiter.reserve(tokens(100), tokens=100)
    clock.now += 600
    for number in range(SWEEP_AT_LEAST + 1):
        limiter.reserve(requests(60, key=f"key {number}"), tokens=0)
    reservation.settle(200)
    assert admitted(limiter, tokens(100), tokens=1) == 0


def test_remaining_is_that_of_the_tightest_scope():
    limiter = Limiter(TurnedClock())
    scopes = (Scope("project", requests_per_minute=100), Scope("key a", requests_per_minute=5))
    left = limiter.reserve(scopes, tokens=7).remaining()
    assert (left.requests.limit, left.requests.remaining) == (5, 4)
    assert left.requests.reset_seconds == pytest.approx(12)
    assert left.tokens is None


@pytest.mark.parametrize("workers", [2, 3, 8])
def test_shares_of_several_workers_add_up_to_the_limit(workers: int):
    limiters = [Limiter(TurnedClock(), share=1 / workers) for _ in range(workers)]
    assert sum(admitted(limiter, requests(240), attempts=241) for limiter in limiters) == 240


def test_call_above_the_share_but_within_the_limit_passes_once_and_is_paid_by_time():
    clock = TurnedClock()
    limiter = Limiter(clock, share=0.25)
    assert admitted(limiter, tokens(1000), tokens=900, attempts=2) == 1
    with pytest.raises(LimitReachedError) as caught:
        limiter.reserve(tokens(1000), tokens=900)
    assert caught.value.retry_after_seconds == pytest.approx(900 / (250 / 60))
    assert caught.value.can_retry


def test_share_reports_what_is_left_of_the_whole_limit():
    left = Limiter(TurnedClock(), share=0.5).reserve(requests(100), tokens=0).remaining()
    assert (left.requests.limit, left.requests.remaining) == (100, 98)


@pytest.mark.parametrize("share", [0, -1, 1.5, math.nan])
def test_impossible_share_is_refused(share: float):
    with pytest.raises(ValueError, match="share"):
        Limiter(TurnedClock(), share=share)


def test_changed_limit_counts_at_once():
    limiter = Limiter(TurnedClock())
    admitted(limiter, requests(10), attempts=10)
    assert admitted(limiter, requests(15), attempts=10) == 5
    assert admitted(limiter, requests(5), attempts=1) == 0
