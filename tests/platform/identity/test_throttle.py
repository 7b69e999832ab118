"""The throttle: floods from one place, from everywhere, and time that passes."""

import pytest
from tests.platform.identity.signing_in import Clock

from mainstay.kit.errors import RateLimitedError
from mainstay.platform.identity.throttle import Throttle, source_of


@pytest.fixture
def clock() -> Clock:
    return Clock()


def fail(throttle: Throttle, address: str, times: int) -> None:
    for _ in range(times):
        throttle.require_free(address)
        throttle.note_failure(address)


def test_too_many_failures_are_refused_and_time_heals(clock):
    throttle = Throttle(clock, failures=5, seconds=100)
    fail(throttle, "192.0.2.1", 5)
    with pytest.raises(RateLimitedError) as raised:
        throttle.require_free("192.0.2.1")
    assert raised.value.retry_after_seconds == 20
    throttle.require_free("192.0.2.2")
    clock.now += 20
    fail(throttle, "192.0.2.1", 1)
    with pytest.raises(RateLimitedError):
        throttle.require_free("192.0.2.1")
    clock.now += 10_000
    fail(throttle, "192.0.2.1", 5)


def test_a_whole_network_of_ipv6_is_one_source(clock):
    throttle = Throttle(clock, failures=5, seconds=100)
    for number in range(5):
        fail(throttle, f"2001:db8::{number}", 1)
    with pytest.raises(RateLimitedError):
        throttle.require_free("2001:db8::ffff:ffff:ffff:ffff")
    throttle.require_free("2001:db8:0:1::1")


def test_a_flood_from_everywhere_fills_no_memory(clock):
    throttle = Throttle(clock, failures=5, seconds=100, sources_max=1000)
    for number in range(20_000):
        throttle.note_failure(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(throttle) == 1000


@pytest.mark.parametrize("odd", ["", "unix", "x" * 10_000, "1.2.3.4.5", "\x00"])
def test_odd_addresses_are_sources_too(odd):
    assert len(source_of(odd)) <= 100
