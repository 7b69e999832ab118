"""When keys and the people behind them were last used: written now and then, never on the way of a call."""

import asyncio
import logging

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, DatabaseError
from mainstay.platform.identity.keyring import Keyring

WRITE_SECONDS = 30.0
"""How old the times that are shown may be."""

_LOG = logging.getLogger(__name__)


class KeyUse:
    """Writes down the use of one worker's keyring."""

    def __init__(
        self, keyring: Keyring, database: Database, clock: Clock, *, write_seconds: float = WRITE_SECONDS
    ) -> None:
        self._keyring = keyring
        self._database = database
        self._clock = clock
        self._write_seconds = write_seconds

    async def run(self) -> None:
        """Write until cancelled, and once more then. What an unreachable database does not take is not written."""
        try:
            while True:
                await asyncio.sleep(self._write_seconds)
                await self._try_to_write()
        finally:
            await self._try_to_write()

    async def write(self) -> None:
        """Write what was used since the last time. Raises DatabaseError."""
        used = self._keyring.take_used()
        if not used:
            return
        now_ms = int(self._clock.wall() * 1000)
        people = {principal_id for principal_id in used.values() if principal_id is not None}
        async with self._database.transaction() as transaction:
            # Sorted: one order for all workers, so that none waits for another that waits for it.
            await transaction.execute_many(
                "UPDATE api_keys SET last_used_at_ms = :now_ms WHERE id = :id",
                [(now_ms, key_id) for key_id in sorted(used)],
            )
            await transaction.execute_many(
                "UPDATE users SET last_active_at_ms = :now_ms WHERE principal_id = :id",
                [(now_ms, principal_id) for principal_id in sorted(people)],
            )

    async def _try_to_write(self) -> None:
        try:
            await self.write()
        except DatabaseError as error:
            _LOG.warning("keys: When keys were used could not be written: %s", error.message)
