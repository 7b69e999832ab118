"""What every scope has used, day by day: sums that are kept beside the usage records, in the same transaction."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from mainstay.kit.database import Transaction
from mainstay.platform.metering.scope_refs import ScopeType

K = TypeVar("K")

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


class Payer(NamedTuple):
    """Everyone that one call counts for. Most calls of a batch have the same, so they are added up before they are
    taken apart.
    """

    organisation_id: str
    project_id: str
    key_id: str
    """Empty where the credential is no key."""
    principal_id: str | None
    group_ids: tuple[str, ...]
    day: int
    currency: str

    def sums(self) -> Iterator[SpendingKey]:
        """Yield the sums that the call is part of."""
        yield self._key(ScopeType.ORGANISATION, self.organisation_id)
        if self.key_id:
            yield self._key(ScopeType.KEY, self.key_id)
        if self.project_id:
            yield self._key(ScopeType.PROJECT, self.project_id)
        if self.principal_id is not None:
            yield self._key(ScopeType.USER, self.principal_id)
        for group_id in self.group_ids:
            yield self._key(ScopeType.GROUP, group_id)

    def _key(self, scope_type: ScopeType, scope_id: str) -> SpendingKey:
        return SpendingKey(self.organisation_id, scope_type, scope_id, self.day, self.currency)


def add_up(calls: Iterable[tuple[Payer, Amount]]) -> Spending:
    """Return the sums of calls."""
    return _summed((key, amount) for payer, amount in _summed(calls).items() for key in payer.sums())


def _summed(amounts: Iterable[tuple[K, Amount]]) -> dict[K, Amount]:
    sums: dict[K, Amount] = {}
    for key, amount in amounts:
        found = sums.get(key)
        sums[key] = (
            amount
            if found is None
            else Amount(found.calls + amount.calls, found.tokens + amount.tokens, found.cost_nano + amount.cost_nano)
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
