"""Groups in groups: no circle even at once, not too deep, tenants apart, directories left alone."""

import asyncio
import itertools

import pytest
from tests.platform.identity.trail import actions, make_owner, told

from mainstay.kit.database import Database
from mainstay.kit.errors import ConflictError, InvalidRequestError, NotFoundError, VersionMismatchError
from mainstay.kit.pages import PageRequest
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.groups import Group, Groups, GroupSource, NewGroup
from mainstay.platform.identity.members import DEPTH_MAX, Members
from mainstay.platform.identity.organisations import Tenant
from mainstay.platform.identity.users import NewUser, User, Users
from mainstay.testing.clock import StandingClock

HERE = "org_default"


@pytest.fixture
def groups(database: Database, acts: Acts, clock: StandingClock) -> Groups:
    return Groups(database, acts, clock)


@pytest.fixture
def members(database: Database, acts: Acts, clock: StandingClock) -> Members:
    return Members(database, acts, clock)


@pytest.fixture
def users(database: Database, acts: Acts, clock: StandingClock) -> Users:
    return Users(database, acts, clock)


async def _group(groups: Groups, name: str = "team", organisation_id: str = HERE) -> Group:
    return await groups.create(SYSTEM, organisation_id, NewGroup(name=name))


async def _user(users: Users, name: str = "ada", organisation_id: str = HERE) -> User:
    return await users.create(SYSTEM, organisation_id, NewUser(email=f"{name}@example.com", name=name))


async def _ids(members: Members, group: Group) -> list[str]:
    return [member.id for member in (await members.list(HERE, group.id, PageRequest(limit=100))).items]


async def test_group_is_made_renamed_and_deleted_with_its_acts(groups: Groups, database: Database) -> None:
    group = await _group(groups)
    renamed = await groups.rename(SYSTEM, HERE, group.id, "crew", expected_version=1)
    assert (renamed.name, renamed.version) == ("crew", 2)
    assert await groups.get(HERE, group.id) == renamed
    with pytest.raises(VersionMismatchError):
        await groups.delete(SYSTEM, HERE, group.id, expected_version=1)
    await groups.delete(SYSTEM, HERE, group.id, expected_version=2)
    with pytest.raises(NotFoundError):
        await groups.get(HERE, group.id)
    assert await actions(database) == ["group.created", "group.updated", "group.deleted"]


