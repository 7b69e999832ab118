"""Puts what was written in force: in this worker and, where there are several, in all of them."""

import logging
from collections.abc import Awaitable, Callable

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
