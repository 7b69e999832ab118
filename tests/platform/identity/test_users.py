"""Users as rows: tenants apart, addresses unique, an owner always left, nothing kept of the deleted."""

import asyncio

import pytest
from tests.platform.identity.trail import actions, audited, make_owner, told

from mainstay.kit.database import Database
from mainstay.kit.errors import ConflictError, InvalidRequestError, NotFoundError, VersionMismatchError
from mainstay.kit.pages import PageRequest
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.key_wishes import NewKey
from mainstay.platform.identity.keys import Keys
from mainstay.platform.identity.organisations import Tenant
from mainstay.platform.identity.principals import PrincipalStatus
from mainstay.platform.identity.user_filter import UserFilter
from mainstay.platform.identity.users import NewUser, User, UserChanges, Users
from mainstay.testing.clock import StandingClock

HERE = "org_default"


@pytest.fixture
def users(database: Database, acts: Acts, clock: StandingClock) -> Users:
    return Users(database, acts, clock)


async def _made(users: Users, email: str = "ada@example.com", organisation_id: str = HERE) -> User:
    return await users.create(SYSTEM, organisation_id, NewUser(email=email, name="Ada"))


async def test_user_is_found_as_made_and_the_making_is_written_down(users: Users, database: Database) -> None:
    user = await _made(users, "Ada@Example.com")
    assert await users.get(HERE, user.id) == user
    assert await users.find_by_email(HERE, "ADA@example.COM") == user
    assert (user.email, user.version, user.has_password, user.is_active) == ("Ada@Example.com", 1, False, True)
    assert await actions(database) == ["user.created"]
    assert ("principal", user.id) in await told(database)


@pytest.mark.parametrize("email", ["ADA@example.com", "ada@EXAMPLE.com", "ａda@example.com"])
async def test_address_is_taken_however_it_is_written(users: Users, database: Database, email: str) -> None:
    await _made(users)
    with pytest.raises(ConflictError, match="already") as caught:
        await _made(users, email)
    assert caught.value.param == "email"
    assert await database.fetch("SELECT COUNT(*) FROM principals") == [(1,)]
    assert await actions(database) == ["user.created"]


