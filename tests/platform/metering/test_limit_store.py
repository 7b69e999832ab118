"""Limits: for what exists in the organisation only, each once, changed only as they were read."""

import asyncio

import msgspec
import pytest

from mainstay.kit.database import Database, open_database
from mainstay.kit.errors import ConflictError, InvalidRequestError, MainstayError, NotFoundError, VersionMismatchError
from mainstay.kit.pages import PageRequest
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.identity.acts import Acts
from mainstay.platform.metering.limit_store import PER_MINUTE_MAX, Limit, Limits
from mainstay.platform.metering.scope_refs import ScopeRef, ScopeType
from mainstay.testing.clock import StandingClock

ORGANISATION = "org_default"
PROJECT = ScopeRef(type=ScopeType.PROJECT, id="proj_default")
ALL = [
    ScopeRef(type=ScopeType.ORGANISATION, id=ORGANISATION),
    PROJECT,
    ScopeRef(type=ScopeType.GROUP, id="group_1"),
    ScopeRef(type=ScopeType.USER, id="user_1"),
    ScopeRef(type=ScopeType.USER, id="sa_1"),
    ScopeRef(type=ScopeType.KEY, id="key_1"),
]


@pytest.fixture
def limits(town: Database, acts: Acts, clock: StandingClock) -> Limits:
    return Limits(town, acts, clock)


async def make(limits: Limits, scope: ScopeRef = PROJECT, requests: int | None = 5, tokens: int | None = None) -> Limit:
    return await limits.create(SYSTEM, ORGANISATION, scope, requests_per_minute=requests, tokens_per_minute=tokens)


@pytest.mark.parametrize(
    "scope",
    [
        ScopeRef(type=ScopeType.ORGANISATION, id="org_other"),
        ScopeRef(type=ScopeType.PROJECT, id="proj_none"),
        ScopeRef(type=ScopeType.GROUP, id="user_1"),
        ScopeRef(type=ScopeType.USER, id="group_1"),
        ScopeRef(type=ScopeType.USER, id="user_other"),
        ScopeRef(type=ScopeType.KEY, id="' OR 1=1 --"),
    ],
)
async def test_what_is_not_in_the_organisation_cannot_be_limited(limits: Limits, scope: ScopeRef) -> None:
    with pytest.raises(NotFoundError, match="There is no"):
        await make(limits, scope)
    assert (await limits.list(ORGANISATION, PageRequest())).items == []


@pytest.mark.parametrize(
    ("requests", "tokens"), [(None, None), (-1, None), (None, -1), (PER_MINUTE_MAX + 1, None), (2**70, 1)]
)
async def test_limits_that_say_nothing_or_nonsense_are_refused(
    limits: Limits, requests: int | None, tokens: int | None
) -> None:
    with pytest.raises(InvalidRequestError):
        await make(limits, requests=requests, tokens=tokens)


async def test_ids_that_no_database_holds_are_refused_or_not_found(limits: Limits) -> None:
    with pytest.raises(InvalidRequestError):
        await make(limits, ScopeRef(type=ScopeType.USER, id="user_\x00"))
    with pytest.raises(NotFoundError):
        await limits.get(ORGANISATION, "limit_\x00")
    with pytest.raises(InvalidRequestError):
        await limits.list(ORGANISATION, PageRequest(), scope_id="\x00")


async def test_every_kind_of_scope_can_be_limited_once(limits: Limits, town: Database) -> None:
    made = [await make(limits, scope) for scope in ALL]
    found = await limits.list(ORGANISATION, PageRequest())
    assert found.items == sorted(made, key=lambda limit: limit.id)
    for scope in ALL:
        with pytest.raises(ConflictError, match="has a limit already"):
            await make(limits, scope)
    found = await limits.list(ORGANISATION, PageRequest(), scope_type=ScopeType.USER)
    assert {limit.scope.id for limit in found.items} == {"user_1", "sa_1"}
    found = await limits.list(ORGANISATION, PageRequest(limit=1), scope_type=ScopeType.USER, scope_id="sa_1")
    assert [limit.scope.id for limit in found.items] == ["sa_1"]


async def test_another_organisation_sees_and_changes_nothing(limits: Limits) -> None:
    limit = await make(limits)
    assert (await limits.list("org_other", PageRequest())).items == []
    with pytest.raises(NotFoundError):
        await limits.get("org_other", limit.id)
    with pytest.raises(NotFoundError):
        await limits.update(SYSTEM, "org_other", limit.id, requests_per_minute=1)
    with pytest.raises(NotFoundError):
        await limits.delete(SYSTEM, "org_other", limit.id)
    assert await limits.get(ORGANISATION, limit.id) == limit


async def test_change_takes_what_is_given_and_leaves_the_rest(limits: Limits) -> None:
    limit = await make(limits, requests=5, tokens=100)
    changed = await limits.update(SYSTEM, ORGANISATION, limit.id, requests_per_minute=None, expected_version=1)
    assert changed == msgspec.structs.replace(limit, requests_per_minute=None, version=2)
    assert await limits.get(ORGANISATION, limit.id) == changed
    with pytest.raises(InvalidRequestError):
        await limits.update(SYSTEM, ORGANISATION, limit.id, tokens_per_minute=None)
    assert await limits.get(ORGANISATION, limit.id) == changed


async def test_what_has_changed_since_is_not_changed_again(limits: Limits) -> None:
    limit = await make(limits)
    await limits.update(SYSTEM, ORGANISATION, limit.id, requests_per_minute=6)
    with pytest.raises(VersionMismatchError):
        await limits.update(SYSTEM, ORGANISATION, limit.id, requests_per_minute=7, expected_version=1)
    with pytest.raises(VersionMismatchError):
        await limits.delete(SYSTEM, ORGANISATION, limit.id, expected_version=1)
    found = await limits.get(ORGANISATION, limit.id)
    assert (found.requests_per_minute, found.version) == (6, 2)


async def test_one_of_many_at_once_wins(limits: Limits, database_url: str, acts: Acts, clock: StandingClock) -> None:
    limit = await make(limits)
    others = [open_database(database_url) for _ in range(4)]
    stores = [Limits(each, acts, clock) for each in others]
    found = await asyncio.gather(
        *(store.update(SYSTEM, ORGANISATION, limit.id, requests_per_minute=9, expected_version=1) for store in stores),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in found) == ["Limit", *["VersionMismatchError"] * 3]
    found = await asyncio.gather(*(make(store, ALL[0]) for store in stores), return_exceptions=True)
    assert sum(isinstance(one, Limit) for one in found) == 1
    assert all(isinstance(one, Limit | MainstayError) for one in found)
    for each in others:
        await each.aclose()


async def test_acts_are_audited_and_views_are_told(limits: Limits, town: Database) -> None:
    limit = await make(limits)
    await limits.update(SYSTEM, ORGANISATION, limit.id, requests_per_minute=6)
    await limits.delete(SYSTEM, ORGANISATION, limit.id, expected_version=2)
    rows = await town.fetch("SELECT body FROM audit_events ORDER BY sequence")
    events = [msgspec.json.decode(row[0]) for row in rows]
    assert [event["action"] for event in events] == ["limit.set", "limit.set", "limit.removed"]
    assert all(event["target"] == {"id": limit.id, "type": "limit"} for event in events)
    assert events[1]["changed"] == {"requests_per_minute": [5, 6]}
    assert events[2]["details"] == {"scope": {"id": "proj_default", "type": "project"}}
    assert await town.fetch("SELECT kind, id FROM changes") == [("limit", limit.id)] * 3
    with pytest.raises(NotFoundError):
        await limits.get(ORGANISATION, limit.id)
