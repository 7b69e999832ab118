"""`GET /admin/v1/usage`: calls, tokens and cost of the caller's organisation, added up by what is asked for."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from mainstay.api.exchange import Exchange
from mainstay.kit.clock import Clock
from mainstay.kit.database import Database
from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.metering.usage import Dimension, UsageQuery, report_usage

_DEFAULT_LIMIT = 1000
_FILTERS = ("since", "until", "key", "deployment", "user", "group")
OF_PROJECT = ("by", *_FILTERS, "limit", "after")
"""What may be asked of one project's usage."""
KNOWN = (*OF_PROJECT, "project")
"""What may be asked of the whole organisation's usage."""


class UsageReports:
    """Reports usage. It reads the database: calls of the last second or two may not be in it yet."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def show(self, exchange: Exchange) -> None:
        """One page; `by` is a list such as `day,model`, times are ISO 8601 or a span such as `7d`."""
        asked = _asked(exchange, KNOWN)
        await self._report(exchange, asked, project=asked.get("project"))

    async def show_project(self, exchange: Exchange) -> None:
        """The same of the project in the address alone."""
        await self._report(exchange, _asked(exchange, OF_PROJECT), project=exchange.parameters["project"])

    async def _report(self, exchange: Exchange, asked: dict[str, str], *, project: str | None) -> None:
        query = UsageQuery(
            by=[_dimension(word) for word in asked.get("by", "").split(",") if word],
            since_ms=self._time(asked, "since"),
            until_ms=self._time(asked, "until"),
            key=asked.get("key"),
            deployment=asked.get("deployment"),
            project=project,
            user=asked.get("user"),
            group=asked.get("group"),
            organisation=exchange.caller.organisation_id,
            limit=_limit(asked.get("limit")),
            after=asked.get("after"),
        )
        report = await report_usage(self._database, query)
        await exchange.respond(200, msgspec.json.encode(report))

    def _time(self, asked: dict[str, str], name: str) -> int | None:
        text = asked.get(name)
        if not text:
            return None
        try:
            if text.endswith("d") and text[:-1].isdigit():
                moment = datetime.fromtimestamp(self._clock.wall(), UTC) - timedelta(days=int(text[:-1]))
            else:
                moment = datetime.fromisoformat(text)
        except (ValueError, OverflowError):
            raise InvalidRequestError(
                f"'{name}' is not a time; write 2026-11-22, 2026-11-22T10:00:00Z or 7d.", param=name
            ) from None
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _asked(exchange: Exchange, known: Sequence[str]) -> dict[str, str]:
    asked = exchange.query()
    for name in asked.keys() - set(known):
        raise InvalidRequestError(
            f"'{name}' is not a parameter of usage; it takes {', '.join(sorted(known))}.", param=name
        )
    return asked


def _dimension(word: str) -> Dimension:
    try:
        return Dimension(word.strip())
    except ValueError:
        known = ", ".join(Dimension)
        raise InvalidRequestError(f"Usage cannot be added up by '{word}'; it can by {known}.", param="by") from None


def _limit(text: str | None) -> int:
    if text is None:
        return _DEFAULT_LIMIT
    if not text.isdecimal() or len(text) > 6:
        raise InvalidRequestError("'limit' must be a number of rows.", param="limit")
    return int(text)
