"""From two journal records to one row of `usage_records`, and to what it adds to the spending of its scopes."""

from collections.abc import Sequence
from typing import NamedTuple

from mainstay.kit.database import Database, Transaction, Value
from mainstay.platform.metering.calls import CallEnd, CallStart, Outcome
from mainstay.platform.metering.prices import PriceOf
from mainstay.platform.metering.scope_refs import is_key
from mainstay.platform.metering.spending import Amount, Payer, Spending, add_up, next_revision, write_spending

STATUS_UNKNOWN = 0
"""Status of an interrupted call: the server died before it had written down what the caller saw."""

_COUNT_MAX = 2**62
_TOKENS_MAX = 2**40
"""Of one call, whatever a vendor says: sums of these stay within 64 bits."""
_COST_NANO_MAX = 2**50
_IDS_FEW, _IDS_MANY = 20, 500
DAY_MS = 86_400_000
_COLUMNS = (
    "call_id",
    "request_id",
    "organisation_id",
    "project_id",
    "key_id",
    "operation",
    "deployment",
    "provider",
    "model",
    "is_stream",
    "started_at_ms",
    "first_token_ms",
    "last_token_ms",
    "duration_ms",
    "status",
    "outcome",
    "failure",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "tokens_are_estimated",
    "cost_nano",
    "currency",
    "principal_id",
)
# A call that was written before (by another adopter, or before a crash) is left as it is.
_INSERT = (
    f"INSERT INTO usage_records ({', '.join(_COLUMNS)}) "  # noqa: S608 - constants only
    f"VALUES ({', '.join(f':{name}' for name in _COLUMNS)}) ON CONFLICT (call_id) DO NOTHING"
)


# In pieces of two sizes, so that the statements are always the same.
_KNOWN = {
    size: "SELECT call_id FROM usage_records WHERE call_id IN ("  # noqa: S608 - constants only
    + ", ".join(f":id_{number}" for number in range(size))
    + ")"
    for size in (_IDS_FEW, _IDS_MANY)
}


class Record(NamedTuple):
    """A call as it is recorded: its row, with the values in the order of the columns, and what it adds to whom."""

    call_id: str
    row: tuple[Value, ...]
    payer: Payer
    amount: Amount


async def insert_usage(database: Database, records: Sequence[Record]) -> Spending:
    """Add calls in one transaction; those that are there already stay as they are. Raises DatabaseError.

    Returns what all of them have spent, those that were there included.
    """
    async with database.transaction() as transaction:
        # One recorder after the other from here on: who else records these calls has done it, or will see them.
        revision = await next_revision(transaction)
        known = await _known(transaction, records)
        new = [record for record in records if record.call_id not in known]
        await transaction.execute_many(_INSERT, [record.row for record in new])
        added = add_up((record.payer, record.amount) for record in new)
        await write_spending(transaction, added, revision)
    return added if len(new) == len(records) else add_up((record.payer, record.amount) for record in records)


async def _known(transaction: Transaction, records: Sequence[Record]) -> set[str]:
    """Return which of the calls are recorded: they were written before a crash, or before an answer was lost."""
    known: set[str] = set()
    size = _IDS_FEW if len(records) <= _IDS_FEW else _IDS_MANY
    for first in range(0, len(records), size):
        ids = [record.call_id for record in records[first : first + size]]
        padded = ids + ids[-1:] * (size - len(ids))
        rows = await transaction.fetch(_KNOWN[size], {f"id_{number}": value for number, value in enumerate(padded)})
        known.update(row[0] for row in rows)
    return known


def usage_record(start: CallStart, end: CallEnd | None, price_of: PriceOf) -> Record:
    """Return the record of a call; without an end it was interrupted."""
    if end is None:
        end = CallEnd(
            call_id=start.call_id, ended_at=start.started_at, status=STATUS_UNKNOWN, outcome=Outcome.INTERRUPTED
        )
    prompt, completion = _tokens(end.prompt_tokens), _tokens(end.completion_tokens)
    cost_nano, currency = _cost(start, end, price_of)
    started_at_ms = _count(start.started_at * 1000)
    amount = Amount(1, prompt + completion, cost_nano or 0)
    return Record(
        call_id=start.call_id,
        row=(
            start.call_id,
            _text(start.request_id),
            start.organisation_id,
            start.project_id,
            start.key_id,
            start.operation,
            _text(start.deployment),
            _text(end.provider or start.provider),
            _text(end.model or start.model),
            start.is_stream,
            started_at_ms,
            _milliseconds(end.first_token_ms),
            _milliseconds(end.last_token_ms),
            _milliseconds(end.duration_ms),
            end.status,
            end.outcome.value,
            None if end.failure is None else _text(end.failure),
            prompt,
            _tokens(end.cached_tokens),
            completion,
            _tokens(end.reasoning_tokens),
            end.tokens_are_estimated,
            cost_nano,
            currency,
            start.principal_id,
        ),
        payer=Payer(
            start.organisation_id,
            start.project_id,
            start.key_id if is_key(start.key_id) else "",
            start.principal_id,
            start.group_ids,
            started_at_ms // DAY_MS,
            currency or "",
        ),
        amount=amount,
    )


def _cost(start: CallStart, end: CallEnd, price_of: PriceOf) -> tuple[int | None, str | None]:
    """The amount and its currency: as written down when the call ended, or else at the price of now."""
    if end.currency is not None:
        known = end.cost_nano is not None and end.currency != ""
        return (min(max(end.cost_nano or 0, 0), _COST_NANO_MAX), end.currency) if known else (None, None)
    price = price_of(start.deployment)
    if price is None:
        return None, None
    nano = price.cost_nano(
        prompt_tokens=_tokens(end.prompt_tokens),
        cached_tokens=_tokens(end.cached_tokens),
        completion_tokens=_tokens(end.completion_tokens),
    )
    return min(nano, _COST_NANO_MAX), price.currency


def _text(value: str) -> str:
    """Names come from vendors and callers; one that the database cannot hold must not hold up all others."""
    return value.replace("\x00", "\ufffd") if "\x00" in value else value


def _count(value: float) -> int:
    """Numbers too: 64 bits, never negative."""
    number = int(value)
    return number if 0 <= number <= _COUNT_MAX else min(max(number, 0), _COUNT_MAX)


def _tokens(value: int) -> int:
    return value if 0 <= value <= _TOKENS_MAX else min(max(value, 0), _TOKENS_MAX)


def _milliseconds(value: float | None) -> int | None:
    if value is None:
        return None
    number = int(value)
    return number if 0 <= number <= _COUNT_MAX else _count(number)
