"""Budgets: for what exists only, one for each period, with what is used of them."""

import msgspec
import pytest

from mainstay.kit.database import Database
from mainstay.kit.errors import ConflictError, InvalidRequestError, NotFoundError, VersionMismatchError
from mainstay.kit.pages import PageRequest
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.identity.acts import Acts
from mainstay.platform.metering.budget_store import AMOUNT_MAX, Budgets, StoredBudget, Terms
from mainstay.platform.metering.periods import Period, month_of
from mainstay.platform.metering.scope_refs import ScopeRef, ScopeType
from mainstay.testing.clock import StandingClock

ORGANISATION = "org_default"
USER = ScopeRef(type=ScopeType.USER, id="user_1")
TODAY = int(StandingClock().now // 86_400)


@pytest.fixture
def budgets(town: Database, acts: Acts, clock: StandingClock) -> Budgets:
    return Budgets(town, acts, clock)


async def make(
    budgets: Budgets, *, scope: ScopeRef = USER, period: Period = Period.MONTH, **terms: object
) -> StoredBudget:
    wanted = Terms(**(terms or {"tokens": 1000}))  # type: ignore[arg-type]
    return await budgets.create(SYSTEM, ORGANISATION, scope, period=period, terms=wanted)


async def spend(database: Database, *sums: tuple[str, int, str, int, int]) -> None:
    """Each is the user, the day, the currency, tokens and cost."""
    async with database.transaction() as transaction:
        await transaction.execute_many(
            "INSERT INTO spending (organisation_id, scope_type, scope_id, day, currency, calls, tokens, cost_nano, "
            "revision) VALUES ('org_default', 'user', :user, :day, :currency, 1, :tokens, :cost, 1)",
            sums,
        )


@pytest.mark.parametrize(
    "terms",
    [
        {"action": "warn"},
        {"tokens": -1},
        {"tokens": AMOUNT_MAX + 1},
        {"cost_nano": 5},
        {"tokens": 5, "currency": "EUR"},
        {"cost_nano": 5, "currency": "euro"},
        {"cost_nano": 5, "currency": "ÄÖÜ"},
        {"tokens": 5, "warn_at_percent": 0},
        {"tokens": 5, "warn_at_percent": 101},
    ],
)
async def test_terms_that_say_nothing_or_nonsense_are_refused(budgets: Budgets, terms: dict[str, object]) -> None:
    with pytest.raises(InvalidRequestError):
        await make(budgets, **terms)
    assert (await budgets.list(ORGANISATION, PageRequest())).items == []


async def test_one_budget_for_each_period(budgets: Budgets) -> None:
    await make(budgets, period=Period.DAY)
    await make(budgets, period=Period.MONTH)
    with pytest.raises(ConflictError, match="has a budget for each day"):
        await make(budgets, period=Period.DAY)
    with pytest.raises(NotFoundError):
        await make(budgets, scope=ScopeRef(type=ScopeType.USER, id="user_other"))


async def test_use_is_that_of_the_present_period_in_the_budgets_currency(budgets: Budgets, town: Database) -> None:
    month = month_of(TODAY)
    await spend(
        town,
        ("user_1", month - 1, "EUR", 10_000, 10_000),
        ("user_1", month, "EUR", 100, 1000),
        ("user_1", TODAY, "EUR", 20, 200),
        ("user_1", TODAY, "USD", 3, 5000),
        ("user_1", TODAY, "", 4, 0),
        ("user_1", TODAY + 40, "EUR", 77, 77),
        ("sa_1", TODAY, "EUR", 50_000, 50_000),
    )
    monthly = await make(budgets, tokens=1000, cost_nano=10**9, currency="EUR")
    daily = await make(budgets, period=Period.DAY, tokens=5)
    spent = (await budgets.get(ORGANISATION, monthly.id)).spent
    assert (spent.first_day, spent.tokens, spent.cost_nano) == (month, 127, 1200)
    spent = (await budgets.use_of(daily)).spent
    assert (spent.first_day, spent.tokens, spent.cost_nano) == (TODAY, 27, 0)
    found = await budgets.list(ORGANISATION, PageRequest(limit=1))
    assert found.has_more
    rest = await budgets.list(ORGANISATION, PageRequest(after=found.items[0].budget.id))
    assert {use.spent.tokens for use in (*found.items, *rest.items)} == {127, 27}
    assert [use.budget.id for use in await budgets.of_ids(ORGANISATION, [daily.id, "budget_none"])] == [daily.id]
    assert await budgets.of_ids("org_other", [daily.id]) == []


async def test_change_is_checked_as_a_whole_and_lets_warnings_be_given_anew(budgets: Budgets, town: Database) -> None:
    budget = await make(budgets, tokens=1000)
    async with town.transaction() as transaction:
        await transaction.execute("UPDATE budgets SET warned_in_day = 1, used_up_in_day = 1")
    with pytest.raises(InvalidRequestError):
        await budgets.update(SYSTEM, ORGANISATION, budget.id, changes={"cost_nano": 5})
    changed = await budgets.update(
        SYSTEM, ORGANISATION, budget.id, changes={"cost_nano": 5, "currency": "EUR", "tokens": None}
    )
    assert changed.terms == Terms(cost_nano=5, currency="EUR")
    assert (await budgets.get(ORGANISATION, budget.id)).budget == changed
    assert await town.fetch("SELECT warned_in_day, used_up_in_day FROM budgets") == [(None, None)]
    with pytest.raises(VersionMismatchError):
        await budgets.update(SYSTEM, ORGANISATION, budget.id, changes={"tokens": 9}, expected_version=1)


async def test_acts_are_audited_and_views_are_told(budgets: Budgets, town: Database) -> None:
    budget = await make(budgets)
    await budgets.update(SYSTEM, ORGANISATION, budget.id, changes={"action": "warn"}, expected_version=1)
    with pytest.raises(NotFoundError):
        await budgets.delete(SYSTEM, "org_other", budget.id)
    with pytest.raises(VersionMismatchError):
        await budgets.delete(SYSTEM, ORGANISATION, budget.id, expected_version=1)
    await budgets.delete(SYSTEM, ORGANISATION, budget.id)
    with pytest.raises(NotFoundError):
        await budgets.get(ORGANISATION, budget.id)
    rows = await town.fetch("SELECT body FROM audit_events ORDER BY sequence")
    events = [msgspec.json.decode(row[0]) for row in rows]
    assert [event["action"] for event in events] == ["budget.set", "budget.set", "budget.removed"]
    assert events[0]["changed"]["tokens"] == [None, 1000]
    assert events[1]["changed"] == {"action": ["block", "warn"]}
    assert events[2]["details"] == {"period": "month", "scope": {"id": "user_1", "type": "user"}}
    assert await town.fetch("SELECT kind, id FROM changes") == [("budget", budget.id)] * 3
