"""The directory: what is read in parts is what would be read anew; broken rows, circles and outages harm nothing."""

import random

import pytest
from tests.platform.identity.town import HERE, Town

from mainstay.kit.database import Database, DatabaseError
from mainstay.platform.identity import directory_reading
from mainstay.platform.identity.change_feed import ChangeKind
from mainstay.platform.identity.directory import Directory
from mainstay.testing.clock import StandingClock


@pytest.fixture
def town(database: Database, clock: StandingClock) -> Town:
    return Town(database, clock)


def _facts(directory: Directory, users: list[str], places: list[str]) -> list[object]:
    """Everything that a directory can be asked."""
    return [
        [
            (directory.principal(one), sorted(directory.groups_of(one)), sorted(directory.bindings_of(one), key=repr))
            for one in users
        ],
        [sorted(directory.granted_to(one)) for one in [*users, ""]],
        [sorted(directory.grants_on(place), key=repr) for place in places],
        [directory.policy(HERE, "user", one, "k") for one in users],
        [directory.role(HERE, f"role_{number}") for number in range(3)],
        [directory.project_is_open(HERE, f"proj_{number}") for number in range(3)],
        directory.organisation_is_active(HERE),
    ]


async def test_directory_that_is_not_loaded_lets_nobody_do_anything(database: Database) -> None:
    directory = Directory(database)
    assert not directory.organisation_is_active(HERE)
    assert directory.principal("user_1") is None
    assert directory.groups_of("user_1") == ()


@pytest.mark.parametrize("seed", range(3))
async def test_changes_in_any_order_leave_what_reading_anew_finds(town: Town, seed: int) -> None:
    chance = random.Random(seed)
    users = [town.user(f"user_{number}") for number in range(6)] + [
        town.group(f"group_{number}") for number in range(5)
    ]
    for number in range(3):
        town.project(f"proj_{number}")
        town.role(f"role_{number}", ["users:read"])
    places = ["project:proj_0", "project:proj_1", "deployment:a"]
    await town.refresh()
    for _ in range(12):
        for _ in range(chance.randint(1, 4)):
            _change_something(town, chance, users, places)
        await town.refresh()
        assert _facts(town.directory, users, places) == _facts(await town.reread(), users, places)


def _change_something(town: Town, chance: random.Random, users: list[str], places: list[str]) -> None:
    who, group, place = chance.choice(users), chance.choice(users[6:]), chance.choice(places)
    number = chance.randrange(3)
    match chance.randrange(9):
        case 0:
            town.run("DELETE FROM group_members WHERE member_id = :id", {"id": who}, (ChangeKind.MEMBERS, who))
            town.join(group, who)
        case 1:
            town.run("DELETE FROM role_bindings WHERE principal_id = :id", {"id": who}, (ChangeKind.BINDINGS, who))
        case 2:
            town.run("DELETE FROM role_bindings WHERE principal_id = :id", {"id": who})
            town.bind(who, f"role_{number}", chance.choice([None, f"proj_{number}"]))
        case 3:
            type_, _, id_ = place.partition(":")
            town.run("DELETE FROM grants WHERE resource_type = :type AND resource_id = :id", {"type": type_, "id": id_})
            town.grant(place, chance.choice([who, ""]), "viewer")
        case 4:
            status = chance.choice(["active", "deactivated"])
            town.run(
                "UPDATE principals SET status = :status WHERE id = :id",
                {"status": status, "id": who},
                (ChangeKind.PRINCIPAL, who),
            )
        case 5:
            town.run("DELETE FROM policies WHERE scope_id = :id", {"id": who})
            town.policy(f"user:{who}", "k", number, locked=chance.random() < 0.5)
        case 6:
            town.run("DELETE FROM policies WHERE scope_id = :id", {"id": who}, (ChangeKind.POLICY, f"user:{who}"))
        case 7:
            town.run(
                "UPDATE roles SET actions = :actions WHERE id = :id",
                {"actions": chance.choice(['["users:read"]', '["roles:read","keys:read"]']), "id": f"role_{number}"},
                (ChangeKind.ROLE, f"role_{number}"),
            )
        case _:
            town.run(
                "UPDATE projects SET archived_at_ms = :at WHERE id = :id",
                {"at": chance.choice([None, 5]), "id": f"proj_{number}"},
                (ChangeKind.PROJECT, f"proj_{number}"),
            )


async def test_groups_in_groups_are_found_and_a_circle_ends(town: Town) -> None:
    town.user("user_1")
    town.group("group_1", "user_1")
    town.group("group_2", "group_1")
    town.group("group_3", "group_2")
    town.join("group_1", "group_3")
    await town.refresh()
    assert set(town.directory.groups_of("user_1")) == {"group_1", "group_2", "group_3"}
    assert set(town.directory.groups_of("group_1")) == {"group_2", "group_3"}


