"""The requests that are being answered, so that one ends when its caller may not have it any more.

A stream outlives the check at its beginning. Whenever something has changed, and every other second for what expires,
each caller is looked at again; what he may not have any more ends with an error, in a stream as its last event.
"""

import asyncio
from typing import Any

from mainstay.api.authentication import Authentication
from mainstay.api.exchange import Exchange
from mainstay.kit.errors import MainstayError, PermissionDeniedError, UnauthenticatedError
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.authorize import Authority, Resource
from mainstay.platform.identity.caller import is_allowed_from

ENDED = "mainstay.ended"
"""The message of the cancellation that ends a request; `exchange.ending` says why."""

_SWEEP_SECONDS = 2.0
_SPACING_SECONDS = 0.2
"""Between two looks, however fast things change."""
_CALLS_PER_TURN = 200


_Live = tuple["asyncio.Task[Any]", Action, Resource | None]  # Any: what the task returns is nobody's concern


class LiveCalls:
    """Knows the open requests of this worker."""

    def __init__(
        self, authentication: Authentication, authority: Authority, *, sweep_seconds: float = _SWEEP_SECONDS
    ) -> None:
        self._authentication = authentication
        self._authority = authority
        self._sweep_seconds = sweep_seconds
        self._open: dict[Exchange, _Live] = {}
        self._has_changed = asyncio.Event()

    def __len__(self) -> int:
        """The number of open requests."""
        return len(self._open)

    def enter(self, exchange: Exchange, action: Action, resource: Resource | None) -> None:
        """Note that the present task answers the request."""
        task = exchange.task or asyncio.current_task()
        if task is not None:
            self._open[exchange] = (task, action, resource)

    def leave(self, exchange: Exchange) -> None:
        """Note that the request is answered."""
        self._open.pop(exchange, None)

    def notice(self) -> None:
        """Take note that something has changed: keys, people, roles, sessions."""
        self._has_changed.set()

    async def run(self) -> None:
        """Keep looking until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._sweep_seconds):
                    await self._has_changed.wait()
            except TimeoutError:
                pass  # time for what expires by itself
            self._has_changed.clear()
            await self.check()
            await asyncio.sleep(_SPACING_SECONDS)

    async def check(self) -> None:
        """End every request whose caller may not have it any more."""
        known: dict[tuple[int, Action, Resource | None, str, str], MainstayError | None] = {}
        for number, (exchange, (task, action, resource)) in enumerate(list(self._open.items())):
            same = (id(exchange.caller), action, resource, exchange.deployment, exchange.address)
            if same not in known:
                known[same] = self._refusal(exchange, action, resource)
            refusal = known[same]
            if refusal is not None and exchange in self._open:
                exchange.ending = refusal
                task.cancel(ENDED)
            if number % _CALLS_PER_TURN == _CALLS_PER_TURN - 1:
                await asyncio.sleep(0)

    def _refusal(self, exchange: Exchange, action: Action, resource: Resource | None) -> MainstayError | None:
        caller = self._authentication.current(exchange.caller)
        if caller is None or not self._authority.is_valid(caller):
            return UnauthenticatedError(
                "The credential of this request has expired, was revoked, or its owner was deactivated."
            )
        if not is_allowed_from(caller, exchange.address):
            return PermissionDeniedError(
                "This key may not be used from here any more; its networks are limited.", code="address_not_allowed"
            )
        try:
            self._authority.authorize(caller, action, resource)
        except MainstayError as error:
            return error
        if exchange.deployment and not self._authority.may_use(caller, exchange.deployment):
            return PermissionDeniedError(f"This credential may not call '{exchange.deployment[:100]}' any more.")
        return None
