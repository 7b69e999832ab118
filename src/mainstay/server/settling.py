"""Puts what was written in force: in this worker and, where there are several, in all of them."""

import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence

from mainstay.kit.errors import MainstayError
from mainstay.platform.identity.change_feed import ChangeFeed
from mainstay.platform.identity.keyring import Keyring

_LOG = logging.getLogger("mainstay.server")


class Settle:
    """Called before a success is told of. What it cannot do at once, the views do by themselves within seconds."""

    def __init__(self, changes: ChangeFeed, keyring: Keyring, tell_others: Callable[[], Awaitable[None]]) -> None:
        self._changes = changes
        self._keyring = keyring
        self._tell_others = tell_others

    @property
    def duties(self) -> Sequence[Callable[[], Coroutine[None, None, None]]]:
        """What must be kept running: it sees what other processes have written."""
        return (self._changes.run, self._keyring.run)

    async def __call__(self) -> None:
        """Have every worker see what was written."""
        try:
            await self._tell_others()
        except (MainstayError, TimeoutError) as error:
            _LOG.warning("what was written is in force a second later than usual: %s", error)

    async def refresh(self) -> None:
        """See what was written, in this worker. Raises DatabaseError."""
        # The directory before the keys: a key whose owner is not known yet would be refused.
        await self._changes.refresh()
        await self._keyring.refresh()

    def on_change(self, tell: Callable[[], None]) -> None:
        """Have `tell` called whenever something that callers depend on has changed."""
        self._changes.on_change.append(tell)
        self._keyring.on_change.append(tell)
