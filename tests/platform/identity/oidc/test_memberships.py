"""Groups and roles that come with a sign-in, and go when the provider does not say so any more."""

import pytest
from tests.platform.identity.oidc.house import HERE
from tests.platform.identity.trail import actions, make_owner

from mainstay.kit.errors import MainstayError
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.identity.groups import Groups, GroupSource, NewGroup
from mainstay.platform.identity.members import Members


async def add_group(house, name: str, source: GroupSource = GroupSource.LOCAL) -> str:
    groups = Groups(house.database, house.acts, house.clock)
    return (await groups.create(SYSTEM, HERE, NewGroup(name=name, source=source))).id


async def ready(house, mock, **settings):
    await house.add_domain()
    return await house.add_provider(mock.issuer, creates_users=True, group_claim="groups", **settings)


def says(mock, *groups: str) -> None:
    mock.person["groups"] = list(groups)


async def roles_of(house, user_id: str) -> set[str]:
    rows = await house.database.fetch("SELECT role_id FROM role_bindings WHERE principal_id = :id", {"id": user_id})
    return {role_id for (role_id,) in rows}


async def test_groups_and_roles_follow_the_claim(house, mock):
    builders, readers = await add_group(house, "Builders"), await add_group(house, "Readers")
    provider = await ready(
        house, mock, groups={"b": builders, "r": readers}, roles={"b": "role_builder", "a": "role_analyst"}
    )
    says(mock, "b", "unknown")
    user_id = (await house.go(provider, mock)).begun.session.principal_id
    assert house.authority.directory.groups_of(user_id) == (builders,)
    assert await roles_of(house, user_id) == {"role_member", "role_builder"}
    says(mock, "r", "a")
    await house.go(provider, mock)
    assert house.authority.directory.groups_of(user_id) == (readers,)
    assert await roles_of(house, user_id) == {"role_member", "role_analyst"}
    mock.person.pop("groups")
    await house.go(provider, mock)
    assert house.authority.directory.groups_of(user_id) == ()
    assert await roles_of(house, user_id) == {"role_member"}
    done = await actions(house.database)
    assert done.count("group.member_added") == done.count("group.member_removed") == 2


async def test_what_was_given_by_hand_stays(house, mock):
    builders = await add_group(house, "Builders")
    provider = await ready(house, mock, groups={"b": builders}, roles={"b": "role_builder"})
    user_id = (await house.go(provider, mock)).begun.session.principal_id
    await Members(house.database, house.acts, house.clock).add(SYSTEM, HERE, builders, [user_id])
    async with house.database.transaction() as transaction:
        await transaction.execute(
            "INSERT INTO role_bindings (id, organisation_id, principal_id, role_id, scope_type, scope_id, created_by, "
            "created_at_ms) VALUES ('binding_hand', 'org_default', :id, 'role_builder', 'organisation', 'org_default', "
            "'user_admin', 0)",
            {"id": user_id},
        )
    for groups in (["b"], []):
        says(mock, *groups)
        await house.go(provider, mock)
        assert house.authority.directory.groups_of(user_id) == (builders,)
        assert "role_builder" in await roles_of(house, user_id)


async def test_a_group_of_the_directory_is_not_touched(house, mock):
    group = await add_group(house, "Kept by SCIM", GroupSource.SCIM)
    with pytest.raises(MainstayError) as refused:
        await house.add_provider(mock.issuer, group_claim="groups", groups={"b": group})
    assert refused.value.code == "managed_elsewhere"


async def test_a_deleted_group_or_role_is_passed_over(house, mock):
    group = await add_group(house, "Short-lived")
    async with house.database.transaction() as transaction:
        await transaction.execute(
            "INSERT INTO roles (id, organisation_id, name, actions, created_at_ms, version) "
            "VALUES ('role_own', 'org_default', 'Own', '[]', 0, 1)"
        )
    provider = await ready(house, mock, groups={"b": group}, roles={"b": "role_own"})
    async with house.database.transaction() as transaction:
        await transaction.execute("DELETE FROM principals WHERE id = :id", {"id": group})
        await transaction.execute("DELETE FROM roles WHERE id = 'role_own'")
    says(mock, "b")
    user_id = (await house.go(provider, mock)).begun.session.principal_id
    assert await roles_of(house, user_id) == {"role_member"}
    assert await house.count("group_members") == 0


