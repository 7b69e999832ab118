"""`/admin/v1/budgets`: what may be used, what is used, and when it begins anew."""

import pytest
from tests.api.admin.asking import Asking, caller_of
from tests.api.admin.test_limits import Plain
from tests.platform.metering.conftest import acts, clock, town

from mainstay.api.admin.budgets import BudgetRoutes
from mainstay.api.admin.idempotency import Idempotency
from mainstay.kit.database import Database
from mainstay.platform.identity.acts import Acts
from mainstay.platform.metering.allotments import Allotments
from mainstay.platform.metering.budget_store import Budgets
from mainstay.platform.metering.limiter import Limiter
from mainstay.testing.clock import StandingClock

__all__ = ["acts", "clock", "town"]

ADMIN, STRANGER = caller_of("org_default", project_id="proj_default"), caller_of("org_other")
PATH = "/admin/v1/budgets"
PROJECT = {"type": "project", "id": "proj_default"}
MONTHLY = {"scope": PROJECT, "period": "month", "cost": 12.5, "currency": "EUR", "tokens": 1000}
TODAY = int(StandingClock().now // 86_400)


@pytest.fixture
def allotments(town: Database, clock: StandingClock) -> Allotments:
    return Allotments(town, Limiter(clock), clock, groups_of=lambda _: ())


@pytest.fixture
def priced() -> dict[str, list[str]]:
    """By organisation, the currencies of its prices."""
    return {}


@pytest.fixture
def ask(
    town: Database, acts: Acts, clock: StandingClock, allotments: Allotments, priced: dict[str, list[str]]
) -> Asking:
    idempotency = Idempotency(town, Plain(), clock)
    budgets = Budgets(town, acts, clock, currencies_of=lambda organisation_id: priced.get(organisation_id, []))
    return Asking([BudgetRoutes(budgets, allotments, idempotency)])


async def _spend(town: Database, project_id: str, tokens: int, cost_nano: int, currency: str = "EUR") -> None:
    async with town.transaction() as transaction:
        await transaction.execute(
            "INSERT INTO spending (organisation_id, scope_type, scope_id, day, currency, calls, tokens, cost_nano, "
            "revision) VALUES ('org_default', 'project', :id, :day, :currency, 1, :tokens, :cost, 1)",
            {"id": project_id, "day": TODAY, "tokens": tokens, "cost": cost_nano, "currency": currency},
        )


@pytest.mark.parametrize(
    "change",
    [
        {"scope": None},
        {"period": "year"},
        {"action": "explode"},
        {"cost": -1},
        {"cost": 1e300},
        {"cost": "12"},
        {"currency": None},
        {"currency": "Euro"},
        {"currency": "E\x00R"},
        {"tokens": -1},
        {"tokens": 2**80},
        {"tokens": None, "cost": None, "currency": None},
        {"warn_at_percent": 0},
        {"warn_at_percent": 10**40},
        {"used_tokens": 0},
        {"organisation_id": "org_other"},
    ],
)
async def test_what_is_no_budget_is_refused(ask: Asking, change: dict[str, object]) -> None:
    answer = await ask(ADMIN, "POST", PATH, MONTHLY | change)
    assert answer.status == 400, answer.body
    assert (await ask(ADMIN, "GET", PATH)).json["data"] == []


async def test_budget_tells_what_is_used_and_what_remains(ask: Asking, town: Database) -> None:
    made = await ask(ADMIN, "POST", PATH, MONTHLY)
    assert made.status == 201, made.body
    await _spend(town, "proj_default", 400, 13_000_000_000)
    shown = await ask(ADMIN, "GET", f"{PATH}/{made.json['id']}")
    assert shown.headers["etag"] == '"1"'
    assert shown.json == {
        "id": made.json["id"],
        "object": "budget",
        "scope": PROJECT,
        "period": "month",
        "tokens": 1000,
        "cost": 12.5,
        "currency": "EUR",
        "action": "block",
        "warn_at_percent": 80,
        "used_tokens": 400,
        "used_cost": 13.0,
        "remaining_tokens": 600,
        "remaining_cost": 0.0,
        "other_currencies": [],
        "period_started_at": 1_798_761_600,  # 2027-01-01
        "resets_at": 1_801_440_000,  # 2027-02-01
        "created_at": 1_800_000_000,
        "version": 1,
    }
    (listed,) = (await ask(ADMIN, "GET", "/admin/v1/projects/proj_default/budgets")).json["data"]
    assert listed == shown.json


async def test_budget_in_a_currency_without_prices_is_refused(ask: Asking, priced: dict[str, list[str]]) -> None:
    one = f"{PATH}/{(await ask(ADMIN, 'POST', PATH, MONTHLY | {'period': 'day'})).json['id']}"
    priced["org_default"] = ["CHF", "USD"]
    for refused in (
        await ask(ADMIN, "POST", PATH, MONTHLY),
        await ask(ADMIN, "PATCH", one, {"cost": 5}),
        await ask(ADMIN, "PATCH", one, {"currency": "GBP"}),
    ):
        assert (refused.status, refused.json["error"]["param"]) == (400, "currency"), refused.body
        assert "CHF, USD" in refused.json["error"]["message"]
    assert (await ask(ADMIN, "PATCH", one, {"tokens": 5})).status == 200
    assert (await ask(ADMIN, "PATCH", one, {"currency": "USD"})).status == 200
    assert (await ask(ADMIN, "POST", PATH, MONTHLY | {"cost": None, "currency": None})).status == 201


async def test_budget_tells_in_which_other_currencies_was_spent(ask: Asking, town: Database) -> None:
    one = f"{PATH}/{(await ask(ADMIN, 'POST', PATH, MONTHLY)).json['id']}"
    for currency, cost_nano in (("USD", 5), ("EUR", 7), ("CHF", 1), ("GBP", 0), ("", 0)):
        await _spend(town, "proj_default", 1, cost_nano, currency)
    assert (await ask(ADMIN, "GET", one)).json["other_currencies"] == ["CHF", "USD"]
    (listed,) = (await ask(ADMIN, "GET", PATH)).json["data"]
    assert listed["other_currencies"] == ["CHF", "USD"]
    without = await ask(ADMIN, "PATCH", one, {"cost": None})
    assert without.json["other_currencies"] == []


async def test_budget_is_changed_and_taken_away(ask: Asking) -> None:
    one = f"{PATH}/{(await ask(ADMIN, 'POST', PATH, MONTHLY)).json['id']}"
    changed = (await ask(ADMIN, "PATCH", one, {"cost": None, "action": "warn"}, {"if-match": '"1"'})).json
    assert (changed["cost"], changed["currency"], changed["used_cost"]) == (None, None, None)
    assert (changed["action"], changed["version"]) == ("warn", 2)
    assert (await ask(ADMIN, "PATCH", one, {"tokens": None})).status == 400
    assert (await ask(ADMIN, "PATCH", one, {"cost": 3})).status == 400
    assert (await ask(ADMIN, "PATCH", one, {"tokens": 3}, {"if-match": '"1"'})).status == 412
    assert (await ask(ADMIN, "PATCH", one, {"period": "day"})).status == 400
    assert (await ask(ADMIN, "DELETE", one)).json["deleted"]
    assert (await ask(ADMIN, "GET", one)).status == 404


async def test_another_organisation_finds_nothing(ask: Asking) -> None:
    one = f"{PATH}/{(await ask(ADMIN, 'POST', PATH, MONTHLY)).json['id']}"
    for method, body in (("GET", None), ("PATCH", {"tokens": 6}), ("DELETE", None)):
        assert (await ask(STRANGER, method, one, body)).status == 404
    for path in (PATH, "/admin/v1/projects/proj_default/budgets", PATH + "/own"):
        assert (await ask(STRANGER, "GET", path)).json["data"] == []
    assert (await ask(STRANGER, "POST", PATH, MONTHLY)).status == 404
    assert (await ask(ADMIN, "GET", one)).status == 200


async def test_everyone_sees_the_budgets_of_his_own_calls(ask: Asking, allotments: Allotments) -> None:
    await ask(ADMIN, "POST", PATH, MONTHLY)
    await ask(ADMIN, "POST", PATH, {**MONTHLY, "period": "day"})
    await ask(ADMIN, "POST", PATH, {**MONTHLY, "scope": {"type": "user", "id": "user_1"}})
    await allotments.reload()
    mine = (await ask(ADMIN, "GET", PATH + "/own")).json["data"]
    assert {(budget["scope"]["id"], budget["period"]) for budget in mine} == {
        ("proj_default", "month"),
        ("proj_default", "day"),
    }
    assert (await ask(ADMIN, "GET", PATH + "/own?limit=1")).status == 400


async def test_value_that_is_none_of_a_closed_set_is_refused_with_those_that_are(ask) -> None:
    told = await ask(ADMIN, "POST", PATH, MONTHLY | {"period": "week"})
    assert told.status == 400
    assert "it may be day, month" in told.message
