"""Carries a worker's journal into the database, behind the calls and never in their way.

What was carried over is deleted from the journal, and only then. While the database is away the journal grows
on disk; memory holds the open calls and one batch.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from mainstay.kit.database import Database, DatabaseError
from mainstay.platform.metering.journal import Journal
from mainstay.platform.metering.pairing import Pairing
from mainstay.platform.metering.prices import PriceOf, no_price
from mainstay.platform.metering.records import Record, insert_usage
from mainstay.platform.metering.segments import SegmentReader, segment_numbers, segment_path
from mainstay.platform.metering.spending import Spending

INTERVAL_SECONDS = 1.0
BACKOFF_SECONDS_MAX = 30.0
_BATCH_ROWS = 1000

_log = logging.getLogger(__name__)


class Listener(Protocol):
    """Wants to know what has reached the database, at the moment when it has."""

    recording: asyncio.Lock

    def note_recorded(self, spending: Spending) -> None:
        """Take note; called while `recording` is held."""
        ...


class Nobody:
    """Does not care."""

    def __init__(self) -> None:
        self.recording = asyncio.Lock()

    def note_recorded(self, spending: Spending) -> None:
        """Do nothing."""


class Recorder:
    """Records the calls of one journal."""

    def __init__(
        self,
        journal: Journal,
        database: Database,
        price_of: PriceOf = no_price,
        *,
        listener: Listener | None = None,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self._journal = journal
        self._database = database
        self._listener = listener or Nobody()
        self._interval_seconds = interval_seconds
        self._pairing = Pairing(price_of)
        self._number = 1
        self._reader = SegmentReader(segment_path(journal.folder.path, 1))
        self._unsaved: list[Record] = []
        self._is_failing = False
        self._recording = asyncio.Lock()

    @property
    def backlog_bytes(self) -> int:
        """How much of the journal has not reached the database."""
        number, offset = self._journal.position
        return (number - self._number) * self._journal.segment_bytes + offset - self._reader.offset

    async def run(self) -> None:
        """Keep recording until cancelled. A database that is away is logged once and asked again, ever less often."""
        delay = self._interval_seconds
        while True:
            await asyncio.sleep(delay)
            try:
                await self.record()
            except DatabaseError as error:
                delay = min(delay * 2, BACKOFF_SECONDS_MAX)
                if not self._is_failing:
                    _log.error("usage: %s Calls are kept in %s.", error.message, self._journal.folder.path)
                self._is_failing = True
            else:
                delay = self._interval_seconds
                if self._is_failing:
                    _log.warning("usage: The database answers again; all calls are recorded.")
                self._is_failing = False

    async def record(self) -> None:
        """Carry over all that is in the journal now. Raises DatabaseError; nothing is lost then."""
        async with self._recording:
            # First what an earlier attempt has left, so that attempts in vain do not pile up in memory.
            await self._save()
            target = self._journal.position
            while self._read(target):
                if len(self._unsaved) >= _BATCH_ROWS:
                    await self._save()
                await asyncio.sleep(0)
            await self._save()

    async def drain(self, timeout_seconds: float) -> bool:
        """Record what is left, at shutdown, when no call is open; then close the journal.

        Returns whether everything was recorded. If not, the folder stays and the next worker adopts it.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.record()
            is_done = self.backlog_bytes == 0 and not self._unsaved and not self._pairing
        except (DatabaseError, TimeoutError):
            is_done = False
        self._journal.close()
        self._reader.close()
        if is_done:
            self._journal.folder.remove()
        else:
            self._journal.folder.release()
            _log.warning("usage: Calls remain in %s; they are recorded at the next start.", self._journal.folder.path)
        return is_done

    def _read(self, target: tuple[int, int]) -> bool:
        """Read the next piece before `target`; return False if there is none."""
        number, offset = target
        records = self._reader.read(offset if number == self._number else None)
        if records is None:
            if self._number >= number:
                return False
            self._number += 1
            self._reader.close()
            self._reader = SegmentReader(segment_path(self._journal.folder.path, self._number))
            return True
        self._unsaved += self._pairing.add(records, self._number)
        return True

    async def _save(self) -> None:
        if self._unsaved:
            async with self._listener.recording:
                self._listener.note_recorded(await insert_usage(self._database, self._unsaved))
            self._unsaved = []
        self._remove(segment_numbers(self._journal.folder.path))

    def _remove(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            if number < self._number and not self._pairing.is_waiting_in(number):
                segment_path(self._journal.folder.path, number).unlink()
