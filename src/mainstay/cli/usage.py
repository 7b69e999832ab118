"""`mainstay usage`: what was used, by key, model, day and more."""

import dataclasses
import time
from collections.abc import Mapping

import click

from mainstay.cli.database import database_settings, existing_database
from mainstay.cli.installed_keys import find_key, open_keys
from mainstay.cli.key_views import shortened
from mainstay.cli.output import Output, output_option, table
from mainstay.kit.database import Database
from mainstay.kit.errors import InvalidRequestError, NotFoundError
from mainstay.platform.metering.usage import Dimension, UsageQuery, UsageReport, UsageRow, parse_time, report_usage
from mainstay.settings import Settings

_COLUMNS = ("calls", "failed", "prompt", "cached", "completion", "cost")


@click.command()
@click.option("--by", metavar="A,B", default="day,model", show_default=True, help=f"Any of {', '.join(Dimension)}.")
@click.option("--since", metavar="7d", default="30d", show_default=True, help="7d, 12h, 30m, or a date or time (UTC).")
@click.option("--until", metavar="TIME", help="As --since; up to now without it.")
@click.option("--key", metavar="ID", help="Only the calls of this key: its id or name.")
@click.option("--deployment", metavar="NAME", help="Only the calls of this deployment.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=1000, show_default=True, help="Rows at most.")
@click.option("--after", metavar="CURSOR", help="`next` of the page before.")
@output_option
async def usage(
    output: Output,
    *,
    by: str,
    since: str,
    until: str | None,
    key: str | None,
    deployment: str | None,
    limit: int,
    after: str | None,
) -> None:
    """Show calls, tokens and cost. A call appears about a second after its end."""
    settings = database_settings(output)
    query = UsageQuery(
        by=_dimensions(by),
        since_ms=parse_time(since, time.time()),
        until_ms=None if until is None else parse_time(until, time.time()),
        deployment=deployment,
        limit=limit,
        after=after,
    )
    async with existing_database(settings) as database:
        if key is not None:
            query = dataclasses.replace(query, key=await _key_id(key, database, settings))
        report = await report_usage(database, query)
    output.show(report, lambda: _text(report))
    if report.next is not None:
        output.note(f"There is more; continue with --after {report.next}")


def _dimensions(text: str) -> tuple[Dimension, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in set(Dimension)]
    if unknown:
        raise InvalidRequestError(f"Usage has no '{unknown[0][:40]}'; choose from {', '.join(Dimension)}.", param="by")
    return tuple(Dimension(name) for name in names)


async def _key_id(text: str, database: Database, settings: Settings) -> str:
    """Return the id that is meant; one that is not known may be of a key that is gone."""
    try:
        return (await find_key(open_keys(database, settings), text)).id
    except NotFoundError:
        return text


def _text(report: UsageReport) -> str:
    ids = shortened(row.key for row in report.rows if row.key is not None)
    rows = [(*(_dimension(row, name, ids) for name in report.by), *_cells(row)) for row in report.rows]
    return table((*report.by, *_COLUMNS), rows)


def _dimension(row: UsageRow, name: str, ids: Mapping[str, str]) -> object:
    value = getattr(row, name)
    return ids.get(value, value) if name == Dimension.KEY else value


def _cells(row: UsageRow) -> tuple[object, ...]:
    cost = " + ".join(f"{amount:.4f} {currency}" for currency, amount in sorted(row.costs.items()))
    tokens = (row.prompt_tokens, row.cached_tokens, row.completion_tokens)
    return (row.calls, row.failed_calls, *tokens, cost or None)
