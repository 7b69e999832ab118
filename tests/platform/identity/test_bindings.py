"""Role bindings: nothing crosses tenants, an owner always stays, what has expired makes room."""

import asyncio

import pytest
from tests.platform.identity.town import HERE, PROJECT, Town
from tests.platform.identity.trail import actions, told

from mainstay.kit.database import Database
from mainstay.kit.errors import ConflictError, InvalidRequestError, NotFoundError, VersionMismatchError
from mainstay.kit.pages import PageRequest
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.bindings import BindingFilter, Bindings, NewBinding, StoredBinding
from mainstay.platform.identity.organisations import Tenant
from mainstay.platform.identity.role_store import NewRole, Roles
from mainstay.testing.clock import START, StandingClock

NOW_MS = int(START * 1000)


@pytest.fixture
def bindings(database: Database, acts: Acts, clock: StandingClock) -> Bindings:
    return Bindings(database, acts, clock)


@pytest.fixture
async def town(database: Database, clock: StandingClock) -> Town:
    town = Town(database, clock)
    for number in range(3):
        town.user(f"user_{number}")
    await town.refresh()
    return town


def _wanted(
    principal: str = "user_1", role: str = "role_member", project: str | None = None, expires_at_ms: int | None = None
) -> NewBinding:
    return NewBinding(principal_id=principal, role_id=role, project_id=project, expires_at_ms=expires_at_ms)


async def test_binding_is_found_as_made_and_in_force(bindings: Bindings, town: Town, database: Database) -> None:
    binding = await bindings.create(SYSTEM, HERE, _wanted(project=PROJECT, expires_at_ms=NOW_MS + 1))
    assert await bindings.get(HERE, binding.id) == binding
    assert binding.project_id == PROJECT
    assert await actions(database) == ["binding.created"]
    assert ("bindings", "user_1") in await told(database)
    await town.feed.refresh()
    assert [one.role_id for one in town.directory.bindings_of("user_1")] == ["role_member"]


@pytest.mark.parametrize(
    "wanted",
    [
        _wanted("user_none"),
        _wanted("user_b"),
        _wanted("a\x00b"),
        _wanted(role="role_none"),
        _wanted(role="role_b"),
        _wanted(project="proj_none"),
        _wanted(project="proj_other"),
    ],
    ids=repr,
)
async def test_what_is_not_in_the_organisation_cannot_be_bound(
    bindings: Bindings, town: Town, other_tenant: Tenant, database: Database, *, wanted: NewBinding
) -> None:
    town.user("user_b", other_tenant.organisation_id)
    town.role("role_b", ["users:read"], other_tenant.organisation_id)
    await town.refresh()
    with pytest.raises(NotFoundError):
        await bindings.create(SYSTEM, HERE, wanted)
    assert await database.fetch("SELECT COUNT(*) FROM role_bindings") == [(0,)]
    assert await actions(database) == []


async def test_binding_of_another_tenant_does_not_exist(bindings: Bindings, town: Town, other_tenant: Tenant) -> None:
    organisation = other_tenant.organisation_id
    town.user("user_b", organisation)
    await town.refresh()
    theirs = await bindings.create(SYSTEM, organisation, _wanted("user_b"))
    for attempt in (
        bindings.get(HERE, theirs.id),
        bindings.prolong(SYSTEM, HERE, theirs.id, None),
        bindings.delete(SYSTEM, HERE, theirs.id),
    ):
        with pytest.raises(NotFoundError):
            await attempt
    chosen = BindingFilter(principal_id="user_b")
    assert (await bindings.list(HERE, PageRequest(), chosen)).items == []
    assert (await bindings.list(organisation, PageRequest())).items == [theirs]


