"""How long to wait before an engine that crashed is started again."""

from collections import deque

_HEALTHY_SECONDS = 60.0
_WINDOW_SECONDS = 600.0
_CRASHES_BEFORE_SLOWING = 3
_SLOW_FACTOR = 10.0


class Backoff:
    """Pauses of 1, 2, 4 … 60 units of time; over again after a child that ran well for a minute.

    After 3 crashes within 10 minutes every pause is at least 10 units, however well the children ran in between: what
    kills an engine every two minutes is not to be met at full speed.
    """

    def __init__(self, *, first_seconds: float, longest_seconds: float) -> None:
        self._first_seconds = first_seconds
        self._longest_seconds = longest_seconds
        self._in_a_row = 0
        self._crash_times: deque[float] = deque(maxlen=_CRASHES_BEFORE_SLOWING)

    def pause_seconds(self, *, now: float, ran_seconds: float) -> float:
        """Record a crash at the monotonic time `now`, after `ran_seconds` of health; return the pause to make."""
        self._in_a_row = 1 if ran_seconds >= _HEALTHY_SECONDS else self._in_a_row + 1
        self._crash_times.append(now)
        # 2 ** 6 units already pass the longest pause; without the bound the power would grow for ever.
        pause = self._first_seconds * 2.0 ** min(self._in_a_row - 1, 16)
        if self._is_crashing_often(now):
            pause = max(pause, _SLOW_FACTOR * self._first_seconds)
        return min(pause, self._longest_seconds)

    def _is_crashing_often(self, now: float) -> bool:
        return len(self._crash_times) == _CRASHES_BEFORE_SLOWING and now - self._crash_times[0] <= _WINDOW_SECONDS
