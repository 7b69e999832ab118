"""A lease: of all processes on a database, one at a time does a duty."""

import math

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Value
from mainstay.kit.ids import new_id

_TAKE = (
    "INSERT INTO leases (name, holder, expires_at_ms) VALUES (:name, :holder, :expires_at_ms) "
    "ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at_ms = excluded.expires_at_ms "
    "WHERE leases.holder = excluded.holder OR leases.expires_at_ms <= :now_ms RETURNING holder"
)


class Lease:
    """The right to do a duty, until it runs out or is given back.

    Holders compare the clocks of their machines: where these differ by more than the lease is long, two may hold it
    for a while, so a duty must bear being done twice.
    """

    def __init__(self, database: Database, clock: Clock, name: str, *, seconds: float) -> None:
        self._database = database
        self._clock = clock
        self._name = name
        self._seconds = seconds
        self._holder = new_id("")
        self._renew_at = -math.inf

    async def hold(self) -> bool:
        """Take the lease or prolong it; return whether it is ours. Raises DatabaseError."""
        if self._clock.monotonic() < self._renew_at:
            return True
        began = self._clock.monotonic()
        now_ms = int(self._clock.wall() * 1000)
        values: dict[str, Value] = {
            "name": self._name,
            "holder": self._holder,
            "now_ms": now_ms,
            "expires_at_ms": now_ms + int(self._seconds * 1000),
        }
        async with self._database.transaction() as transaction:
            is_ours = bool(await transaction.fetch(_TAKE, values))
        self._renew_at = began + self._seconds / 3 if is_ours else -math.inf
        return is_ours

    async def release(self) -> None:
        """Give the lease back if it is ours, so that another need not wait. Raises DatabaseError."""
        self._renew_at = -math.inf
        async with self._database.transaction() as transaction:
            await transaction.execute(
                "DELETE FROM leases WHERE name = :name AND holder = :holder",
                {"name": self._name, "holder": self._holder},
            )
