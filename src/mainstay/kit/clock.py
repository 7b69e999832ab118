"""Time as a value that objects receive, so that tests can turn it."""

import time
from typing import Protocol


class Clock(Protocol):
    """Two times: one to measure with, one to write down."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""
        ...

    def wall(self) -> float:
        """Unix time in seconds, UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
