"""`/admin/v1/usage`, and that of one project: filters narrow, and nobody sees what is another's."""

from collections.abc import Iterator

import pytest
from tests.api.admin.asking import Asking, caller_of

from mainstay.api.dialects import Dialect
from mainstay.api.routes import Route
from mainstay.api.usage import UsageReports
from mainstay.kit.database import Database
from mainstay.platform.identity.actions import Action
from mainstay.platform.metering.calls import CallEnd, CallStart, Outcome
from mainstay.platform.metering.prices import no_price
from mainstay.platform.metering.records import insert_usage, usage_record
from mainstay.testing.clock import StandingClock

ADMIN, STRANGER = caller_of("org_default"), caller_of("org_other")
USAGE, OF_PROJECT = "/admin/v1/usage", "/admin/v1/projects/proj_a/usage"
CALLS = [("proj_a", "user_1"), ("proj_a", "user_2"), ("proj_b", "user_1"), ("proj_a", None)]


class Usage:
    """The two addresses, as the table has them."""

    def __init__(self, reports: UsageReports) -> None:
        self._reports = reports

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        for path, handler in (
            (USAGE, self._reports.show),
            ("/admin/v1/projects/{project}/usage", self._reports.show_project),
        ):
            yield Route(
                method="GET", path=path, action=Action.READ_USAGE, dialect=dialect, handler=handler, summary="Usage."
            )


@pytest.fixture
async def ask(database: Database) -> Asking:
    clock = StandingClock()
    records = []
    for number, (project_id, principal_id) in enumerate(CALLS):
        start = CallStart(
            call_id=f"call_{number}",
            request_id="r",
            organisation_id="org_default",
            project_id=project_id,
            key_id="key_1",
            operation="chat.completions",
            deployment="d",
            provider="p",
            model="m",
            is_stream=False,
            started_at=clock.now,
            principal_id=principal_id,
        )
        end = CallEnd(call_id=start.call_id, ended_at=clock.now, status=200, outcome=Outcome.OK, prompt_tokens=10)
        records.append(usage_record(start, end, no_price))
    await insert_usage(database, records)
    return Asking([Usage(UsageReports(database, clock))])


async def test_usage_of_people_and_projects(ask: Asking) -> None:
    rows = (await ask(ADMIN, "GET", USAGE + "?by=user,project")).json["rows"]
    assert [(row["user"], row["project"], row["calls"]) for row in rows] == [
        ("", "proj_a", 1),
        ("user_1", "proj_a", 1),
        ("user_1", "proj_b", 1),
        ("user_2", "proj_a", 1),
    ]
    (row,) = (await ask(ADMIN, "GET", USAGE + "?user=user_1")).json["rows"]
    assert row["calls"] == 2


async def test_usage_of_one_project_is_that_of_no_other(ask: Asking) -> None:
    (row,) = (await ask(ADMIN, "GET", OF_PROJECT)).json["rows"]
    assert row["calls"] == 3
    (row,) = (await ask(ADMIN, "GET", OF_PROJECT + "?user=user_1&by=project")).json["rows"]
    assert (row["project"], row["calls"]) == ("proj_a", 1)
    assert (await ask(ADMIN, "GET", OF_PROJECT + "?project=proj_b")).status == 400


@pytest.mark.parametrize(
    "path", [USAGE, OF_PROJECT, USAGE + "?by=user", USAGE + "?project=proj_a", OF_PROJECT + "?by=day"]
)
async def test_another_organisation_sees_nothing(ask: Asking, path: str) -> None:
    assert (await ask(STRANGER, "GET", path)).json["rows"] == []


@pytest.mark.parametrize(
    "query", ["by=planet", "user=%00", "group=%00", "organisation=org_default", "limit=x", "after=x"]
)
async def test_what_cannot_be_asked_is_refused(ask: Asking, query: str) -> None:
    for path in (USAGE, OF_PROJECT):
        assert (await ask(ADMIN, "GET", f"{path}?{query}")).status == 400