async def test_too_many_groups_refuse_the_sign_in_or_leave_all_as_it_was(house, mock):
    builders = await add_group(house, "Builders")
    provider = await ready(house, mock, groups={"b": builders})
    says(mock, "b")
    user_id = (await house.go(provider, mock)).begun.session.principal_id
    mock.person.pop("groups")
    for overage in ({"_claim_names": {"groups": "src1"}, "_claim_sources": {}}, {"hasgroups": True}):
        mock.claims = lambda claims, overage=overage: claims | overage
        with pytest.raises(MainstayError) as refused:
            await house.go(provider, mock)
        assert refused.value.code == "too_many_groups"
    keeping = await house.add_provider(
        mock.issuer, group_claim="groups", groups={"b": builders}, on_overage="keep", creates_users=True
    )
    identity = {"id": keeping.id, "user": user_id}
    async with house.database.transaction() as transaction:
        await transaction.execute("UPDATE identities SET provider_id = :id WHERE principal_id = :user", identity)
    assert (await house.go(keeping, mock)).begun.session.principal_id == user_id
    assert house.authority.directory.groups_of(user_id) == (builders,)


@pytest.mark.parametrize("groups", [{"a": 1}, [1, 2], 7, [["b"]], ["b"] * 10_001])
async def test_a_claim_that_is_no_list_of_names_signs_nobody_in(house, mock, groups):
    provider = await ready(house, mock)
    mock.person["groups"] = groups
    with pytest.raises(MainstayError) as refused:
        await house.go(provider, mock)
    assert refused.value.code == "groups_unreadable"
    assert await house.count("users") == 0


async def test_a_single_name_is_a_list_of_one(house, mock):
    builders = await add_group(house, "Builders")
    provider = await ready(house, mock, groups={"b": builders})
    mock.person["groups"] = "b"
    user_id = (await house.go(provider, mock)).begun.session.principal_id
    assert house.authority.directory.groups_of(user_id) == (builders,)


async def test_the_last_owner_stays_one_whatever_the_provider_says(house, mock):
    owners = await add_group(house, "Owners")
    await make_owner(house.database, owners)
    provider = await ready(house, mock, groups={"o": owners})
    says(mock, "o")
    user_id = (await house.go(provider, mock)).begun.session.principal_id
    says(mock)
    await house.go(provider, mock)
    assert house.authority.directory.groups_of(user_id) == (owners,)
    other = await house.add_user("bob@example.com")
    await make_owner(house.database, other)
    await house.go(provider, mock)
    assert house.authority.directory.groups_of(user_id) == ()


async def test_two_providers_do_not_undo_each_other(house, mock):
    builders, readers = await add_group(house, "Builders"), await add_group(house, "Readers")
    one = await ready(house, mock, groups={"b": builders})
    two = await house.add_provider(mock.issuer, group_claim="groups", groups={"r": readers})
    says(mock, "b", "r")
    user_id = (await house.go(one, mock)).begun.session.principal_id
    assert (await house.go(two, mock)).begun.session.principal_id == user_id
    assert set(house.authority.directory.groups_of(user_id)) == {builders, readers}
    says(mock)
    await house.go(one, mock)
    assert house.authority.directory.groups_of(user_id) == (readers,)


def test_an_identity_provider_makes_no_owners():
    from mainstay.platform.identity.oidc.settings import ProviderSettings

    for settings in (
        ProviderSettings(group_claim="groups", roles={"o": "role_owner"}),
        ProviderSettings(default_role_id="role_owner"),
    ):
        with pytest.raises(MainstayError, match="cannot make owners"):
            settings.checked()