async def test_same_role_is_bound_once_however_often_it_is_asked_for_at_once(
    bindings: Bindings, town: Town, database: Database
) -> None:
    done = await asyncio.gather(*(bindings.create(SYSTEM, HERE, _wanted()) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(one, StoredBinding) for one in done) == 1
    assert sum(isinstance(one, ConflictError) for one in done) == 7
    assert await actions(database) == ["binding.created"]
    await bindings.create(SYSTEM, HERE, _wanted(project=PROJECT))


async def test_binding_that_has_expired_makes_room_for_a_new_one(
    bindings: Bindings, town: Town, clock: StandingClock
) -> None:
    old = await bindings.create(SYSTEM, HERE, _wanted(expires_at_ms=NOW_MS + 1000))
    clock.now = START + 0.5
    with pytest.raises(ConflictError):
        await bindings.create(SYSTEM, HERE, _wanted())
    clock.now = START + 1
    new = await bindings.create(SYSTEM, HERE, _wanted())
    assert new.id != old.id
    assert (await bindings.list(HERE, PageRequest())).items == [new]


async def test_time_that_is_over_is_refused(bindings: Bindings, town: Town) -> None:
    for over in (0, NOW_MS - 1, NOW_MS):
        with pytest.raises(InvalidRequestError):
            await bindings.create(SYSTEM, HERE, _wanted(expires_at_ms=over))


async def test_last_owner_is_not_unmade_nor_made_to_end(bindings: Bindings, town: Town, database: Database) -> None:
    only = await bindings.create(SYSTEM, HERE, _wanted(role="role_owner"))
    with pytest.raises(ConflictError, match="owner"):
        await bindings.delete(SYSTEM, HERE, only.id)
    with pytest.raises(ConflictError, match="owner"):
        await bindings.prolong(SYSTEM, HERE, only.id, NOW_MS + 1000)
    assert await bindings.get(HERE, only.id) == only
    second = await bindings.create(SYSTEM, HERE, _wanted("user_2", "role_owner", expires_at_ms=NOW_MS + 5000))
    await bindings.prolong(SYSTEM, HERE, only.id, NOW_MS + 1000)
    with pytest.raises(ConflictError, match="owner"):
        await bindings.prolong(SYSTEM, HERE, second.id, NOW_MS + 1000)
    await bindings.delete(SYSTEM, HERE, second.id)
    assert (await actions(database)).count("binding.deleted") == 1


async def test_two_owners_who_unmake_each_other_at_once_leave_one(bindings: Bindings, town: Town) -> None:
    made = [await bindings.create(SYSTEM, HERE, _wanted(f"user_{number}", "role_owner")) for number in range(3)]
    done = await asyncio.gather(*(bindings.delete(SYSTEM, HERE, one.id) for one in made), return_exceptions=True)
    assert sum(isinstance(one, ConflictError) for one in done) == 1
    assert len((await bindings.list(HERE, PageRequest())).items) == 1


async def test_owner_of_one_project_is_no_owner_of_the_organisation(bindings: Bindings, town: Town) -> None:
    whole = await bindings.create(SYSTEM, HERE, _wanted(role="role_owner"))
    await bindings.create(SYSTEM, HERE, _wanted("user_2", "role_owner", PROJECT))
    with pytest.raises(ConflictError, match="owner"):
        await bindings.delete(SYSTEM, HERE, whole.id)


async def test_change_of_the_end_minds_the_version(bindings: Bindings, town: Town) -> None:
    binding = await bindings.create(SYSTEM, HERE, _wanted())
    changed = await bindings.prolong(SYSTEM, HERE, binding.id, NOW_MS + 7, expected_version=1)
    assert (changed.expires_at_ms, changed.version) == (NOW_MS + 7, 2)
    with pytest.raises(VersionMismatchError):
        await bindings.prolong(SYSTEM, HERE, binding.id, None, expected_version=1)
    with pytest.raises(VersionMismatchError):
        await bindings.delete(SYSTEM, HERE, binding.id, expected_version=1)


async def test_role_deleted_while_it_is_bound_is_never_left_dangling(
    bindings: Bindings, town: Town, acts: Acts, clock: StandingClock
) -> None:
    roles = Roles(town.database, acts, clock)
    for number in range(5):
        role = await roles.create(SYSTEM, HERE, NewRole(name=f"r{number}", actions=["users:read"]))
        await asyncio.gather(
            bindings.create(SYSTEM, HERE, _wanted(role=role.id)),
            roles.delete(SYSTEM, HERE, role.id),
            return_exceptions=True,
        )
    dangling = (
        "SELECT COUNT(*) FROM role_bindings WHERE role_id LIKE 'role_0%' AND role_id NOT IN (SELECT id FROM roles)"
    )
    assert await town.database.fetch(dangling) == [(0,)]


async def test_lists_are_filtered_and_paged(bindings: Bindings, town: Town) -> None:
    for number in range(3):
        await bindings.create(SYSTEM, HERE, _wanted(f"user_{number}"))
        await bindings.create(SYSTEM, HERE, _wanted(f"user_{number}", "role_analyst", PROJECT))
    first = await bindings.list(HERE, PageRequest(limit=2), BindingFilter(role_id="role_member"))
    assert (len(first.items), first.has_more) == (2, True)
    rest = await bindings.list(HERE, PageRequest(after=first.items[-1].id), BindingFilter(role_id="role_member"))
    assert [one.principal_id for one in rest.items] == ["user_2"]
    in_project = await bindings.list(HERE, PageRequest(), BindingFilter(project_id=PROJECT))
    assert {one.role_id for one in in_project.items} == {"role_analyst"}
