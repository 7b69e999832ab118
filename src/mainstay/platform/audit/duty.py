"""What one worker of all does for the audit log in the background: signs checkpoints, sends events to webhooks."""

import asyncio
import logging

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database
from mainstay.kit.errors import MainstayError
from mainstay.kit.lease import Lease
from mainstay.platform.audit.checkpoints import Checkpoints
from mainstay.platform.audit.deliveries import Deliveries

LEASE = "audit"
LEASE_SECONDS = 20.0
POLL_SECONDS = 1.0
_WAIT_ROUNDS = 5
"""Rounds that a worker without the lease lets pass before it asks again."""

_LOG = logging.getLogger(__name__)


class Duty:
    """Does both while it holds the lease."""

    def __init__(
        self,
        database: Database,
        checkpoints: Checkpoints,
        deliveries: Deliveries,
        clock: Clock,
        *,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._checkpoints = checkpoints
        self._deliveries = deliveries
        self._lease = Lease(database, clock, LEASE, seconds=LEASE_SECONDS)
        self._poll_seconds = poll_seconds
        self._is_ours = False
        self._told = ""

    async def run(self) -> None:
        """Work until cancelled. What hinders it is logged once."""
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    await self._round(tasks)
                    rounds = 1 if self._is_ours else _WAIT_ROUNDS
                    await asyncio.sleep(self._poll_seconds * rounds)
        finally:
            await self._leave()

    async def _round(self, tasks: asyncio.TaskGroup) -> None:
        try:
            was_ours, self._is_ours = self._is_ours, await self._lease.hold()
            if self._is_ours:
                if not was_ours:
                    self._checkpoints.forget()
                await self._deliveries.start_due(tasks)
                await self._checkpoints.sign_due()
        except MainstayError as error:
            if error.message != self._told:
                _LOG.error("audit: The log waits to be signed or sent: %s", error.message)
            self._told = error.message
        else:
            if self._told:
                _LOG.warning("audit: The log is signed and sent again.")
            self._told = ""

    async def _leave(self) -> None:
        if not self._is_ours:
            return
        self._is_ours = False
        try:
            async with asyncio.timeout(self._poll_seconds):
                await self._lease.release()
        except (MainstayError, TimeoutError):
            _LOG.debug("audit: the lease is left to run out")
