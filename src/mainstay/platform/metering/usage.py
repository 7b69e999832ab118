"""The one place that asks what was used: calls, tokens and cost, added up by whatever is wanted."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

import msgspec

from mainstay.kit.database import Database, Row, Value
from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.identity.organisations import DEFAULT_ORGANISATION_ID
from mainstay.platform.metering.prices import NANO

LIMIT_MAX = 10_000
_DAY_MS = 86_400_000
_EPOCH = date(1970, 1, 1)


class Dimension(StrEnum):
    """What usage can be added up by. Days are UTC."""

    KEY = "key"
    MODEL = "model"
    DEPLOYMENT = "deployment"
    DAY = "day"
    OPERATION = "operation"
    PROJECT = "project"
    USER = "user"
    """The user or service account whose key or session it was; empty for a project's own key."""
    GROUP = "group"
    """Every group that the user is in now; who is in several is counted in each."""
    OUTCOME = "outcome"


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Which calls to add up, and how. Times are Unix milliseconds, `since_ms` included, `until_ms` not."""

    by: Sequence[Dimension] = ()
    since_ms: int | None = None
    until_ms: int | None = None
    key: str | None = None
    """The id of one key."""
    deployment: str | None = None
    project: str | None = None
    user: str | None = None
    """The id of a user or service account."""
    group: str | None = None
    """The id of a group: the calls of those who are in it now."""
    organisation: str = DEFAULT_ORGANISATION_ID
    limit: int = 1000
    after: str | None = None
    """`UsageReport.next` of the page before."""


class UsageRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Sums over the calls that share these values; only what was asked for is set."""

    key: str | None = None
    model: str | None = None
    deployment: str | None = None
    day: str | None = None
    operation: str | None = None
    project: str | None = None
    user: str | None = None
    group: str | None = None
    outcome: str | None = None
    calls: int
    failed_calls: int
    """Calls whose outcome is not `ok`."""
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    calls_with_estimated_tokens: int
    calls_without_price: int
    costs: dict[str, float]
    """By currency, for the calls whose price was known."""


class UsageReport(msgspec.Struct, frozen=True, kw_only=True):
    """One page of rows, ordered by the values of `by`; `next` asks for the page after it, if there is one."""

    by: tuple[Dimension, ...]
    rows: list[UsageRow]
    next: str | None = None


_EXPRESSIONS = {
    Dimension.KEY: "key_id",
    Dimension.MODEL: "model",
    Dimension.DEPLOYMENT: "deployment",
    Dimension.DAY: f"started_at_ms / {_DAY_MS}",
    Dimension.OPERATION: "operation",
    Dimension.PROJECT: "project_id",
    Dimension.USER: "COALESCE(principal_id, '')",
    Dimension.GROUP: "membership.group_id",
    Dimension.OUTCOME: "outcome",
}
# Groups may be in groups. UNION, unlike UNION ALL, comes to an end even if they were in a circle.
_WITH_GROUPS = (
    "usage_records JOIN (WITH RECURSIVE membership (group_id, member_id) AS ("
    "SELECT group_id, member_id FROM group_members WHERE organisation_id = :organisation "
    "UNION SELECT above.group_id, membership.member_id FROM membership "
    "JOIN group_members above ON above.member_id = membership.group_id) "
    "SELECT group_id, member_id FROM membership) AS membership ON membership.member_id = usage_records.principal_id"
)
_IN_GROUP = (
    "principal_id IN (WITH RECURSIVE inside (member_id) AS ("
    "SELECT member_id FROM group_members WHERE organisation_id = :organisation AND group_id = :group "
    "UNION SELECT below.member_id FROM inside JOIN group_members below ON below.group_id = inside.member_id) "
    "SELECT member_id FROM inside)"
)
_SUMS = (
    "COUNT(*), SUM(CASE WHEN outcome = 'ok' THEN 0 ELSE 1 END), SUM(prompt_tokens), SUM(cached_tokens), "
    "SUM(completion_tokens), SUM(reasoning_tokens), SUM(CASE WHEN tokens_are_estimated THEN 1 ELSE 0 END), "
    "SUM(CASE WHEN currency IS NULL THEN 1 ELSE 0 END)"
)


async def report_usage(database: Database, query: UsageQuery) -> UsageReport:
    """Add up what `query` asks for. Raises InvalidRequestError or DatabaseError."""
    by = tuple(dict.fromkeys(query.by))
    limit = min(max(query.limit, 1), LIMIT_MAX)
    where, values = _filters(query)
    group = ", ".join(_EXPRESSIONS[dimension] for dimension in by)
    if query.after is not None:
        where += f" AND ({group}) > {_placeholders('after', by)}"
        values |= _named("after", _decode_cursor(query.after, by))
    rows = await database.fetch(
        f"SELECT {_SUMS}{', ' if by else ''}{group} FROM {_source(by)} WHERE {where} "  # noqa: S608 - fixed words only
        + (f"GROUP BY {group} ORDER BY {group} LIMIT :limit" if by else "HAVING COUNT(*) > 0"),
        {**values, "limit": limit + 1} if by else values,
    )
    page, is_more = rows[:limit], len(rows) > limit
    costs = await _costs(database, by, page, where=where, values=values)
    return UsageReport(
        by=by,
        rows=[_usage_row(by, row, costs.get(_group(by, row), {})) for row in page],
        next=_encode_cursor(_group(by, page[-1])) if is_more else None,
    )


