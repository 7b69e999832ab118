"""Slows guessing and flooding down, by where they come from. Bounded in memory, whoever knocks."""

import ipaddress
from collections import OrderedDict

from mainstay.kit.clock import Clock
from mainstay.kit.errors import RateLimitedError

SOURCES_MAX = 10_000
_IPV6_PREFIX = 64
"""What one subscriber has to himself."""


class Throttle:
    """Counts failures by source: so many may happen at once, and as many again in the time given."""

    def __init__(self, clock: Clock, *, failures: float, seconds: float, sources_max: int = SOURCES_MAX) -> None:
        self._clock = clock
        self._failures = max(failures, 1.0)
        self._per_second = self._failures / seconds
        self._sources_max = sources_max
        # What each has used up, and when that was counted; the longest ago first.
        self._used: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """The number of sources that are remembered."""
        return len(self._used)

    def require_free(self, address: str) -> None:
        """Raise RateLimitedError while the source has failed too often."""
        left = self._failures - self._now_used(source_of(address))
        if left < 1:
            wait = (1 - left) / self._per_second
            raise RateLimitedError(
                "Too many sign-ins have failed or were left open from this address; wait before the next.",
                retry_after_seconds=wait,
            )

    def note_failure(self, address: str) -> None:
        """Count a failure."""
        source = source_of(address)
        used = self._now_used(source) + 1
        self._used[source] = (min(used, self._failures), self._clock.monotonic())
        self._used.move_to_end(source)
        if len(self._used) > self._sources_max:
            self._used.popitem(last=False)

    def _now_used(self, source: str) -> float:
        used, at = self._used.get(source, (0.0, 0.0))
        return max(0.0, used - (self._clock.monotonic() - at) * self._per_second)


def source_of(address: str) -> str:
    """Return what counts as one source: an IPv4 address, or the network of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:100]
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(parsed) >> _IPV6_PREFIX << _IPV6_PREFIX, _IPV6_PREFIX)))
    return str(parsed)
