"""Brings the start and the end of a call together."""

from collections import Counter
from collections.abc import Iterable

from mainstay.platform.metering.calls import CallStart
from mainstay.platform.metering.prices import PriceOf
from mainstay.platform.metering.records import Record as Done
from mainstay.platform.metering.records import usage_record
from mainstay.platform.metering.segments import Record


class Pairing:
    """Starts that wait for their end; as many as there are open calls."""

    def __init__(self, price_of: PriceOf) -> None:
        self._price_of = price_of
        self._waiting: dict[str, tuple[CallStart, int]] = {}
        self._by_segment: Counter[int] = Counter()

    def __len__(self) -> int:
        """The number of calls whose end has not been seen."""
        return len(self._waiting)

    def add(self, records: Iterable[Record], segment: int) -> list[Done]:
        """Take in records of a segment; return the rows of the calls that are complete now.

        An end without a start is skipped: the start's segment was removed, which happens only after the call
        was recorded.
        """
        rows = []
        for record in records:
            if isinstance(record, CallStart):
                self._waiting[record.call_id] = (record, segment)
                self._by_segment[segment] += 1
            elif (found := self._waiting.pop(record.call_id, None)) is not None:
                start, started_in = found
                self._by_segment[started_in] -= 1
                rows.append(usage_record(start, record, self._price_of))
        return rows

    def is_waiting_in(self, segment: int) -> bool:
        """Whether a call that started in `segment` has not ended."""
        return self._by_segment[segment] > 0

    def interrupt(self) -> list[Done]:
        """Give up on all that wait; return their rows."""
        rows = [usage_record(start, None, self._price_of) for start, _ in self._waiting.values()]
        self._waiting.clear()
        self._by_segment.clear()
        return rows
