"""What holds for a caller: everything that it belongs to, kept up to date, and nothing of others."""

import asyncio
from dataclasses import replace

import pytest

from mainstay.kit.database import Database
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.caller import Caller
from mainstay.platform.identity.change_feed import ChangeFeed, ChangeKind
from mainstay.platform.metering.allotments import GROUPS_MAX, Allotments, PerMinute
from mainstay.platform.metering.budget_counters import BudgetReachedError
from mainstay.platform.metering.budget_store import Budgets, Terms
from mainstay.platform.metering.limit_store import Limits
from mainstay.platform.metering.limiter import Limiter, Scope
from mainstay.platform.metering.periods import Period
from mainstay.platform.metering.scope_refs import ScopeRef, ScopeType
from mainstay.testing.clock import StandingClock

ORGANISATION = "org_default"
KEY = Caller(key_id="key_1", organisation_id=ORGANISATION, project_id="proj_default", scopes=frozenset())
USER = replace(KEY, key_id="sess_1", principal_id="user_1")
TODAY = int(StandingClock().now // 86_400)


class Groups:
    """Which groups everyone is in."""

    def __init__(self) -> None:
        self.of: dict[str, tuple[str, ...]] = {}

    def __call__(self, principal_id: str) -> tuple[str, ...]:
        return self.of.get(principal_id, ())


@pytest.fixture
def groups() -> Groups:
    return Groups()


@pytest.fixture
def limiter(clock: StandingClock) -> Limiter:
    return Limiter(clock)


@pytest.fixture
async def allotments(town: Database, limiter: Limiter, clock: StandingClock, groups: Groups) -> Allotments:
    return Allotments(town, limiter, clock, groups_of=groups)


@pytest.fixture
async def feed(town: Database, allotments: Allotments) -> ChangeFeed:
    feed = ChangeFeed(town, [allotments])
    await feed.refresh()
    return feed


@pytest.fixture
def limits(town: Database, acts: Acts, clock: StandingClock) -> Limits:
    return Limits(town, acts, clock)


@pytest.fixture
def budgets(town: Database, acts: Acts, clock: StandingClock) -> Budgets:
    return Budgets(town, acts, clock)


def ref(kind: ScopeType, id_: str) -> ScopeRef:
    return ScopeRef(type=kind, id=id_)


async def limit(limits: Limits, kind: ScopeType, id_: str, requests: int | None, tokens: int | None = None) -> str:
    made = await limits.create(
        SYSTEM, ORGANISATION, ref(kind, id_), requests_per_minute=requests, tokens_per_minute=tokens
    )
    return made.id


async def test_without_limits_a_call_counts_against_nothing(feed: ChangeFeed, allotments: Allotments) -> None:
    assert allotments.of(KEY).scopes == ()
    assert allotments.of(USER).scopes == ()


async def test_everything_that_a_caller_belongs_to_is_counted(
    feed: ChangeFeed, allotments: Allotments, limits: Limits, groups: Groups
) -> None:
    groups.of["user_1"] = ("group_1", "group_2")
    for number, (kind, id_) in enumerate(
        [
            (ScopeType.ORGANISATION, ORGANISATION),
            (ScopeType.PROJECT, "proj_default"),
            (ScopeType.GROUP, "group_1"),
            (ScopeType.USER, "user_1"),
            (ScopeType.USER, "sa_1"),
            (ScopeType.KEY, "key_1"),
        ]
    ):
        await limit(limits, kind, id_, number)
    assert allotments.of(USER).scopes == ()
    await feed.refresh()
    shared = [Scope("organisation org_default", 0), Scope("project proj_default", 1)]
    allotment = allotments.of(USER)
    assert allotment.scopes == (*shared, Scope("group group_1", 2), Scope("user user_1", 3))
    assert allotment.group_ids == ("group_1", "group_2")
    assert allotments.of(KEY).scopes == (*shared, Scope("key key_1", 5))
    of_service_account = replace(KEY, principal_id="sa_1")
    assert allotments.of(of_service_account).scopes == (*shared, Scope("user sa_1", 4), Scope("key key_1", 5))


async def test_another_organisations_limits_do_not_count(
    feed: ChangeFeed, allotments: Allotments, limits: Limits
) -> None:
    await limit(limits, ScopeType.KEY, "key_1", 1)
    await limit(limits, ScopeType.PROJECT, "proj_default", 1)
    await feed.refresh()
    assert allotments.of(replace(KEY, organisation_id="org_other")).scopes == ()


async def test_caller_without_a_project_has_the_limits_of_the_organisation(
    feed: ChangeFeed, allotments: Allotments, limits: Limits
) -> None:
    await limit(limits, ScopeType.ORGANISATION, ORGANISATION, 9)
    await feed.refresh()
    assert allotments.of(replace(USER, project_id="")).scopes == (Scope("organisation org_default", 9),)


async def test_key_is_held_to_the_tighter_of_its_own_limit_and_the_administrators(
    feed: ChangeFeed, allotments: Allotments, limits: Limits
) -> None:
    allotments.replace_key_default(PerMinute(2, 2))
    own = replace(KEY, requests_per_minute=10, tokens_per_minute=None)
    assert allotments.of(own).scopes == (Scope("key key_1", 10, 2),)
    await limit(limits, ScopeType.KEY, "key_1", 20, 30)
    await feed.refresh()
    assert allotments.of(own).scopes == (Scope("key key_1", 10, 30),)
    assert allotments.of(KEY).scopes == (Scope("key key_1", 20, 30),)


async def test_default_counts_for_the_person_behind_all_sessions(feed: ChangeFeed, allotments: Allotments) -> None:
    allotments.replace_key_default(PerMinute(5))
    assert allotments.of(KEY).scopes == (Scope("key key_1", 5),)
    for key_id in ("sess_1", "sess_2", "token_1"):
        assert allotments.of(replace(USER, key_id=key_id)).scopes == (Scope("user user_1", 5),)
    allotments.replace_key_default(PerMinute())
    assert allotments.of(KEY).scopes == ()


async def test_changes_come_into_force_and_go(feed: ChangeFeed, allotments: Allotments, limits: Limits) -> None:
    limit_id = await limit(limits, ScopeType.PROJECT, "proj_default", 5)
    other_id = await limit(limits, ScopeType.ORGANISATION, ORGANISATION, 50)
    await feed.refresh()
    await limits.update(SYSTEM, ORGANISATION, limit_id, requests_per_minute=6)
    await feed.refresh()
    assert allotments.of(KEY).scopes == (Scope("organisation org_default", 50), Scope("project proj_default", 6))
    await limits.delete(SYSTEM, ORGANISATION, limit_id)
    await feed.refresh()
    assert allotments.of(KEY).scopes == (Scope("organisation org_default", 50),)
    await limits.delete(SYSTEM, ORGANISATION, other_id)
    await feed.refresh()
    assert allotments.of(KEY).scopes == ()


async def test_what_was_worked_out_is_kept_until_groups_or_credentials_change(
    feed: ChangeFeed, allotments: Allotments, limits: Limits, groups: Groups
) -> None:
    await limit(limits, ScopeType.GROUP, "group_1", 3)
    await feed.refresh()
    assert allotments.of(USER) is allotments.of(USER)
    assert allotments.of(USER).scopes == ()
    groups.of["user_1"] = ("group_1",)
    assert allotments.of(USER).scopes == ()
    await allotments.apply({ChangeKind.MEMBERS: frozenset({"user_1"})})
    assert allotments.of(USER).scopes == (Scope("group group_1", 3),)
    changed = replace(USER, requests_per_minute=2)
    assert allotments.of(changed).scopes == (Scope("group group_1", 3), Scope("key sess_1", 2))


async def test_of_very_many_groups_those_with_limits_are_counted(
    feed: ChangeFeed, allotments: Allotments, limits: Limits, groups: Groups
) -> None:
    await limit(limits, ScopeType.GROUP, "group_1", 3)
    await feed.refresh()
    groups.of["user_1"] = (*(f"aaa_{number}" for number in range(1000)), "group_1")
    allotment = allotments.of(USER)
    assert len(allotment.group_ids) == GROUPS_MAX
    assert allotment.group_ids[0] == "group_1"
    assert allotment.scopes == (Scope("group group_1", 3),)


async def test_budget_set_in_mid_month_counts_what_was_spent_before(
    town: Database, feed: ChangeFeed, allotments: Allotments, budgets: Budgets, limiter: Limiter
) -> None:
    async with town.transaction() as transaction:
        await transaction.execute(
            "INSERT INTO spending (organisation_id, scope_type, scope_id, day, currency, calls, tokens, cost_nano, "
            "revision) VALUES ('org_default', 'project', 'proj_default', :day, '', 1, 950, 0, 1)",
            {"day": TODAY - 5},
        )
    made = await budgets.create(
        SYSTEM,
        ORGANISATION,
        ref(ScopeType.PROJECT, "proj_default"),
        period=Period.MONTH,
        terms=Terms(tokens=1000),
    )
    await feed.refresh()
    with pytest.raises(BudgetReachedError, match="50 tokens left of 1000"):
        limiter.reserve(allotments.of(KEY).scopes, tokens=51)
    limiter.reserve(allotments.of(KEY).scopes, tokens=50).settle(50)
    await budgets.update(SYSTEM, ORGANISATION, made.id, changes={"tokens": 2000})
    await feed.refresh()
    limiter.reserve(allotments.of(KEY).scopes, tokens=1000)
    await budgets.delete(SYSTEM, ORGANISATION, made.id)
    await feed.refresh()
    assert allotments.of(KEY).scopes == ()
    assert len(limiter.budgets) == 0


async def test_changes_of_people_do_not_wait_for_the_recorder(allotments: Allotments) -> None:
    async with allotments.recording, asyncio.timeout(20):
        await allotments.apply({ChangeKind.PRINCIPAL: frozenset({"user_1"}), ChangeKind.LIMIT: frozenset({"x"})})


async def test_reading_everything_anew_keeps_what_is_not_recorded_yet(
    feed: ChangeFeed, allotments: Allotments, budgets: Budgets, limiter: Limiter
) -> None:
    await budgets.create(SYSTEM, ORGANISATION, ref(ScopeType.KEY, "key_1"), period=Period.DAY, terms=Terms(tokens=100))
    await feed.refresh()
    limiter.reserve(allotments.of(KEY).scopes, tokens=60).settle(60)
    await allotments.reload()
    with pytest.raises(BudgetReachedError):
        limiter.reserve(allotments.of(KEY).scopes, tokens=41)


async def test_calls_during_a_reload_are_never_without_limits(
    feed: ChangeFeed, allotments: Allotments, limits: Limits
) -> None:
    await limit(limits, ScopeType.PROJECT, "proj_default", 5)
    await feed.refresh()
    reloading = asyncio.create_task(allotments.reload())
    while not reloading.done():
        assert allotments.of(KEY).scopes == (Scope("project proj_default", 5),)
        await asyncio.sleep(0)
    await reloading
