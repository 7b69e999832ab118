"""Grants as rows: on what there is, to whom there is, and never across tenants."""

import asyncio

import pytest
from tests.platform.identity.town import HERE, PROJECT, Town
from tests.platform.identity.trail import actions, audited, told

from mainstay.kit.database import Database
from mainstay.kit.errors import ConflictError, InvalidRequestError, NotFoundError, VersionMismatchError
from mainstay.kit.pages import PageRequest
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.directory import EVERYONE
from mainstay.platform.identity.grant_levels import Level
from mainstay.platform.identity.grants import GrantFilter, Grants, NewGrant, StoredGrant
from mainstay.platform.identity.organisations import Tenant
from mainstay.testing.clock import START, StandingClock

NOW_MS = int(START * 1000)


@pytest.fixture
def grants(database: Database, acts: Acts, clock: StandingClock) -> Grants:
    return Grants(database, acts, clock)


@pytest.fixture
async def town(database: Database, clock: StandingClock) -> Town:
    town = Town(database, clock)
    town.user("user_1")
    await town.refresh()
    return town


def _wanted(
    resource: str = "deployment:gpt",
    principal: str = "user_1",
    level: Level = Level.VIEWER,
    expires_at_ms: int | None = None,
) -> NewGrant:
    type_, _, id_ = resource.partition(":")
    return NewGrant(
        resource_type=type_, resource_id=id_, principal_id=principal, level=level, expires_at_ms=expires_at_ms
    )


@pytest.mark.parametrize("principal", ["user_1", EVERYONE])
async def test_grant_is_found_as_made_and_in_force(
    grants: Grants, town: Town, database: Database, principal: str
) -> None:
    grant = await grants.create(SYSTEM, HERE, _wanted(principal=principal))
    assert await grants.get(HERE, grant.id) == grant
    assert await actions(database) == ["grant.created"]
    assert ("grants", "deployment:gpt") in await told(database)
    await town.feed.refresh()
    assert [one.level for one in town.directory.grants_on("deployment:gpt")] == ["viewer"]


@pytest.mark.parametrize(
    "wanted",
    [
        _wanted(principal="user_b"),
        _wanted(principal="user_none"),
        _wanted("project:proj_other"),
        _wanted("project:proj_none"),
        _wanted("organisation:org_other"),
    ],
    ids=repr,
)
async def test_what_is_not_in_the_organisation_is_not_found(
    grants: Grants, town: Town, other_tenant: Tenant, database: Database, *, wanted: NewGrant
) -> None:
    town.user("user_b", other_tenant.organisation_id)
    await town.refresh()
    with pytest.raises(NotFoundError):
        await grants.create(SYSTEM, HERE, wanted)
    assert await database.fetch("SELECT COUNT(*) FROM grants") == [(0,)]


@pytest.mark.parametrize(
    "resource", ["user:user_1", "Deployment:x", ":x", "deployment:", "deployment:a\x00", "deployment:" + "x" * 201]
)
async def test_on_other_things_nothing_can_be_granted(grants: Grants, town: Town, resource: str) -> None:
    with pytest.raises(InvalidRequestError):
        await grants.create(SYSTEM, HERE, _wanted(resource))


async def test_one_grant_for_one_principal_on_one_thing_however_many_ask(
    grants: Grants, town: Town, database: Database
) -> None:
    done = await asyncio.gather(*(grants.create(SYSTEM, HERE, _wanted()) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(one, StoredGrant) for one in done) == 1
    assert sum(isinstance(one, ConflictError) for one in done) == 7
    assert await actions(database) == ["grant.created"]


async def test_grant_that_has_expired_makes_room(grants: Grants, town: Town, clock: StandingClock) -> None:
    await grants.create(SYSTEM, HERE, _wanted(expires_at_ms=NOW_MS + 1000))
    clock.now = START + 1
    new = await grants.create(SYSTEM, HERE, _wanted(level=Level.OWNER))
    assert (await grants.list(HERE, PageRequest())).items == [new]
    with pytest.raises(InvalidRequestError):
        await grants.create(SYSTEM, HERE, _wanted("deployment:b", expires_at_ms=NOW_MS))


async def test_grant_of_another_tenant_does_not_exist(grants: Grants, town: Town, other_tenant: Tenant) -> None:
    theirs = await grants.create(SYSTEM, other_tenant.organisation_id, _wanted(principal=EVERYONE))
    for attempt in (
        grants.get(HERE, theirs.id),
        grants.update(SYSTEM, HERE, theirs.id, level=Level.OWNER, expires_at_ms=None),
        grants.delete(SYSTEM, HERE, theirs.id),
    ):
        with pytest.raises(NotFoundError):
            await attempt
    assert (await grants.list(HERE, PageRequest())).items == []


async def test_change_tells_before_and_after_and_minds_the_version(
    grants: Grants, town: Town, database: Database
) -> None:
    grant = await grants.create(SYSTEM, HERE, _wanted())
    changed = await grants.update(SYSTEM, HERE, grant.id, level=Level.EDITOR, expires_at_ms=None, expected_version=1)
    assert (changed.level, changed.version) == (Level.EDITOR, 2)
    assert (await audited(database))[-1]["changed"] == {"level": ["viewer", "editor"]}
    with pytest.raises(VersionMismatchError):
        await grants.update(SYSTEM, HERE, grant.id, level=Level.OWNER, expires_at_ms=None, expected_version=1)
    with pytest.raises(VersionMismatchError):
        await grants.delete(SYSTEM, HERE, grant.id, expected_version=1)
    await grants.delete(SYSTEM, HERE, grant.id)
    await town.feed.refresh()
    assert town.directory.grants_on("deployment:gpt") == ()


async def test_lists_are_filtered_and_paged(grants: Grants, town: Town) -> None:
    for resource in ("deployment:a", "deployment:b", f"project:{PROJECT}", f"organisation:{HERE}"):
        for principal in ("user_1", EVERYONE):
            await grants.create(SYSTEM, HERE, _wanted(resource, principal))
    page = PageRequest(limit=3)
    chosen = GrantFilter(resource_type="deployment")
    first = await grants.list(HERE, page, chosen)
    rest = await grants.list(HERE, PageRequest(after=first.items[-1].id), chosen)
    assert [one.resource_id for one in (*first.items, *rest.items)] == ["a", "a", "b", "b"]
    assert len((await grants.list(HERE, PageRequest(), GrantFilter(principal_id=EVERYONE))).items) == 4
    assert len((await grants.list(HERE, PageRequest(), GrantFilter(resource_id=PROJECT))).items) == 2