async def test_ten_makings_at_once_of_one_address_leave_one_user(users: Users, database: Database) -> None:
    done = await asyncio.gather(*(_made(users) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(one, User) for one in done) == 1
    assert sum(isinstance(one, ConflictError) for one in done) == 9
    assert await database.fetch("SELECT COUNT(*) FROM principals") == [(1,)]


async def test_users_of_another_tenant_do_not_exist(users: Users, other_tenant: Tenant) -> None:
    mine = await _made(users)
    theirs = await _made(users, organisation_id=other_tenant.organisation_id)
    for act in (
        users.get(HERE, theirs.id),
        users.update(SYSTEM, HERE, theirs.id, UserChanges(name="Eve")),
        users.delete(SYSTEM, HERE, theirs.id),
    ):
        with pytest.raises(NotFoundError):
            await act
    assert await users.get_many(HERE, [mine.id, theirs.id]) == {mine.id: mine}
    assert (await users.list(HERE, PageRequest())).items == [mine]
    assert await users.get(other_tenant.organisation_id, theirs.id) == theirs


@pytest.mark.parametrize("user_id", ["' OR 1=1 --", "user_\x00", "%", "", "\ud800", "u" * 100_000])
async def test_hostile_ids_are_not_found(users: Users, user_id: str) -> None:
    await _made(users)
    for act in (users.get(HERE, user_id), users.delete(SYSTEM, HERE, user_id)):
        with pytest.raises(NotFoundError):
            await act


async def test_change_is_written_down_with_before_and_after(users: Users, database: Database) -> None:
    user = await _made(users)
    changed = await users.update(SYSTEM, HERE, user.id, UserChanges(name="Ada L.", email="lovelace@example.com"))
    assert (changed.name, changed.email, changed.version) == ("Ada L.", "lovelace@example.com", 2)
    event = (await audited(database))[-1]
    assert event["changed"] == {"email": ["ada@example.com", "lovelace@example.com"], "name": ["Ada", "Ada L."]}
    assert await users.find_by_email(HERE, "ada@example.com") is None


async def test_change_to_what_is_already_so_is_no_act(users: Users, database: Database) -> None:
    user = await _made(users)
    assert await users.update(SYSTEM, HERE, user.id, UserChanges(name="Ada")) == user
    assert await actions(database) == ["user.created"]


async def test_version_that_is_not_the_newest_is_refused(users: Users) -> None:
    user = await _made(users)
    await users.update(SYSTEM, HERE, user.id, UserChanges(name="B"), expected_version=1)
    with pytest.raises(VersionMismatchError, match="version 2, not 1"):
        await users.update(SYSTEM, HERE, user.id, UserChanges(name="C"), expected_version=1)
    with pytest.raises(VersionMismatchError):
        await users.delete(SYSTEM, HERE, user.id, expected_version=1)


async def test_ten_changes_at_once_with_one_version_let_one_through(users: Users) -> None:
    user = await _made(users)
    changes = (
        users.update(SYSTEM, HERE, user.id, UserChanges(name=f"N{number}"), expected_version=1) for number in range(10)
    )
    done = await asyncio.gather(*changes, return_exceptions=True)
    assert sum(isinstance(one, User) for one in done) == 1
    assert sum(isinstance(one, VersionMismatchError) for one in done) == 9


async def test_taking_another_ones_address_is_refused_even_at_once(users: Users) -> None:
    one, two = await _made(users, "one@example.com"), await _made(users, "two@example.com")
    with pytest.raises(ConflictError, match="already"):
        await users.update(SYSTEM, HERE, two.id, UserChanges(email="ONE@example.com"))
    changes = (users.update(SYSTEM, HERE, user.id, UserChanges(email="new@example.com")) for user in (one, two))
    done = await asyncio.gather(*changes, return_exceptions=True)
    assert sorted(type(each).__name__ for each in done) == ["ConflictError", "User"]
    refusal = next(each for each in done if isinstance(each, ConflictError))
    assert refusal.message == "There is a user 'new@example.com' already."


@pytest.mark.parametrize(
    "wanted", [NewUser(email="no", name="x"), NewUser(email="a@b", name=""), NewUser(email="a@b", name="a\x00")]
)
async def test_wish_that_makes_no_sense_leaves_nothing(users: Users, database: Database, wanted: NewUser) -> None:
    with pytest.raises(InvalidRequestError):
        await users.create(SYSTEM, HERE, wanted)
    assert await database.fetch("SELECT COUNT(*) FROM principals") == [(0,)]


async def _signed_in(database: Database, user: User) -> None:
    async with database.transaction() as transaction:
        await transaction.execute(
            "INSERT INTO sessions (id, organisation_id, principal_id, digest, method, created_at_ms, last_seen_at_ms, "
            "expires_at_ms, address, user_agent) VALUES ('sess_1', :organisation_id, :id, :digest, 'password', 0, 0, "
            "9999999999999, '', '')",
            {"organisation_id": user.organisation_id, "id": user.id, "digest": b"d"},
        )


async def test_deactivated_user_is_signed_out_and_can_come_back(users: Users, database: Database) -> None:
    user = await _made(users)
    await _signed_in(database, user)
    away = await users.update(SYSTEM, HERE, user.id, UserChanges(status=PrincipalStatus.DEACTIVATED))
    assert not away.is_active
    ((revoked_at_ms,),) = await database.fetch("SELECT revoked_at_ms FROM sessions")
    assert revoked_at_ms is not None
    assert ("session", "sess_1") in await told(database)
    back = await users.update(SYSTEM, HERE, user.id, UserChanges(status=PrincipalStatus.ACTIVE))
    assert back.is_active
    assert await actions(database) == ["user.created", "user.deactivated", "user.reactivated"]


async def test_deleted_user_leaves_no_right_and_no_key(
    users: Users, database: Database, acts: Acts, clock: StandingClock
) -> None:
    keys = Keys(database, b"p" * 32, acts, clock)
    user = await _made(users)
    await _made(users, "owner@example.com")
    await _signed_in(database, user)
    key, _ = await keys.create(SYSTEM, NewKey("mine", principal_id=user.id))
    await users.delete(SYSTEM, HERE, user.id)
    with pytest.raises(NotFoundError):
        await users.get(HERE, user.id)
    assert (await keys.get(HERE, key.id)).revoked_at_ms is not None
    for table in ("sessions", "role_bindings", "group_members"):
        assert await database.fetch(f"SELECT COUNT(*) FROM {table}") == [(0,)]
    assert {("principal", user.id), ("session", "sess_1"), ("bindings", user.id)} <= await told(database)
    again = await _made(users)
    assert again.id != user.id


async def test_last_owner_can_be_neither_deactivated_nor_deleted(users: Users, database: Database) -> None:
    owner = await _made(users)
    await make_owner(database, owner.id)
    for act in (
        users.update(SYSTEM, HERE, owner.id, UserChanges(status=PrincipalStatus.DEACTIVATED)),
        users.delete(SYSTEM, HERE, owner.id),
    ):
        with pytest.raises(ConflictError, match="without an active owner") as caught:
            await act
        assert caught.value.code == "last_owner"
    assert (await users.get(HERE, owner.id)).is_active
    assert await actions(database) == ["user.created"]


async def test_two_owners_who_remove_each_other_at_once_leave_one(users: Users, database: Database) -> None:
    owners = [await _made(users, f"owner{number}@example.com") for number in range(2)]
    for owner in owners:
        await make_owner(database, owner.id)
    done = await asyncio.gather(*(users.delete(SYSTEM, HERE, owner.id) for owner in owners), return_exceptions=True)
    assert sorted(type(each).__name__ for each in done) == ["ConflictError", "NoneType"]


async def test_owner_of_another_organisation_does_not_count(
    users: Users, database: Database, other_tenant: Tenant
) -> None:
    owner = await _made(users)
    await make_owner(database, owner.id)
    theirs = await _made(users, organisation_id=other_tenant.organisation_id)
    await make_owner(database, theirs.id, other_tenant.organisation_id)
    with pytest.raises(ConflictError):
        await users.delete(SYSTEM, HERE, owner.id)


async def test_pages_and_filters_find_each_user_once(users: Users) -> None:
    made = [await _made(users, f"user{number}@example.com") for number in range(7)]
    await users.update(SYSTEM, HERE, made[3].id, UserChanges(status=PrincipalStatus.DEACTIVATED, name="100% O_k!"))
    page = await users.list(HERE, PageRequest(limit=3))
    found = page.items
    while page.has_more:
        page = await users.list(HERE, PageRequest(limit=3, after=found[-1].id))
        found += page.items
    assert sorted(user.id for user in found) == sorted(user.id for user in made)

    by_id = sorted(user.id for user in made)
    page = await users.list(HERE, PageRequest(limit=3, is_descending=True), UserFilter(search="USER"))
    assert ([one.id for one in page.items], page.has_more) == (by_id[:3:-1], True)
    rest = PageRequest(limit=5, after=page.items[-1].id, is_descending=True)
    page = await users.list(HERE, rest, UserFilter(search="USER"))
    assert ([one.id for one in page.items], page.has_more) == (by_id[3::-1], False)

    async def listed(**wanted: object) -> list[str]:
        return [user.id for user in (await users.list(HERE, PageRequest(), UserFilter(**wanted))).items]  # type: ignore[arg-type]

    assert await listed(emails=["USER5@example.com", "user6@EXAMPLE.com"]) == sorted(
        made[number].id for number in (5, 6)
    )
    assert await listed(emails=[]) == []
    assert await listed(search="user", status=PrincipalStatus.DEACTIVATED) == [made[3].id]
    assert await listed(search="user", emails=["user1@example.com"]) == [made[1].id]
    assert await listed(search="nobody", emails=["user1@example.com"]) == []
    assert await listed(search="user", project_id="proj_default") == []
    assert await listed(status=PrincipalStatus.DEACTIVATED) == [made[3].id]
    assert await listed(search="100% o_") == [made[3].id]
    assert await listed(search="ser2@") == [made[2].id]
    assert await listed(search="%") == [made[3].id]
    assert await listed(search="' OR 1=1 --") == []


async def test_search_folds_every_alphabet_and_follows_changes(users: Users) -> None:
    zoe = await _made(users, "zoe@example.com")
    await users.update(SYSTEM, HERE, zoe.id, UserChanges(name="ZOË Straße"))

    async def found(text: str) -> bool:
        return bool((await users.list(HERE, PageRequest(), UserFilter(search=text))).items)

    assert [await found(text) for text in ("zoë", "STRASSE", "Zoe@")] == [True, True, True]
    await users.update(SYSTEM, HERE, zoe.id, UserChanges(name="Ann", email="ann@example.com"))
    assert [await found(text) for text in ("zoë", "zoe@", "ANN@")] == [False, False, True]


async def test_name_that_grows_when_folded_is_kept(users: Users) -> None:
    grown = await _made(users, "long@example.com")
    name = "".join(chr(0xFDFA if number % 2 else 0x4E00 + 37 * number) for number in range(200))
    await users.update(SYSTEM, HERE, grown.id, UserChanges(name=name))
    page = await users.list(HERE, PageRequest(), UserFilter(search=name[:1]))
    assert [user.id for user in page.items] == [grown.id]
