"""Roles as rows: built-in ones stay, names are unique, a role in use is not deleted."""

import asyncio

import pytest
from tests.platform.identity.town import HERE, Town
from tests.platform.identity.trail import actions, audited, told

from mainstay.kit.database import Database
from mainstay.kit.errors import ConflictError, InvalidRequestError, NotFoundError, VersionMismatchError
from mainstay.kit.pages import PageRequest
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.organisations import Tenant
from mainstay.platform.identity.role_store import NewRole, RoleChanges, Roles, StoredRole
from mainstay.platform.identity.roles import BUILT_IN
from mainstay.testing.clock import StandingClock


@pytest.fixture
def roles(database: Database, acts: Acts, clock: StandingClock) -> Roles:
    return Roles(database, acts, clock)


async def _made(roles: Roles, name: str = "Helpdesk", organisation_id: str = HERE) -> StoredRole:
    return await roles.create(SYSTEM, organisation_id, NewRole(name=name, actions=["users:read", "sessions:read"]))


async def test_role_is_found_as_made_and_the_making_is_written_down(roles: Roles, database: Database) -> None:
    role = await _made(roles)
    assert await roles.get(HERE, role.id) == role
    assert role.actions == ("sessions:read", "users:read")
    assert await actions(database) == ["role.created"]
    assert ("role", role.id) in await told(database)


@pytest.mark.parametrize("name", ["", "  ", "a\x00b", "x" * 201, "\u202eadmin"])
async def test_unusable_name_is_refused(roles: Roles, database: Database, name: str) -> None:
    with pytest.raises(InvalidRequestError):
        await _made(roles, name)
    assert await actions(database) == []


@pytest.mark.parametrize("name", ["Owner", "ADMIN", " member ", "Ｇuest"])
async def test_name_of_a_built_in_role_is_taken(roles: Roles, name: str) -> None:
    with pytest.raises(ConflictError, match="built-in"):
        await _made(roles, name)


@pytest.mark.parametrize("action", ["scim:provision", "organisations:create", "metrics:read", "self", "public", "root"])
async def test_what_no_role_can_give_is_refused(roles: Roles, action: str) -> None:
    with pytest.raises(InvalidRequestError, match=action):
        await roles.create(SYSTEM, HERE, NewRole(name="x", actions=["users:read", action]))
    with pytest.raises(InvalidRequestError):
        await roles.create(SYSTEM, HERE, NewRole(name="x", actions=[]))


async def test_ten_makings_at_once_of_one_name_leave_one_role(roles: Roles, database: Database) -> None:
    done = await asyncio.gather(*(_made(roles) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(one, StoredRole) for one in done) == 1
    assert sum(isinstance(one, ConflictError) for one in done) == 9
    assert await actions(database) == ["role.created"]


async def test_built_in_roles_are_shown_and_stay_as_they_are(roles: Roles) -> None:
    for role_id in BUILT_IN:
        assert (await roles.get(HERE, role_id)).is_built_in
        with pytest.raises(ConflictError, match="built-in"):
            await roles.update(SYSTEM, HERE, role_id, RoleChanges(name="x"))
        with pytest.raises(ConflictError, match="built-in"):
            await roles.delete(SYSTEM, HERE, role_id)


async def test_role_of_another_tenant_does_not_exist(roles: Roles, other_tenant: Tenant) -> None:
    theirs = await _made(roles, organisation_id=other_tenant.organisation_id)
    for attempt in (
        roles.get(HERE, theirs.id),
        roles.update(SYSTEM, HERE, theirs.id, RoleChanges(name="mine")),
        roles.delete(SYSTEM, HERE, theirs.id),
    ):
        with pytest.raises(NotFoundError):
            await attempt
    listed = await roles.list(HERE, PageRequest(limit=100))
    assert theirs.id not in {role.id for role in listed.items}
    assert await _made(roles)


@pytest.mark.parametrize("is_descending", [False, True])
async def test_pages_hold_every_role_once_in_order(roles: Roles, *, is_descending: bool) -> None:
    made = {(await _made(roles, f"Role {number}")).id for number in range(7)}
    seen: list[str] = []
    after = None
    while True:
        page = await roles.list(HERE, PageRequest(limit=4, after=after, is_descending=is_descending))
        seen += [role.id for role in page.items]
        if not page.has_more:
            break
        after = seen[-1]
    assert seen == sorted(made | set(BUILT_IN), reverse=is_descending)


async def test_change_tells_before_and_after_and_minds_the_version(roles: Roles, database: Database) -> None:
    role = await _made(roles)
    changes = RoleChanges(name="Desk", actions=["users:read"])
    changed = await roles.update(SYSTEM, HERE, role.id, changes, expected_version=1)
    assert (changed.name, changed.actions, changed.version) == ("Desk", ("users:read",), 2)
    assert await roles.get(HERE, role.id) == changed
    assert (await audited(database))[-1]["changed"] == {
        "name": ["Helpdesk", "Desk"],
        "actions": [["sessions:read", "users:read"], ["users:read"]],
    }
    with pytest.raises(VersionMismatchError):
        await roles.update(SYSTEM, HERE, role.id, RoleChanges(name="Late"), expected_version=1)
    with pytest.raises(VersionMismatchError):
        await roles.delete(SYSTEM, HERE, role.id, expected_version=1)
    assert await roles.update(SYSTEM, HERE, role.id, RoleChanges(name="Desk")) == changed
    assert await actions(database) == ["role.created", "role.updated"]


async def test_name_of_another_role_is_taken_when_changing_too(roles: Roles) -> None:
    await _made(roles, "First")
    second = await _made(roles, "Second")
    with pytest.raises(ConflictError, match="First"):
        await roles.update(SYSTEM, HERE, second.id, RoleChanges(name="First"))


async def test_role_that_someone_has_is_not_deleted(roles: Roles, database: Database, clock: StandingClock) -> None:
    role = await _made(roles)
    town = Town(database, clock)
    town.user("user_1")
    town.bind("user_1", role.id)
    await town.refresh()
    with pytest.raises(ConflictError, match="bound 1 times"):
        await roles.delete(SYSTEM, HERE, role.id)
    town.run("DELETE FROM role_bindings", {})
    await town.refresh()
    await roles.delete(SYSTEM, HERE, role.id)
    with pytest.raises(NotFoundError):
        await roles.get(HERE, role.id)
    assert (await actions(database))[-1] == "role.deleted"


async def test_hostile_id_is_no_role(roles: Roles) -> None:
    for hostile in ("", "a\x00", "\ud800", "' OR 1=1", "x" * 100_000):
        with pytest.raises(NotFoundError):
            await roles.get(HERE, hostile)