async def test_name_is_taken_once_even_at_once(groups: Groups, other_tenant: Tenant) -> None:
    done = await asyncio.gather(*(_group(groups) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(one, Group) for one in done) == 1
    assert sum(isinstance(one, ConflictError) for one in done) == 4
    await _group(groups, organisation_id=other_tenant.organisation_id)
    crew = await _group(groups, "crew")
    with pytest.raises(ConflictError):
        await groups.rename(SYSTEM, HERE, crew.id, "team")


async def test_members_come_and_go_and_views_are_told(
    groups: Groups, members: Members, users: Users, database: Database
) -> None:
    group, user = await _group(groups), await _user(users)
    assert await members.add(SYSTEM, HERE, group.id, [user.id, user.id]) == (user.id,)
    assert await members.add(SYSTEM, HERE, group.id, [user.id]) == ()
    (member,) = (await members.list(HERE, group.id, PageRequest())).items
    assert (member.id, member.type, member.email) == (user.id, "user", "ada@example.com")
    assert (await groups.list(HERE, PageRequest(), member_id=user.id)).items[0].id == group.id
    assert await members.remove(SYSTEM, HERE, group.id, [user.id]) == (user.id,)
    assert await members.remove(SYSTEM, HERE, group.id, [user.id]) == ()
    assert await actions(database) == ["group.created", "user.created", "group.member_added", "group.member_removed"]
    assert ("members", user.id) in await told(database)


async def test_nobody_of_another_tenant_gets_in_or_is_seen(
    groups: Groups, members: Members, users: Users, other_tenant: Tenant
) -> None:
    there = other_tenant.organisation_id
    mine, theirs = await _group(groups), await _group(groups, organisation_id=there)
    ada, eve = await _user(users), await _user(users, "eve", there)
    await members.add(SYSTEM, there, theirs.id, [eve.id])
    for act in (
        members.add(SYSTEM, HERE, mine.id, [ada.id, eve.id]),
        members.add(SYSTEM, HERE, mine.id, [theirs.id]),
        members.add(SYSTEM, HERE, theirs.id, [ada.id]),
        members.remove(SYSTEM, HERE, theirs.id, [eve.id]),
        groups.rename(SYSTEM, HERE, theirs.id, "x"),
        groups.delete(SYSTEM, HERE, theirs.id),
    ):
        with pytest.raises(NotFoundError):
            await act
    assert await _ids(members, mine) == []
    assert (await members.list(HERE, theirs.id, PageRequest())).items == []
    assert (await groups.list(HERE, PageRequest(), member_id=eve.id)).items == []


async def test_group_is_never_in_itself(groups: Groups, members: Members) -> None:
    chain = [await _group(groups, f"g{number}") for number in range(4)]
    with pytest.raises(ConflictError, match="in itself"):
        await members.add(SYSTEM, HERE, chain[0].id, [chain[0].id])
    for outer, inner in itertools.pairwise(chain):
        await members.add(SYSTEM, HERE, outer.id, [inner.id])
    for inner in chain[1:]:
        with pytest.raises(ConflictError, match="in itself"):
            await members.add(SYSTEM, HERE, inner.id, [chain[0].id])


async def test_circle_does_not_arise_from_two_sides_at_once(groups: Groups, members: Members) -> None:
    for number in range(5):
        one, two = await _group(groups, f"one{number}"), await _group(groups, f"two{number}")
        done = await asyncio.gather(
            members.add(SYSTEM, HERE, one.id, [two.id]),
            members.add(SYSTEM, HERE, two.id, [one.id]),
            return_exceptions=True,
        )
        assert sum(isinstance(each, ConflictError) for each in done) == 1


async def test_groups_lie_only_so_deep_from_either_end(groups: Groups, members: Members) -> None:
    chain = [await _group(groups, f"g{number}") for number in range(DEPTH_MAX + 1)]
    for outer, inner in itertools.pairwise(chain[:-1]):
        await members.add(SYSTEM, HERE, outer.id, [inner.id])
    with pytest.raises(ConflictError, match="deep"):
        await members.add(SYSTEM, HERE, chain[-2].id, [chain[-1].id])
    with pytest.raises(ConflictError, match="deep"):
        await members.add(SYSTEM, HERE, chain[-1].id, [chain[0].id])


async def test_web_of_groups_is_checked_quickly(groups: Groups, members: Members) -> None:
    """Every group of a layer in every one above: 4 to the power of 5 ways, which must not be walked one by one."""
    layers = [[await _group(groups, f"g{depth}.{number}") for number in range(4)] for depth in range(6)]
    for outer, inner in itertools.pairwise(layers):
        for group in outer:
            await members.add(SYSTEM, HERE, group.id, [one.id for one in inner])
    with pytest.raises(ConflictError):
        await members.add(SYSTEM, HERE, layers[-1][0].id, [layers[0][0].id])


async def test_what_a_directory_keeps_is_not_changed_here(groups: Groups, members: Members, users: Users) -> None:
    user = await _user(users)
    group = await groups.create(SYSTEM, HERE, NewGroup(name="from Entra", source=GroupSource.SCIM, external_id="e1"))
    for act in (
        groups.rename(SYSTEM, HERE, group.id, "x"),
        groups.delete(SYSTEM, HERE, group.id),
        members.add(SYSTEM, HERE, group.id, [user.id]),
        members.remove(SYSTEM, HERE, group.id, [user.id]),
    ):
        with pytest.raises(ConflictError, match="kept by the directory"):
            await act
    await members.add(SYSTEM, HERE, group.id, [user.id], source=GroupSource.SCIM)
    assert await _ids(members, group) == [user.id]


async def test_last_owner_through_a_group_stays_in_it(
    groups: Groups, members: Members, users: Users, database: Database
) -> None:
    outer, inner, user = await _group(groups, "outer"), await _group(groups, "inner"), await _user(users)
    await members.add(SYSTEM, HERE, outer.id, [inner.id])
    await members.add(SYSTEM, HERE, inner.id, [user.id])
    await make_owner(database, outer.id)
    for act in (
        members.remove(SYSTEM, HERE, inner.id, [user.id]),
        members.remove(SYSTEM, HERE, outer.id, [inner.id]),
        groups.delete(SYSTEM, HERE, inner.id),
        groups.delete(SYSTEM, HERE, outer.id),
        users.delete(SYSTEM, HERE, user.id),
    ):
        with pytest.raises(ConflictError, match="owner"):
            await act
    assert await _ids(members, inner) == [user.id]


@pytest.mark.parametrize("count", [0, 1001])
async def test_too_few_or_too_many_members_at_once_are_refused(groups: Groups, members: Members, count: int) -> None:
    group = await _group(groups)
    with pytest.raises(InvalidRequestError):
        await members.add(SYSTEM, HERE, group.id, [f"user_{number}" for number in range(count)])


@pytest.mark.parametrize("name", ["", "a\x00", "\u202ex", "x" * 201])
async def test_names_that_make_no_sense_are_refused(groups: Groups, name: str) -> None:
    with pytest.raises(InvalidRequestError):
        await _group(groups, name)
