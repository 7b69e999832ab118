"""What identity providers publish, kept for a while: an outage of theirs is not one of ours."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from mainstay.kit.clock import Clock
from mainstay.kit.errors import MainstayError

FRESH_SECONDS = 3600.0
KEPT_SECONDS = 86_400.0
"""How long a copy is used when a new one cannot be had."""
RETRY_SECONDS = 30.0
"""How often a document is asked for at most, whatever strangers send."""

_URLS_MAX = 1000
_LOG = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(slots=True)
class _Copy(Generic[T]):
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    value: T | None = None
    fetched_at: float = 0.0
    tried_at: float | None = None
    error: MainstayError | None = None

    def usable(self, now: float) -> T | None:
        return self.value if now - self.fetched_at < KEPT_SECONDS else None


class Remembered(Generic[T]):
    """Copies of documents, by their URLs."""

    def __init__(self, fetch: Callable[[str], Awaitable[T]], clock: Clock) -> None:
        """`fetch` raises MainstayError when the document is not to be had or not as it must be."""
        self._fetch = fetch
        self._clock = clock
        self._copies: dict[str, _Copy[T]] = {}

    async def get(self, url: str) -> T:
        """Return the document, at most an hour old unless it cannot be fetched. Raises MainstayError."""
        copy = self._copy(url)
        now = self._clock.monotonic()
        if copy.value is not None and now - copy.fetched_at < FRESH_SECONDS:
            return copy.value
        known = copy.usable(now)
        if known is not None and copy.lock.locked():
            return known  # another is fetching it
        return await self._renewed(copy, url)

    async def renew(self, url: str) -> T:
        """Return a new copy, or the old one if it was asked for a moment ago. Raises MainstayError."""
        return await self._renewed(self._copy(url), url)

    async def _renewed(self, copy: _Copy[T], url: str) -> T:
        async with copy.lock:
            now = self._clock.monotonic()
            if copy.tried_at is None or now - copy.tried_at >= RETRY_SECONDS:
                copy.tried_at = now
                await self._try(copy, url)
            known = copy.usable(self._clock.monotonic())
            if known is not None:
                return known
            raise copy.error or MainstayError(f"{url[:200]} was not fetched.")

    async def _try(self, copy: _Copy[T], url: str) -> None:
        try:
            copy.value = await self._fetch(url)
        except MainstayError as error:
            if copy.error is None:
                _LOG.warning("sign-in: %s", error.message)
            copy.error = error
        else:
            copy.fetched_at = self._clock.monotonic()
            copy.error = None

    def _copy(self, url: str) -> _Copy[T]:
        copy = self._copies.get(url)
        if copy is None:
            if len(self._copies) >= _URLS_MAX:
                self._copies.clear()
            copy = self._copies[url] = _Copy()
        return copy
