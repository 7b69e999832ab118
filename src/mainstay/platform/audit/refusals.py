"""Denials and failures: written to the audit log soon, though nothing is committed with them.

Whoever is refused could otherwise fill the log: each actor and address may say the same ten times a minute, an
organisation five hundred things in all; what goes beyond is counted, and the count is written.
"""

import asyncio
import logging
from collections import Counter, deque
from dataclasses import dataclass

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, DatabaseError
from mainstay.platform.audit.events import SYSTEM, Act, Event, Outcome
from mainstay.platform.audit.ledger import Ledger

WINDOW_SECONDS = 60.0
EACH_PER_WINDOW = 10
ALL_PER_WINDOW = 500
WAITING_MAX = 5000
FLUSH_SECONDS = 1.0
_BATCH = 200

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Noted:
    act: Act
    organisation_id: str
    event: Event


class Refusals:
    """Takes what was refused, and writes it in the background."""

    def __init__(self, database: Database, ledger: Ledger, clock: Clock) -> None:
        self._database = database
        self._ledger = ledger
        self._clock = clock
        self._waiting: deque[_Noted] = deque()
        self._window_ends = 0.0
        self._said: Counter[tuple[str, ...]] = Counter()
        self._unlisted: Counter[tuple[str, str, Outcome]] = Counter()
        self._writing = asyncio.Lock()
        self._is_reachable = True

    def note(self, act: Act, organisation_id: str, event: Event) -> None:
        """Note an event that belongs to no transaction. Costs no time, raises nothing."""
        self._begin_window()
        each = (organisation_id, event.action, act.actor.id, act.origin.address or "")
        if (
            self._said[each] >= EACH_PER_WINDOW
            or self._said[(organisation_id,)] >= ALL_PER_WINDOW
            or len(self._waiting) >= WAITING_MAX
        ):
            self._unlisted[organisation_id, event.action, event.outcome] += 1
            return
        self._said[each] += 1
        self._said[(organisation_id,)] += 1
        self._waiting.append(_Noted(act, organisation_id, event))

    async def write(self) -> None:
        """Write what waits. Raises DatabaseError; it then goes on waiting."""
        async with self._writing:
            self._begin_window()
            while self._waiting:
                batch = [self._waiting[place] for place in range(min(_BATCH, len(self._waiting)))]
                async with self._database.transaction() as transaction:
                    # Organisations in one order, so that two workers cannot wait for each other's chains.
                    for noted in sorted(batch, key=lambda one: one.organisation_id):
                        await self._ledger.append(transaction, noted.act, noted.organisation_id, [noted.event])
                for _ in batch:
                    self._waiting.popleft()

    async def run(self) -> None:
        """Keep writing until cancelled. An unreachable database is logged once."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.write()
            except DatabaseError as error:
                if self._is_reachable:
                    _LOG.error("audit: %s Refusals wait to be written.", error.message)
                self._is_reachable = False
            else:
                self._is_reachable = True

    async def drain(self, seconds: float) -> None:
        """Write what is left, counts included, when the worker ends."""
        self._window_ends = 0.0
        try:
            async with asyncio.timeout(seconds):
                await self.write()
        except (DatabaseError, TimeoutError):
            _LOG.error("audit: %d refusals could not be written before the end", len(self._waiting))

    def _begin_window(self) -> None:
        now = self._clock.monotonic()
        if now < self._window_ends:
            return
        self._window_ends = now + WINDOW_SECONDS
        self._said.clear()
        unlisted, self._unlisted = self._unlisted, Counter()
        for (organisation_id, action, outcome), count in unlisted.items():
            details = {"unlisted": count, "within_seconds": WINDOW_SECONDS}
            self._waiting.append(
                _Noted(SYSTEM, organisation_id, Event(action=action, outcome=outcome, details=details))
            )
