"""From two journal records to one row of `usage_records`."""

from collections.abc import Sequence

from mainstay.kit.database import Database, Value, Values
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


async def insert_usage(database: Database, rows: Sequence[Values]) -> None:
    """Add rows in one transaction; calls that are there already stay as they are. Raises DatabaseError."""
    async with database.transaction() as transaction:
        await transaction.execute_many(_INSERT, rows)


def usage_row(start: CallStart, end: CallEnd | None, price_of: PriceOf) -> Values:
    """Return the row of a call; without an end it was interrupted."""
    if end is None:
        end = CallEnd(
            call_id=start.call_id, ended_at=start.started_at, status=STATUS_UNKNOWN, outcome=Outcome.INTERRUPTED
        )
    prompt, cached = _count(end.prompt_tokens), _count(end.cached_tokens)
    completion = _count(end.completion_tokens)
    return {
        "call_id": start.call_id,
        "request_id": _text(start.request_id),
        "organisation_id": start.organisation_id,
        "project_id": start.project_id,
        "key_id": start.key_id,
        "operation": start.operation,
        "deployment": _text(start.deployment),
        "provider": _text(end.provider or start.provider),
        "model": _text(end.model or start.model),
        "is_stream": start.is_stream,
        "started_at_ms": _count(start.started_at * 1000),
        "first_token_ms": _milliseconds(end.first_token_ms),
        "last_token_ms": _milliseconds(end.last_token_ms),
        "duration_ms": _milliseconds(end.duration_ms),
        "status": end.status,
        "outcome": end.outcome.value,
        "failure": None if end.failure is None else _text(end.failure),
        "prompt_tokens": prompt,
        "cached_tokens": cached,
        "completion_tokens": completion,
        "reasoning_tokens": _count(end.reasoning_tokens),
        "tokens_are_estimated": end.tokens_are_estimated,
        **_cost(price_of, start.deployment, prompt=prompt, cached=cached, completion=completion),
    }


def _cost(price_of: PriceOf, deployment: str, *, prompt: int, cached: int, completion: int) -> dict[str, Value]:
    price = price_of(deployment)
    if price is None:
        return {"cost_nano": None, "currency": None}
    nano = price.cost_nano(prompt_tokens=prompt, cached_tokens=cached, completion_tokens=completion)
    return {"cost_nano": min(nano, _COUNT_MAX), "currency": price.currency}


def _text(value: str) -> str:
    """Names come from vendors and callers; one that the database cannot hold must not hold up all others."""
    return value.replace("\x00", "\ufffd") if "\x00" in value else value


def _count(value: float) -> int:
    """Numbers too: 64 bits, never negative."""
    return min(max(int(value), 0), _COUNT_MAX)


def _milliseconds(value: float | None) -> int | None:
    return None if value is None else _count(value)