async def test_deep_nesting_is_followed_to_its_end(town: Town) -> None:
    town.user("user_1")
    below = "user_1"
    for number in range(1500):
        below = town.group(f"group_{number}", below)
    await town.refresh()
    assert len(town.directory.groups_of("user_1")) == 1500
    assert len(town.directory.groups_of("group_0")) == 1499


async def test_group_of_another_organisation_and_one_that_is_deactivated_lend_nothing(town: Town) -> None:
    town.organisation("org_b")
    town.user("user_1")
    town.group("group_b", "user_1", organisation="org_b")
    town.user("group_off", status="deactivated", type="group")
    town.join("group_off", "user_1")
    town.group("group_above", "group_off")
    await town.refresh()
    assert town.directory.groups_of("user_1") == ()


async def test_deleted_principal_is_gone_with_its_bindings_and_groups(town: Town) -> None:
    town.user("user_1")
    town.group("group_1", "user_1")
    town.bind("user_1", "role_admin")
    await town.refresh()
    kinds = (ChangeKind.PRINCIPAL, ChangeKind.MEMBERS, ChangeKind.BINDINGS)
    town.run("DELETE FROM principals WHERE id = 'user_1'", {}, *((kind, "user_1") for kind in kinds))
    await town.refresh()
    assert town.directory.principal("user_1") is None
    assert town.directory.bindings_of("user_1") == ()
    assert town.directory.groups_of("user_1") == ()


async def test_members_of_a_deleted_group_lose_it_though_only_the_group_is_named(town: Town) -> None:
    town.user("user_1")
    town.group("group_1", "user_1")
    await town.refresh()
    town.run("DELETE FROM principals WHERE id = 'group_1'", {}, (ChangeKind.PRINCIPAL, "group_1"))
    await town.refresh()
    assert town.directory.groups_of("user_1") == ()


async def test_more_rows_than_a_page_are_all_read(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_reading, "PAGE_ROWS", 3)
    for number in range(10):
        town.user(f"user_{number}")
    for number in range(4):
        town.group(f"group_{number}", *(f"user_{one}" for one in range(10)))
    await town.refresh()
    read = await town.reread()
    assert all(len(read.groups_of(f"user_{number}")) == 4 for number in range(10))


async def test_very_many_changes_at_once_are_read_in_parts(town: Town) -> None:
    for number in range(1000):
        town.user(f"user_{number}")
    await town.refresh()
    for number in range(1000):
        town.bind(f"user_{number}", "role_member")
    await town.refresh()
    assert all(len(town.directory.bindings_of(f"user_{number}")) == 1 for number in range(1000))


async def test_very_many_grants_and_policies_are_read_in_parts(town: Town) -> None:
    for number in range(1000):
        town.grant(f"{('deployment', 'project')[number % 2]}:thing {number}: x", "", "viewer")
        town.policy(f"user:user_{number}", "k", number)
    await town.refresh()
    assert len(town.directory.granted_to("")) == 1000
    for number in range(1000):
        name = f"{('deployment', 'project')[number % 2]}:thing {number}: x"
        assert len(town.directory.grants_on(name)) == 1
        found = town.directory.policy(HERE, "user", f"user_{number}", "k")
        assert found is not None
        assert found.value == number


async def test_what_a_later_version_wrote_into_a_role_is_not_given(town: Town) -> None:
    town.role("role_new", ["users:read", "teleport:use", "scim:provision", "self"])
    await town.refresh()
    role = town.directory.role(HERE, "role_new")
    assert role is not None
    assert role.actions == {"users:read"}


async def test_role_of_another_organisation_is_no_role_here(town: Town) -> None:
    town.organisation("org_b")
    town.role("role_b", ["users:read"], "org_b")
    await town.refresh()
    assert town.directory.role(HERE, "role_b") is None
    assert town.directory.role("org_b", "role_b") is not None


class Failing:
    """A database that fails from the n-th reading on."""

    def __init__(self, database: Database, good: int) -> None:
        self._database = database
        self._good = good

    async def fetch(self, *args: object) -> object:
        self._good -= 1
        if self._good < 0:
            raise DatabaseError("The database is off.")
        return await self._database.fetch(*args)  # type: ignore[arg-type]


@pytest.mark.parametrize("good", range(8))
async def test_reading_that_is_cut_off_changes_nothing(town: Town, good: int) -> None:
    town.user("user_1")
    town.bind("user_1", "role_member")
    await town.refresh()
    before = _facts(town.directory, ["user_1"], [])
    generation = town.directory.generation
    town.directory._database = Failing(town.database, good)  # type: ignore[assignment]
    with pytest.raises(DatabaseError):
        await town.directory.reload()
    changed = {kind: frozenset({"user_1"}) for kind in list(town.directory.kinds)[: good + 1]}
    changed.pop(ChangeKind.GRANTS, None)
    changed.pop(ChangeKind.POLICY, None)
    if len(changed) > good:
        with pytest.raises(DatabaseError):
            await town.directory.apply(changed)
    assert _facts(town.directory, ["user_1"], []) == before
    assert town.directory.generation == generation
