"""Reading what budgets have used in their present period, of the sums in `spending`."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from mainstay.kit.database import Database, Row, Value
from mainstay.platform.metering.budget_counters import BudgetCounters, Notice
from mainstay.platform.metering.periods import Calendar, Period, next_first_day
from mainstay.platform.metering.spending import REVISION

_IDS_PER_QUERY = 500
_JOIN = "ON s.organisation_id = b.organisation_id AND s.scope_type = b.scope_type AND s.scope_id = b.scope_id"
_IN_PERIOD = (
    "s.day >= CASE WHEN b.period = 'day' THEN CAST(:today AS INTEGER) ELSE CAST(:month AS INTEGER) END "
    "AND s.day < CASE WHEN b.period = 'day' THEN CAST(:tomorrow AS INTEGER) ELSE CAST(:next_month AS INTEGER) END "
)
_SPENT = (
    "SELECT b.id, b.period, SUM(s.tokens), SUM(CASE WHEN s.currency = b.currency THEN s.cost_nano ELSE 0 END), "  # noqa: S608 - constants only
    "b.warned_in_day, b.used_up_in_day "
    f"FROM budgets b LEFT JOIN spending s {_JOIN} AND {_IN_PERIOD} WHERE "
)
_OTHERS = (
    f"SELECT DISTINCT b.id, s.currency FROM budgets b JOIN spending s {_JOIN} AND {_IN_PERIOD} "  # noqa: S608 - constants only
    "WHERE s.currency <> b.currency AND s.cost_nano > 0 AND "
)
_GROUP = " GROUP BY b.id, b.period, b.warned_in_day, b.used_up_in_day"
# Without DISTINCT, for which SQLite would walk through the whole table in order.
_CHANGED = "SELECT organisation_id, scope_type, scope_id FROM spending WHERE revision > :known"


class Spent(msgspec.Struct, frozen=True, gc=False):
    """What one budget has used in the period that began on `first_day`; the cost in its own currency."""

    budget_id: str
    period: Period
    first_day: int
    tokens: int
    cost_nano: int
    told: tuple[Notice, ...] = ()
    """The notices that were given in this period."""


async def read_spent(database: Database, wall: float, budget_ids: Iterable[str] | None = None) -> list[Spent]:
    """Return what these budgets have used, or all of them, in the periods that `wall` (Unix seconds) is in."""
    if budget_ids is None:
        return await _read(database, wall, "TRUE")
    return [one for where, named in _few_at_once(budget_ids) for one in await _read(database, wall, where, named)]


async def read_other_currencies(database: Database, wall: float, budget_ids: Iterable[str]) -> dict[str, list[str]]:
    """Return in which currencies besides their own the scopes of budgets of money have spent, by budget, sorted."""
    days = _days(_first_days(wall))
    found: dict[str, list[str]] = {}
    for where, named in _few_at_once(budget_ids):
        for budget_id, currency in await database.fetch(_OTHERS + where, days | named):
            # What was used without a price has no currency.
            if currency:
                found.setdefault(str(budget_id), []).append(str(currency))
    return {budget_id: sorted(currencies) for budget_id, currencies in found.items()}


async def read_changed(database: Database, known: int | None) -> tuple[int, list[Row] | None]:
    """Return the newest revision of the sums, and whose sums have changed after `known`: organisation, type and id.

    None in place of the list is everybody: at first, or when the database was restored from a backup.
    """
    # The counter first: what is committed between the reads is then read once more, not missed.
    ((newest,),) = await database.fetch("SELECT value FROM revisions WHERE name = :name", {"name": REVISION})
    if known is None or newest < known:
        return int(newest), None
    return int(newest), [] if newest == known else list(set(await database.fetch(_CHANGED, {"known": known})))


def take_over(counters: BudgetCounters, spent: Spent) -> None:
    """Let the counters of this process know."""
    counters.rebase(
        spent.budget_id,
        first_day=spent.first_day,
        tokens=spent.tokens,
        cost_nano=spent.cost_nano,
        told=spent.told,
    )


async def _read(database: Database, wall: float, where: str, values: dict[str, Value] | None = None) -> list[Spent]:
    first_days = _first_days(wall)
    return _spent(await database.fetch(_SPENT + where + _GROUP, _days(first_days) | (values or {})), first_days)


def _few_at_once(budget_ids: Iterable[str]) -> Iterator[tuple[str, dict[str, Value]]]:
    """Yield conditions that together find all the budgets, and their values."""
    ids = sorted(budget_ids)
    for first in range(0, len(ids), _IDS_PER_QUERY):
        named: dict[str, Value] = {
            f"id_{number}": id_ for number, id_ in enumerate(ids[first : first + _IDS_PER_QUERY])
        }
        yield f"b.id IN ({', '.join(f':{name}' for name in named)})", named


def _first_days(wall: float) -> dict[Period, int]:
    return {period: Calendar().first_day(period, wall) for period in Period}


def _days(first_days: dict[Period, int]) -> dict[str, Value]:
    today, month = first_days[Period.DAY], first_days[Period.MONTH]
    return {
        "today": today,
        "tomorrow": today + 1,
        "month": month,
        "next_month": next_first_day(Period.MONTH, month),
    }


def _spent(rows: Sequence[Row], first_days: dict[Period, int]) -> list[Spent]:
    found = []
    for id_, period, tokens, cost_nano, warned_in_day, used_up_in_day in rows:
        first_day = first_days[Period(period)]
        marks = ((Notice.THRESHOLD_REACHED, warned_in_day), (Notice.USED_UP, used_up_in_day))
        told = tuple(notice for notice, day in marks if day == first_day)
        found.append(Spent(id_, Period(period), first_day, int(tokens or 0), int(cost_nano or 0), told))
    return found
