"""A clock that stands until it is turned."""

START = 1_800_000_000.0


class StandingClock:
    """A `kit.clock.Clock` for tests: `now` is both of its times."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def monotonic(self) -> float:
        """Return `now`."""
        return self.now

    def wall(self) -> float:
        """Return `now`."""
        return self.now