async def _costs(
    database: Database, by: tuple[Dimension, ...], page: Sequence[Row], *, where: str, values: dict[str, Value]
) -> dict[Row, dict[str, float]]:
    """Return the costs of the page's groups; separately, since a group may have several currencies."""
    if not page:
        return {}
    group = "".join(f", {_EXPRESSIONS[dimension]}" for dimension in by)
    if by:
        where += f" AND ({group[2:]}) <= {_placeholders('last', by)}"
        values = values | _named("last", _group(by, page[-1]))
    rows = await database.fetch(
        f"SELECT currency, SUM(cost_nano){group} FROM {_source(by)} "  # noqa: S608 - fixed words only
        f"WHERE {where} AND currency IS NOT NULL GROUP BY currency{group}",
        values,
    )
    costs: dict[Row, dict[str, float]] = {}
    for currency, cost_nano, *key in rows:
        costs.setdefault(tuple(key), {})[currency] = int(cost_nano) / NANO
    return costs


def _source(by: tuple[Dimension, ...]) -> str:
    return _WITH_GROUPS if Dimension.GROUP in by else "usage_records"


def _filters(query: UsageQuery) -> tuple[str, dict[str, Value]]:
    conditions = ["organisation_id = :organisation"]
    values: dict[str, Value] = {"organisation": query.organisation}
    for name, condition, value in (
        ("since", "started_at_ms >= :since", query.since_ms),
        ("until", "started_at_ms < :until", query.until_ms),
        ("key", "key_id = :key", query.key),
        ("deployment", "deployment = :deployment", query.deployment),
        ("project", "project_id = :project", query.project),
        ("user", "principal_id = :user", query.user),
        ("group", _IN_GROUP, query.group),
    ):
        if value is None:
            continue
        if _is_unsearchable(value):
            raise InvalidRequestError(f"The value of `{name}` cannot be searched for.", param=name)
        conditions.append(condition)
        values[name] = value
    return " AND ".join(conditions), values


def _usage_row(by: tuple[Dimension, ...], row: Row, costs: dict[str, float]) -> UsageRow:
    calls, failed, prompt, cached, completion, reasoning, estimated, without_price = (int(value) for value in row[:8])
    shared = dict(zip((dimension.value for dimension in by), _group(by, row), strict=True))
    if Dimension.DAY in by:
        shared["day"] = (_EPOCH + timedelta(days=shared["day"])).isoformat()
    return UsageRow(
        **shared,
        calls=calls,
        failed_calls=failed,
        prompt_tokens=prompt,
        cached_tokens=cached,
        completion_tokens=completion,
        reasoning_tokens=reasoning,
        calls_with_estimated_tokens=estimated,
        calls_without_price=without_price,
        costs=costs,
    )


def _group(by: tuple[Dimension, ...], row: Row) -> Row:
    """The values that a row of sums belongs to; they follow the eight sums."""
    return tuple(row[8 : 8 + len(by)])


def _placeholders(name: str, by: tuple[Dimension, ...]) -> str:
    # The type is said for PostgreSQL, which cannot tell it in a comparison of rows.
    kinds = ("BIGINT" if dimension is Dimension.DAY else "TEXT" for dimension in by)
    return f"({', '.join(f'CAST(:{name}_{number} AS {kind})' for number, kind in enumerate(kinds))})"


def _named(name: str, values: Sequence[Value]) -> dict[str, Value]:
    return {f"{name}_{number}": value for number, value in enumerate(values)}


def _encode_cursor(values: Row) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(values)).decode().rstrip("=")


def _decode_cursor(cursor: str, by: tuple[Dimension, ...]) -> list[Value]:
    """A cursor comes back from the caller: it may hold anything."""
    try:
        values = msgspec.json.decode(base64.urlsafe_b64decode(cursor + "=="), type=list[str | int])
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise InvalidRequestError("`after` is no cursor of this list.", param="after") from error
    kinds = [int if dimension is Dimension.DAY else str for dimension in by]
    fits = [type(value) for value in values] == kinds
    if not fits or not by or any(_is_unsearchable(value) for value in values):
        raise InvalidRequestError("`after` is a cursor of another list.", param="after")
    return list(values)


def _is_unsearchable(value: str | int) -> bool:
    return "\x00" in value if isinstance(value, str) else abs(value) >= 2**63


def parse_time(text: str, now: float) -> int:
    """Read a point in time as Unix milliseconds: `7d`, `12h` or `30m` before `now`, or a date or time in ISO 8601.

    Without a zone it is UTC. Raises InvalidRequestError.
    """
    seconds = {"d": 86_400, "h": 3600, "m": 60}.get(text[-1:])
    if seconds is not None and text[:-1].isascii() and text[:-1].isdigit() and len(text) <= 8:
        return int((now - int(text[:-1]) * seconds) * 1000)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequestError(
            f"{text[:80]!r} is no point in time; write 7d, 12h, 30m, 2026-11-22 or 2026-11-22T08:30:00Z."
        ) from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
