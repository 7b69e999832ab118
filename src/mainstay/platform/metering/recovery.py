"""Records the calls of workers that died.

A dead worker's folder is adopted by whoever gets its lock. Calls that had ended are recorded as they ended,
open ones as `interrupted`; then the folder is removed. All of it may be killed and done again: a call that is
recorded already stays as it is.
"""

import asyncio
import logging
from pathlib import Path

from mainstay.kit.database import Database, DatabaseError
from mainstay.platform.metering.folders import OwnedFolder, adopt_folders
from mainstay.platform.metering.pairing import Pairing
from mainstay.platform.metering.prices import PriceOf, no_price
from mainstay.platform.metering.records import Record, insert_usage
from mainstay.platform.metering.segments import SegmentReader, segment_numbers, segment_path

INTERVAL_SECONDS = 30.0
_BATCH_ROWS = 1000

_log = logging.getLogger(__name__)


class Recovery:
    """Looks after the folders below `root`, those of living workers excepted."""

    def __init__(
        self,
        root: Path,
        database: Database,
        price_of: PriceOf = no_price,
        *,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self._root = root
        self._database = database
        self._price_of = price_of
        self._interval_seconds = interval_seconds

    async def run(self) -> None:
        """Recover at once and then regularly, until cancelled."""
        while True:
            try:
                await self.recover()
            except (DatabaseError, OSError) as error:
                _log.error("usage: The calls of a dead worker stay in %s for now: %s", self._root, error)
            await asyncio.sleep(self._interval_seconds)

    async def recover(self) -> int:
        """Adopt every dead worker's folder; return how many. Raises DatabaseError; nothing is lost then."""
        adopted = 0
        for folder in adopt_folders(self._root):
            try:
                interrupted = await self._record(folder)
            except BaseException:
                folder.release()
                raise
            folder.remove()
            adopted += 1
            _log.log(
                logging.WARNING if interrupted else logging.INFO,
                "usage: Recorded the calls of a dead worker (%s); %d were interrupted.",
                folder.path.name,
                interrupted,
            )
        return adopted

    async def _record(self, folder: OwnedFolder) -> int:
        pairing = Pairing(self._price_of)
        for number in segment_numbers(folder.path):
            reader = SegmentReader(segment_path(folder.path, number))
            try:
                await self._record_segment(reader, number, pairing)
            finally:
                reader.close()
        interrupted = pairing.interrupt()
        await self._insert(interrupted)
        return len(interrupted)

    async def _record_segment(self, reader: SegmentReader, number: int, pairing: Pairing) -> None:
        rows: list[Record] = []
        while (records := reader.read()) is not None:
            rows += pairing.add(records, number)
            if len(rows) >= _BATCH_ROWS:
                await self._insert(rows)
                rows = []
            await asyncio.sleep(0)
        await self._insert(rows)

    async def _insert(self, rows: list[Record]) -> None:
        for first in range(0, len(rows), _BATCH_ROWS):
            await insert_usage(self._database, rows[first : first + _BATCH_ROWS])
