"""The periods of budgets: days and months, UTC. A period is known by its first day, counted from 1970-01-01."""

from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

DAY_SECONDS = 86_400
_EPOCH = date(1970, 1, 1)


class Period(StrEnum):
    """The values are stored."""

    DAY = "day"
    MONTH = "month"


class Calendar:
    """Which periods a moment is in; it remembers the last day, since calls come one after the other."""

    def __init__(self) -> None:
        self._day = -1
        self._month = -1

    def first_day(self, period: Period, wall: float) -> int:
        """Return the first day of the period that `wall` (Unix seconds) is in."""
        day = int(wall // DAY_SECONDS)
        if day != self._day:
            self._day, self._month = day, month_of(day)
        return day if period is Period.DAY else self._month


def month_of(day: int) -> int:
    """Return the first day of the month that `day` is in."""
    return day - (_EPOCH + timedelta(days=day)).day + 1


def next_first_day(period: Period, first_day: int) -> int:
    """Return the day on which the next period begins."""
    return first_day + 1 if period is Period.DAY else month_of(first_day + 31)


def seconds_of(day: int) -> int:
    """Return the Unix time at which a day begins."""
    return day * DAY_SECONDS


def shown(day: int) -> str:
    """Return the moment at which a day begins, as people read it."""
    return datetime.fromtimestamp(seconds_of(day), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
