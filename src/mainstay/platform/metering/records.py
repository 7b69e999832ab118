"""From two journal records to one row of `usage_records`."""

from collections.abc import Sequence

from mainstay.kit.database import Database, Value
from mainstay.platform.metering.calls import CallEnd, CallStart, Outcome
from mainstay.platform.metering.prices import PriceOf

STATUS_UNKNOWN = 0
"""Status of an interrupted call: the server died before it had written down what the caller saw."""

_COUNT_MAX = 2**62
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
)
# A call that was written before (by another adopter, or before a crash) is left as it is.
_INSERT = (
    f"INSERT INTO usage_records ({', '.join(_COLUMNS)}) "  # noqa: S608 - constants only
    f"VALUES ({', '.join(f':{name}' for name in _COLUMNS)}) ON CONFLICT (call_id) DO NOTHING"
)


Record = tuple[Value, ...]
"""A row, its values in the order of the columns."""


async def insert_usage(database: Database, rows: Sequence[Record]) -> None:
    """Add rows in one transaction; calls that are there already stay as they are. Raises DatabaseError."""
    async with database.transaction() as transaction:
        await transaction.execute_many(_INSERT, rows)


def usage_row(start: CallStart, end: CallEnd | None, price_of: PriceOf) -> Record:
    """Return the row of a call; without an end it was interrupted."""
    if end is None:
        end = CallEnd(
            call_id=start.call_id, ended_at=start.started_at, status=STATUS_UNKNOWN, outcome=Outcome.INTERRUPTED
        )
    prompt, cached = _count(end.prompt_tokens), _count(end.cached_tokens)
    completion = _count(end.completion_tokens)
    return (
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
        _count(start.started_at * 1000),
        _milliseconds(end.first_token_ms),
        _milliseconds(end.last_token_ms),
        _milliseconds(end.duration_ms),
        end.status,
        end.outcome.value,
        None if end.failure is None else _text(end.failure),
        prompt,
        cached,
        completion,
        _count(end.reasoning_tokens),
        end.tokens_are_estimated,
        *_cost(price_of, start.deployment, prompt=prompt, cached=cached, completion=completion),
    )


def _cost(price_of: PriceOf, deployment: str, *, prompt: int, cached: int, completion: int) -> tuple[Value, Value]:
    """The amount and its currency."""
    price = price_of(deployment)
    if price is None:
        return None, None
    nano = price.cost_nano(prompt_tokens=prompt, cached_tokens=cached, completion_tokens=completion)
    return min(nano, _COUNT_MAX), price.currency


def _text(value: str) -> str:
    """Names come from vendors and callers; one that the database cannot hold must not hold up all others."""
    return value.replace("\x00", "\ufffd") if "\x00" in value else value


def _count(value: float) -> int:
    """Numbers too: 64 bits, never negative."""
    number = int(value)
    return number if 0 <= number <= _COUNT_MAX else min(max(number, 0), _COUNT_MAX)


def _milliseconds(value: float | None) -> int | None:
    return None if value is None else _count(value)
