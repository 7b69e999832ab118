"""What every scope has used, day by day: sums that are kept beside the usage records, in the same transaction."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mainstay.kit.database import Transaction
from mainstay.platform.metering.scope_refs import ScopeType

REVISION = "spending"
"""The counter that each transaction with new spending raises. Its row stays locked until the commit, so that
recorders work one after the other and revisions are committed in their order."""

SUM_MAX = 2**57
"""Where a sum stops, so that the 31 days of a month can be added up in 64 bits."""


class SpendingKey(NamedTuple):
    """One sum: who, on which day (since 1970-01-01, UTC), in which currency (empty without a price)."""

    organisation_id: str
    scope_type: ScopeType
    scope_id: str
    day: int
    currency: str


class Amount(NamedTuple):
    """What was used."""

    calls: int
    tokens: int
    cost_nano: int


Spending = Mapping[SpendingKey, Amount]

_ADD = (
    "INSERT INTO spending "
    "(organisation_id, scope_type, scope_id, day, currency, calls, tokens, cost_nano, revision) "
    "VALUES (:organisation_id, :scope_type, :scope_id, :day, :currency, :calls, :tokens, :cost_nano, :revision) "
    "ON CONFLICT (organisation_id, scope_type, scope_id, day, currency) DO UPDATE SET revision = excluded.revision, "
    + ", ".join(
        f"{name} = CASE WHEN spending.{name} > {SUM_MAX} - excluded.{name} THEN {SUM_MAX} "
        f"ELSE spending.{name} + excluded.{name} END"
        for name in Amount._fields
    )
)


def add_up(parts: Iterable[Iterable[tuple[SpendingKey, Amount]]]) -> Spending:
    """Return the sums of calls."""
    sums: dict[SpendingKey, Amount] = {}
    for part in parts:
        for key, (calls, tokens, cost_nano) in part:
            found = sums.get(key)
            sums[key] = (
                Amount(calls, tokens, cost_nano)
                if found is None
                else Amount(found.calls + calls, found.tokens + tokens, found.cost_nano + cost_nano)
            )
    return sums


async def next_revision(transaction: Transaction) -> int:
    """Raise the counter; from here to the commit no other recorder writes."""
    ((value,),) = await transaction.fetch(
        "UPDATE revisions SET value = value + 1 WHERE name = :name RETURNING value", {"name": REVISION}
    )
    return int(value)


async def write_spending(transaction: Transaction, spending: Spending, revision: int) -> None:
    """Add to the sums."""
    await transaction.execute_many(
        _ADD,
        [(*key, *(min(amount, SUM_MAX) for amount in amounts), revision) for key, amounts in spending.items()],
    )
