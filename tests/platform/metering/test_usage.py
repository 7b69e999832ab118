"""Usage: the same sums on both databases, in pages, whatever the caller sends as a cursor."""

import base64
import itertools
import random

import pytest

from mainstay.kit.database import Database
from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.metering.calls import CallEnd, CallStart, Outcome
from mainstay.platform.metering.prices import Price
from mainstay.platform.metering.records import insert_usage, usage_record
from mainstay.platform.metering.usage import Dimension, UsageQuery, parse_time, report_usage

DAY = 86_400
MONDAY = 1_795_910_400  # 2026-11-29 00:00 UTC
KEYS = ["key_a", "key_b", "key_é"]
MODELS = ["m1", "m2"]
PRINCIPALS = [None, "user_a", "user_b", "sa_c"]
PRICES = {"priced": Price(1.0, 2.0), "euro": Price(3.0, currency="EUR")}


def _calls() -> list[tuple[CallStart, CallEnd | None]]:
    calls = []
    chosen = random.Random(7)
    for number, (key, model, deployment) in enumerate(itertools.product(KEYS, MODELS, ["priced", "euro", "free"] * 5)):
        start = CallStart(
            call_id=f"call_{number}",
            request_id="r",
            organisation_id="org_other" if number % 10 == 9 else "org_default",
            project_id="proj_default",
            key_id=key,
            operation="embeddings" if number % 4 == 0 else "chat.completions",
            deployment=deployment,
            provider="p",
            model=model,
            is_stream=False,
            principal_id=PRINCIPALS[number % len(PRINCIPALS)],
            started_at=MONDAY + (number // 3 % 3) * DAY + (DAY - 0.001 if number % 2 else 0),
        )
        end = CallEnd(
            call_id=start.call_id,
            ended_at=start.started_at,
            status=200,
            outcome=Outcome.ERROR if number % 7 == 0 else Outcome.OK,
            prompt_tokens=chosen.randrange(10_000),
            completion_tokens=chosen.randrange(500),
            tokens_are_estimated=number % 5 == 0,
        )
        calls.append((start, None if number % 11 == 0 else end))
    return calls


@pytest.fixture
async def used(database: Database) -> Database:
    await insert_usage(database, [usage_record(start, end, PRICES.get) for start, end in _calls()])
    return database


def _mine() -> list[tuple[CallStart, CallEnd | None]]:
    return [(start, end) for start, end in _calls() if start.organisation_id == "org_default"]


async def test_whole_sum_is_that_of_all_calls_of_the_organisation(used: Database) -> None:
    report = await report_usage(used, UsageQuery())
    (row,) = report.rows
    assert row.calls == len(_mine())
    assert row.prompt_tokens == sum(end.prompt_tokens for _, end in _mine() if end)
    assert row.failed_calls == sum(end is None or end.outcome is not Outcome.OK for _, end in _mine())
    assert row.calls_with_estimated_tokens == sum(bool(end and end.tokens_are_estimated) for _, end in _mine())
    assert row.calls_without_price == sum(start.deployment == "free" for start, _ in _mine())
    euros = sum(end.prompt_tokens * 3 for start, end in _mine() if end and start.deployment == "euro") / 1e6
    assert row.costs["EUR"] == pytest.approx(euros)
    assert set(row.costs) == {"EUR", "USD"}


@pytest.mark.parametrize("size", [1, 2, 3, 6])
async def test_every_combination_adds_up_to_the_whole_in_pages(used: Database, size: int) -> None:
    # Not by groups: in those, calls are counted several times or not at all.
    dimensions = [dimension for dimension in Dimension if dimension is not Dimension.GROUP]
    for by in list(itertools.combinations(dimensions, size))[:8]:
        rows, after = [], None
        while True:
            report = await report_usage(used, UsageQuery(by=by, limit=3, after=after))
            rows += report.rows
            after = report.next
            if after is None:
                break
        groups = [tuple(getattr(row, dimension) for dimension in by) for row in rows]
        assert len(set(groups)) == len(groups)
        assert sum(row.calls for row in rows) == len(_mine())
        (whole,) = (await report_usage(used, UsageQuery())).rows
        assert sum(row.costs.get("USD", 0) for row in rows) == pytest.approx(whole.costs["USD"])


async def test_days_are_utc_and_calls_of_their_last_millisecond_belong_to_them(used: Database) -> None:
    report = await report_usage(used, UsageQuery(by=[Dimension.DAY]))
    assert [row.day for row in report.rows] == ["2026-11-29", "2026-11-30", "2026-12-01"]


async def test_filters_narrow_and_combine(used: Database) -> None:
    query = UsageQuery(
        by=[Dimension.KEY], key="key_é", deployment="euro", since_ms=MONDAY * 1000, until_ms=(MONDAY + DAY) * 1000
    )
    wanted = [
        start
        for start, _ in _mine()
        if start.key_id == "key_é" and start.deployment == "euro" and start.started_at < MONDAY + DAY
    ]
    (row,) = (await report_usage(used, query)).rows
    assert (row.key, row.calls) == ("key_é", len(wanted))


async def test_another_organisation_sees_its_own_calls_only(used: Database) -> None:
    (row,) = (await report_usage(used, UsageQuery(organisation="org_other"))).rows
    assert row.calls == len(_calls()) - len(_mine())
    assert (await report_usage(used, UsageQuery(organisation="org_third"))).rows == []


GROUPS = {"group_inner": ["user_a", "sa_c"], "group_outer": ["group_inner", "user_b"], "group_empty": []}
EVERYONE_OF = {"group_inner": {"user_a", "sa_c"}, "group_outer": {"user_a", "user_b", "sa_c"}}


@pytest.fixture
async def grouped(used: Database) -> Database:
    async with used.transaction() as transaction:
        for kind, ids in (("group", list(GROUPS)), ("user", ["user_a", "user_b", "sa_c"])):
            for id_ in ids:
                await transaction.execute(
                    "INSERT INTO principals (id, organisation_id, type, name, status, created_at_ms, updated_at_ms, "
                    "version) VALUES (:id, 'org_default', :kind, :id, 'active', 0, 0, 1)",
                    {"id": id_, "kind": kind},
                )
        for group, members in [*GROUPS.items(), ("group_inner", ["group_outer"])]:  # a circle ends nothing
            for member in members:
                await transaction.execute(
                    "INSERT INTO group_members (group_id, member_id, organisation_id, source) "
                    "VALUES (:group, :member, 'org_default', 'local')",
                    {"group": group, "member": member},
                )
    return used


async def test_users_are_told_apart_and_calls_without_one_are_nobodys(used: Database) -> None:
    report = await report_usage(used, UsageQuery(by=[Dimension.USER]))
    assert [row.user for row in report.rows] == ["", "sa_c", "user_a", "user_b"]
    (row,) = (await report_usage(used, UsageQuery(user="user_a", by=[Dimension.USER]))).rows
    assert row.calls == sum(start.principal_id == "user_a" for start, _ in _mine())


@pytest.mark.parametrize("more", [(), (Dimension.DAY,), (Dimension.USER, Dimension.MODEL)])
async def test_groups_have_the_calls_of_all_who_are_in_them(grouped: Database, more: tuple[Dimension, ...]) -> None:
    rows, after = [], None
    while True:
        report = await report_usage(grouped, UsageQuery(by=(Dimension.GROUP, *more), limit=2, after=after))
        rows += report.rows
        after = report.next
        if after is None:
            break
    # The inner group is in the outer one and the other way round, so both have everyone.
    everyone = sum(start.principal_id is not None for start, _ in _mine())
    for group in ("group_inner", "group_outer"):
        assert sum(row.calls for row in rows if row.group == group) == everyone
        (whole,) = (await report_usage(grouped, UsageQuery(group=group))).rows
        assert whole.calls == everyone
        assert sum(row.costs.get("EUR", 0) for row in rows if row.group == group) == pytest.approx(whole.costs["EUR"])
    assert {row.group for row in rows} == {"group_inner", "group_outer"}
    assert (await report_usage(grouped, UsageQuery(group="group_empty"))).rows == []
    assert (await report_usage(grouped, UsageQuery(group="group_inner", organisation="org_other"))).rows == []


async def test_members_of_inner_groups_count_for_outer_ones_only(grouped: Database) -> None:
    async with grouped.transaction() as transaction:
        await transaction.execute("DELETE FROM group_members WHERE group_id = 'group_inner' AND member_id LIKE 'gr%'")
    report = await report_usage(grouped, UsageQuery(by=[Dimension.GROUP]))
    counted = {row.group: row.calls for row in report.rows}
    for group, members in EVERYONE_OF.items():
        calls = sum(start.principal_id in members for start, _ in _mine())
        assert counted[group] == calls
        (whole,) = (await report_usage(grouped, UsageQuery(group=group))).rows
        assert whole.calls == calls


@pytest.mark.parametrize("value", ["' OR '1'='1", "%", "key_a' --", "\\"])
async def test_hostile_filters_find_nothing(used: Database, value: str) -> None:
    assert (await report_usage(used, UsageQuery(by=[Dimension.KEY], key=value, deployment=value))).rows == []
    assert (await report_usage(used, UsageQuery(user=value))).rows == []
    assert (await report_usage(used, UsageQuery(group=value))).rows == []


@pytest.mark.parametrize(
    "query",
    [
        UsageQuery(key="\x00"),
        UsageQuery(since_ms=2**70),
        UsageQuery(project="a\x00"),
        UsageQuery(group="\x00"),
    ],
)
async def test_values_that_no_database_can_hold_are_refused(used: Database, query: UsageQuery) -> None:
    with pytest.raises(InvalidRequestError):
        await report_usage(used, query)


@pytest.mark.parametrize(
    "cursor",
    ["", "!", "é", "AAAA", "null", "[]", '["key_a", "key_b"]', "[1]", "[true]", '["\\u0000"]', '[["key_a"]]', "{}"],
)
async def test_cursor_that_was_tampered_with_is_refused(used: Database, cursor: str) -> None:
    for after in (cursor, base64.urlsafe_b64encode(cursor.encode()).decode()):
        with pytest.raises(InvalidRequestError) as caught:
            await report_usage(used, UsageQuery(by=[Dimension.KEY], after=after))
        assert caught.value.param == "after"


async def test_cursor_of_a_day_beyond_all_numbers_is_refused(used: Database) -> None:
    after = base64.urlsafe_b64encode(b"[99999999999999999999999]").decode()
    with pytest.raises(InvalidRequestError):
        await report_usage(used, UsageQuery(by=[Dimension.DAY], after=after))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7d", 1_000_000 - 7 * DAY),
        ("12h", 1_000_000 - 43_200),
        ("30m", 1_000_000 - 1800),
        ("2026-11-29", MONDAY),
        ("2026-11-29T00:00:00Z", MONDAY),
        ("2026-11-29T02:00:00+02:00", MONDAY),
    ],
)
def test_points_in_time_are_read(text: str, seconds: int) -> None:
    assert parse_time(text, now=1_000_000) == seconds * 1000


@pytest.mark.parametrize("text", ["", "d", "7", "-7d", "7w", "²d", "tomorrow", "9" * 5000 + "d", "2026-13-01"])
def test_what_is_no_point_in_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="no point in time"):
        parse_time(text, now=1_000_000)


def test_cost_counts_cached_tokens_once_and_at_their_own_price() -> None:
    price = Price(2.5, 10.0, cached_input_per_million=1.25)
    assert price.cost_nano(prompt_tokens=1_000_000, cached_tokens=0, completion_tokens=0) == 2_500_000_000
    assert price.cost_nano(prompt_tokens=1_000_000, cached_tokens=1_000_000, completion_tokens=0) == 1_250_000_000
    assert price.cost_nano(prompt_tokens=1, cached_tokens=5, completion_tokens=1) == 1250 + 10_000
    assert Price(2.5).cost_nano(prompt_tokens=10, cached_tokens=10, completion_tokens=0) == 25_000
