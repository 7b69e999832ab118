"""The choke point: who may do what, and above all who may not."""

import itertools
import random

import pytest
from tests.platform.identity.town import EVERYTHING, HERE, PROJECT, Town, caller

from mainstay.kit.database import Database
from mainstay.kit.errors import NotFoundError, PermissionDeniedError
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.authorize import SOMEWHERE, AllowedDeployments, Authority, Resource
from mainstay.platform.identity.caller import Caller, Scope
from mainstay.platform.identity.change_feed import ChangeKind
from mainstay.platform.identity.directory import Directory
from mainstay.platform.identity.grant_levels import LEVELS, Level, actions_granted
from mainstay.platform.identity.roles import ADMIN, BUILT_IN, GIVABLE, MEMBER, OWNER, BuiltInRole
from mainstay.testing.clock import START, StandingClock

PROJECT_HERE = Resource(type="project", id=PROJECT, project_id=PROJECT)


@pytest.fixture
def town(database: Database, clock: StandingClock) -> Town:
    return Town(database, clock)


async def test_nothing_is_allowed_before_the_directory_is_loaded(database: Database, clock: StandingClock) -> None:
    authority = Authority(Directory(database), clock)
    for who in (caller(), caller("user_1")):
        assert authority.actions_of(who) == frozenset()
        assert not authority.may_use(who, "gpt")
        assert not authority.is_valid(who)
    authority.authorize(caller(), Action.PUBLIC)


async def test_scopes_of_a_key_that_is_nobodys_give_what_they_say(town: Town) -> None:
    await town.refresh()
    inference, admin, scim = (caller(scopes={scope}) for scope in (Scope.INFERENCE, Scope.ADMIN, Scope.SCIM))
    assert town.authority.actions_of(inference) == {Action.CALL_MODEL, Action.READ_MODELS, Action.SELF}
    assert town.authority.actions_of(scim) == {Action.PROVISION}
    may = town.authority.actions_of(admin)
    assert may == ADMIN.actions - {Action.CALL_MODEL} | {Action.SELF, Action.READ_METRICS}
    assert town.authority.actions_of(caller(scopes=())) == frozenset()
    assert town.authority.actions_of(caller(scopes={"root", "*", ""})) == frozenset()


async def test_operator_may_do_everything_but_read_content_and_provision(town: Town) -> None:
    town.organisation("org_off", "suspended")
    await town.refresh()
    for organisation in (HERE, "org_off", "org_none"):
        operator = caller(scopes={Scope.OPERATOR}, organisation=organisation)
        assert town.authority.actions_of(operator) == frozenset(Action) - {Action.READ_CONTENT, Action.PROVISION}


async def test_metrics_of_the_machine_are_for_its_own_organisation_and_for_nobodys_key(town: Town) -> None:
    town.organisation("org_b")
    town.user("user_1")
    town.bind("user_1", "role_owner")
    await town.refresh()
    theirs = caller(organisation="org_b", project="proj_b", scopes={Scope.ADMIN})
    assert not town.authority.may(theirs, Action.READ_METRICS)
    assert not town.authority.may(caller("user_1"), Action.READ_METRICS)


@pytest.mark.parametrize("role", BUILT_IN.values(), ids=lambda role: role.id)
async def test_built_in_role_gives_its_actions_and_no_other(town: Town, role: BuiltInRole) -> None:
    town.user("user_1")
    town.bind("user_1", role.id)
    await town.refresh()
    # One credential may be good for everything; the limits of scopes are another test's.
    assert town.authority.actions_of(caller("user_1")) == role.actions | {Action.SELF}


async def test_credential_narrows_what_its_owner_may_do(town: Town) -> None:
    town.user("user_1")
    town.bind("user_1", "role_analyst")
    town.bind("user_1", "role_member")
    await town.refresh()
    assert town.authority.actions_of(caller("user_1", scopes={Scope.ADMIN})) == {
        Action.READ_USAGE,
        Action.READ_PROJECTS,
        Action.READ_MODELS,
        Action.SELF,
    }
    assert town.authority.actions_of(caller("user_1", scopes={Scope.INFERENCE})) == MEMBER.actions | {Action.SELF}
    assert town.authority.actions_of(caller("user_1", scopes={Scope.SCIM})) == frozenset()


async def test_user_without_any_role_may_see_to_himself_only(town: Town) -> None:
    town.user("user_1")
    await town.refresh()
    assert town.authority.actions_of(caller("user_1")) == {Action.SELF}
    assert not town.authority.may_use(caller("user_1"), "gpt")


async def test_binding_expires_at_its_time_without_any_refresh(town: Town) -> None:
    town.user("user_1")
    town.bind("user_1", "role_member", expires_at=START + 60)
    await town.refresh()
    who = caller("user_1")
    town.clock.now = START + 59.9
    assert town.authority.may_use(who, "gpt")
    town.clock.now = START + 60
    assert not town.authority.may_use(who, "gpt")
    with pytest.raises(PermissionDeniedError):
        town.authority.authorize(who, Action.CALL_MODEL)


async def test_role_in_a_project_holds_there_and_nowhere_else(town: Town) -> None:
    town.project("proj_a")
    town.user("user_1")
    town.bind("user_1", "role_admin", "proj_a")
    await town.refresh()
    who = caller("user_1")
    there = Resource(type="project", id="proj_a", project_id="proj_a")
    town.authority.authorize(who, Action.WRITE_PROJECTS, there)
    town.authority.authorize(who, Action.READ_PROJECTS, SOMEWHERE)
    for resource in (None, PROJECT_HERE):
        with pytest.raises(PermissionDeniedError):
            town.authority.authorize(who, Action.WRITE_PROJECTS, resource)
    assert not town.authority.may_use(who, "gpt")
    assert town.authority.may_use(caller("user_1", project="proj_a"), "gpt")


async def test_roles_reach_through_nested_groups_until_one_is_left(town: Town) -> None:
    town.user("user_1")
    town.group("group_1", "user_1")
    town.group("group_2", "group_1")
    town.bind("group_2", "role_member")
    await town.refresh()
    who = caller("user_1")
    assert town.authority.may_use(who, "gpt")
    town.run("DELETE FROM group_members WHERE member_id = 'group_1'", {}, (ChangeKind.MEMBERS, "group_1"))
    await town.refresh()
    assert not town.authority.may_use(who, "gpt")


async def test_deactivated_owner_of_a_credential_leaves_nothing_of_it(town: Town) -> None:
    town.user("user_1", status="deactivated")
    town.bind("user_1", "role_owner")
    town.grant("deployment:gpt", "user_1", "owner")
    await town.refresh()
    _assert_nothing(town, caller("user_1"), "deactivated")


async def test_suspended_organisation_leaves_nothing_of_any_credential(town: Town) -> None:
    town.organisation("org_b", "suspended")
    town.user("user_1", "org_b")
    town.bind("user_1", "role_owner", organisation="org_b")
    await town.refresh()
    for principal in ("user_1", None):
        _assert_nothing(town, caller(principal, organisation="org_b", project="proj_b"), "suspended")


async def test_unknown_principal_and_one_of_another_organisation_leave_nothing(town: Town) -> None:
    town.organisation("org_b")
    town.user("user_b", "org_b")
    town.bind("user_b", "role_owner", organisation="org_b")
    await town.refresh()
    for principal in ("user_b", "user_none", "", "everyone"):
        _assert_nothing(town, caller(principal), "does not exist")


def _assert_nothing(town: Town, who: Caller, said: str) -> None:
    assert town.authority.actions_of(who) == frozenset()
    assert not town.authority.is_valid(who)
    assert not town.authority.may_use(who, "gpt")
    for action in set(Action) - {Action.PUBLIC}:
        with pytest.raises(PermissionDeniedError, match=said):
            town.authority.authorize(who, action)
    with pytest.raises(PermissionDeniedError):
        town.authority.require_covers(who, frozenset({Action.READ_USERS}))


async def test_archived_project_ends_its_keys_and_the_calls_of_people_in_it(town: Town) -> None:
    town.project("proj_old", archived=True)
    town.user("user_1")
    town.bind("user_1", "role_admin")
    town.grant("deployment:gpt", "user_1", "viewer")
    await town.refresh()
    _assert_nothing(town, caller(project="proj_old"), "archived")
    person = caller("user_1", project="proj_old")
    assert not town.authority.may_use(person, "gpt")
    assert not town.authority.may(person, Action.CALL_MODEL)
    assert town.authority.may(person, Action.READ_USERS)


async def test_project_of_another_tenant_is_not_found_whatever_one_may_do(town: Town) -> None:
    town.organisation("org_b")
    town.project("proj_b", "org_b")
    town.user("user_1")
    town.bind("user_1", "role_owner")
    await town.refresh()
    theirs = Resource(type="project", id="proj_b", project_id="proj_b")
    for who, action in itertools.product((caller(), caller("user_1")), set(Action) - {Action.PUBLIC}):
        with pytest.raises(NotFoundError):
            town.authority.authorize(who, action, theirs)


async def test_projects_of_the_same_id_in_two_organisations_are_two(town: Town) -> None:
    town.organisation("org_b")
    town.project(PROJECT, "org_b", archived=True)
    await town.refresh()
    town.authority.authorize(caller(), Action.WRITE_PROJECTS, PROJECT_HERE)
    assert not town.authority.is_valid(caller(organisation="org_b"))


async def test_grant_lets_a_guest_call_that_deployment_only(town: Town) -> None:
    town.user("user_1")
    town.bind("user_1", "role_guest")
    town.grant("deployment:gpt", "user_1", "viewer")
    await town.refresh()
    who = caller("user_1")
    town.authority.authorize(who, Action.CALL_MODEL)
    assert town.authority.may_use(who, "gpt")
    assert not town.authority.may_use(who, "gpt-4")
    assert not town.authority.may_use(who, "")
    assert not town.authority.may(who, Action.WRITE_DEPLOYMENTS, Resource(type="deployment", id="gpt"))
    only_admin = caller("user_1", scopes={Scope.ADMIN})
    assert not town.authority.may_use(only_admin, "gpt")


async def test_grant_to_everyone_reaches_all_users_of_the_organisation_and_no_other(town: Town) -> None:
    town.organisation("org_b")
    town.user("user_1")
    town.user("user_b", "org_b")
    town.grant("deployment:gpt", "", "viewer")
    await town.refresh()
    assert town.authority.may_use(caller("user_1"), "gpt")
    assert not town.authority.may_use(caller("user_b", organisation="org_b", project="p"), "gpt")


async def test_grant_of_another_organisation_on_the_same_name_lends_nothing(town: Town) -> None:
    town.organisation("org_b")
    town.user("user_1")
    town.grant("deployment:gpt", "user_1", "owner", organisation="org_b")
    await town.refresh()
    assert not town.authority.may_use(caller("user_1"), "gpt")


async def test_grant_expires_at_its_time(town: Town) -> None:
    town.user("user_1")
    town.grant("deployment:gpt", "user_1", "viewer", expires_at=START + 1)
    await town.refresh()
    who = caller("user_1")
    assert town.authority.may_use(who, "gpt")
    town.clock.now = START + 1
    assert not town.authority.may_use(who, "gpt")
    assert not town.authority.may(who, Action.CALL_MODEL)


async def test_grants_are_inherited_from_project_and_organisation(town: Town) -> None:
    town.project("proj_a")
    for name in ("user_1", "user_2"):
        town.user(name)
    town.grant("project:proj_a", "user_1", "owner")
    town.grant(f"organisation:{HERE}", "user_2", "viewer")
    await town.refresh()
    inside = Resource(type="deployment", id="x", project_id="proj_a")
    assert town.authority.may(caller("user_1"), Action.WRITE_GRANTS, inside)
    assert not town.authority.may(caller("user_1"), Action.WRITE_GRANTS, Resource(type="deployment", id="x"))
    assert town.authority.may(caller("user_2"), Action.READ_DEPLOYMENTS, inside)
    assert town.authority.may_use(caller("user_2"), "anything")
    assert not town.authority.may(caller("user_2"), Action.WRITE_DEPLOYMENTS, inside)


async def test_whoever_made_a_thing_may_do_to_it_what_its_owners_may(town: Town) -> None:
    town.user("user_1")
    await town.refresh()
    own = Resource(type="deployment", id="x", owner_id="user_1")
    assert town.authority.actions_of(caller("user_1"), own) == LEVELS["deployment"][Level.OWNER] | {Action.SELF}
    assert town.authority.actions_of(caller(), Resource(type="deployment", id="x", owner_id=None)) >= {Action.SELF}
    someone_elses = Resource(type="deployment", id="x", owner_id="user_2")
    assert town.authority.actions_of(caller("user_1"), someone_elses) == {Action.SELF}


async def test_grant_never_gives_more_than_the_credential_is_for(town: Town) -> None:
    town.project("proj_a")
    town.user("user_1")
    town.grant("project:proj_a", "user_1", "owner")
    await town.refresh()
    who = caller("user_1", project="proj_a", scopes={Scope.INFERENCE})
    there = Resource(type="project", id="proj_a", project_id="proj_a")
    assert town.authority.actions_of(who, there) == {Action.CALL_MODEL, Action.READ_MODELS, Action.SELF}


async def test_policy_on_deployments_limits_everyone_but_the_operator(town: Town) -> None:
    town.user("user_1")
    town.bind("user_1", "role_owner")
    town.grant("deployment:llama", "user_1", "owner")
    town.policy(f"organisation:{HERE}", "deployments.allowed", ["gpt-*"])
    await town.refresh()
    for who in (caller(), caller("user_1")):
        assert town.authority.may_use(who, "gpt-4o")
        assert not town.authority.may_use(who, "llama")
    assert town.authority.may_use(caller(scopes={Scope.OPERATOR, Scope.INFERENCE}), "llama")
    assert not town.authority.may_use(caller(deployments=["llama"]), "gpt-4o")
    assert not town.authority.may_use(caller(deployments=["llama"]), "llama")


async def test_organisation_can_forbid_the_logging_of_prompts(town: Town) -> None:
    await town.refresh()
    assert town.authority.may_log_prompts(caller())
    town.policy(f"organisation:{HERE}", "log_prompts.allowed", value=False)
    await town.refresh()
    assert not town.authority.may_log_prompts(caller())


def test_patterns_know_only_the_star() -> None:
    allowed = AllowedDeployments(None, ["gpt-*", "a?c", "x[12]", "*-mini", "b.c"])
    for name in ("gpt-", "gpt-4o", "a?c", "x[12]", "o1-mini", "b.c", "line\nbreak-mini"):
        assert name in allowed
    for name in ("abc", "x1", "bxc", "GPT-4", "my-gpt-4", "mini", ""):
        assert name not in allowed
    assert "anything" not in AllowedDeployments(None, [])
    assert "anything" in AllowedDeployments(None, None)
    own = AllowedDeployments(frozenset({"gpt-*"}), None)
    assert "gpt-4o" not in own
    assert not own.is_everything


def test_pattern_of_many_stars_against_a_long_name_ends() -> None:
    allowed = AllowedDeployments(None, ["*a" * 100 + "b"])
    assert "a" * 200 not in allowed
    assert "x" * 10_000_000 not in AllowedDeployments(None, ["x*"])


def test_thousand_patterns_are_one_question() -> None:
    allowed = AllowedDeployments(None, [f"team-{number}-*" for number in range(1000)])
    assert "team-999-gpt" in allowed
    assert "team-1000-gpt" not in allowed


async def test_expired_credential_is_not_valid(town: Town) -> None:
    await town.refresh()
    assert town.authority.is_valid(caller(expires_at=START + 1))
    assert not town.authority.is_valid(caller(expires_at=START))


async def test_change_of_the_directory_is_in_force_for_callers_already_known(town: Town) -> None:
    town.user("user_1")
    town.bind("user_1", "role_admin")
    await town.refresh()
    who = caller("user_1")
    town.authority.authorize(who, Action.WRITE_USERS)
    town.run("UPDATE principals SET status = 'deactivated' WHERE id = 'user_1'", {}, (ChangeKind.PRINCIPAL, "user_1"))
    await town.refresh()
    with pytest.raises(PermissionDeniedError):
        town.authority.authorize(who, Action.WRITE_USERS)


async def test_callers_that_come_and_go_are_never_taken_for_one_another(town: Town) -> None:
    town.user("user_1")
    town.bind("user_1", "role_owner")
    await town.refresh()
    for _ in range(30_000):
        assert town.authority.is_owner(caller("user_1"))
        assert not town.authority.is_owner(caller())


# Nobody gives what he does not have.


async def test_nobody_gives_what_he_may_not_do(town: Town) -> None:
    town.user("user_1")
    town.bind("user_1", "role_security_admin")
    await town.refresh()
    who = caller("user_1")
    town.authority.require_covers(who, frozenset({Action.READ_AUDIT, Action.SELF}))
    for missing in (Action.WRITE_BINDINGS, Action.CALL_MODEL, Action.READ_CONTENT, Action.CREATE_ORGANISATIONS):
        with pytest.raises(PermissionDeniedError, match=missing):
            town.authority.require_covers(who, frozenset({Action.READ_AUDIT, missing}))


async def test_role_in_a_project_may_be_given_there_only(town: Town) -> None:
    town.project("proj_a")
    town.user("user_1")
    town.bind("user_1", "role_admin", "proj_a")
    await town.refresh()
    who = caller("user_1")
    there = Resource(type="project", id="proj_a", project_id="proj_a")
    town.authority.require_covers(who, MEMBER.actions, there)
    for resource in (None, PROJECT_HERE, SOMEWHERE):
        with pytest.raises(PermissionDeniedError):
            town.authority.require_covers(who, MEMBER.actions, resource)


async def test_administrators_key_calls_no_model_and_lets_others_call(town: Town) -> None:
    town.user("user_1")
    town.bind("user_1", "role_admin")
    await town.refresh()
    for who in (caller(scopes={Scope.ADMIN}), caller("user_1", scopes={Scope.ADMIN})):
        assert not town.authority.may(who, Action.CALL_MODEL)
        town.authority.require_covers(who, MEMBER.actions)
        with pytest.raises(PermissionDeniedError):
            town.authority.require_covers(who, OWNER.actions)


async def test_key_for_calls_gives_nothing_of_its_owners_administration(town: Town) -> None:
    town.user("user_1")
    town.bind("user_1", "role_owner")
    await town.refresh()
    who = caller("user_1", scopes={Scope.INFERENCE})
    assert not town.authority.is_owner(who)
    with pytest.raises(PermissionDeniedError):
        town.authority.require_covers(who, frozenset({Action.READ_USERS}))


async def test_owners_make_owners_and_appoint_who_reads_content(town: Town) -> None:
    for name in ("owner", "admin"):
        town.user(f"user_{name}")
        town.bind(f"user_{name}", f"role_{name}")
    town.role("role_all", sorted(GIVABLE))
    town.user("user_all")
    town.bind("user_all", "role_all")
    town.user("user_in_project")
    town.bind("user_in_project", "role_owner", PROJECT)
    await town.refresh()
    owner = caller("user_owner")
    town.authority.require_owner(owner)
    town.authority.require_covers(owner, frozenset({Action.READ_CONTENT, Action.PROVISION}))
    assert not town.authority.may(owner, Action.READ_CONTENT)
    for name in ("user_admin", "user_all", "user_in_project", None):
        with pytest.raises(PermissionDeniedError, match="owners"):
            town.authority.require_owner(caller(name))
    with pytest.raises(PermissionDeniedError):
        town.authority.require_covers(caller("user_admin"), frozenset({Action.READ_CONTENT}))
    town.authority.require_owner(caller(scopes={Scope.OPERATOR}))


async def test_whoever_acts_for_another_must_cover_all_that_he_may_do_everywhere(town: Town) -> None:
    town.project("proj_a")
    for name in ("owner", "admin", "security_admin", "member"):
        town.user(f"user_{name}")
        town.bind(f"user_{name}", f"role_{name}")
    town.user("user_mixed")
    town.group("group_mixed", "user_mixed")
    town.bind("group_mixed", "role_security_admin", "proj_a")
    await town.refresh()
    authority, admin = town.authority, caller("user_admin")
    authority.require_covers_principal(admin, "user_member")
    authority.require_covers_principal(admin, "user_none")
    for above in ("user_owner", "user_security_admin", "group_mixed", "user_mixed"):
        with pytest.raises(PermissionDeniedError):
            authority.require_covers_principal(admin, above)
        authority.require_covers_principal(caller("user_owner"), above)


async def test_whoever_acts_for_another_must_cover_what_is_shared_with_him_too(town: Town) -> None:
    for name in ("admin", "security_admin"):
        town.user(f"user_{name}")
        town.bind(f"user_{name}", f"role_{name}")
    town.user("user_guest")
    town.group("group_guests", "user_guest")
    town.grant("deployment:gpt", "group_guests", "viewer")
    town.grant("deployment:old", "user_security_admin", "owner", expires_at=START - 1)
    town.user("user_lead")
    town.grant(f"project:{PROJECT}", "user_lead", "owner")
    await town.refresh()
    for shared_with in ("user_guest", "group_guests", "user_lead"):
        town.authority.require_covers_principal(caller("user_admin"), shared_with)
        with pytest.raises(PermissionDeniedError, match="models:call"):
            town.authority.require_covers_principal(caller("user_security_admin"), shared_with)
    town.authority.require_covers_principal(caller("user_lead"), "user_lead")


async def test_deactivated_person_counts_with_what_he_would_get_back(town: Town) -> None:
    town.user("user_owner", status="deactivated")
    town.bind("user_owner", "role_owner")
    await town.refresh()
    with pytest.raises(PermissionDeniedError):
        town.authority.require_covers_principal(caller(), "user_owner")


@pytest.mark.parametrize("seed", range(5))
async def test_what_may_be_done_is_said_the_same_in_every_way(town: Town, seed: int) -> None:
    chance = random.Random(seed)
    principals = any_town(town, chance)
    await town.refresh()
    resources = [None, SOMEWHERE, *(_resource(place) for place in _PLACES)]
    for principal, resource in itertools.product([None, *principals], resources):
        scopes = chance.choice([EVERYTHING, {Scope.ADMIN}, {Scope.INFERENCE}])
        who = caller(principal, project=chance.choice(["proj_a", PROJECT]), scopes=scopes)
        may = {action for action in set(Action) - {Action.PUBLIC} if town.authority.may(who, action, resource)}
        assert may == town.authority.actions_of(who, resource)
        if principal is not None and resource is not None and resource is not SOMEWHERE:
            # Whoever may give it may do it, but for what an administrator's credential gives without doing it.
            given = {action for action in GIVABLE if _covers(town, who, action, resource)}
            assert given <= may | {Action.CALL_MODEL, Action.READ_CONTENT}


_PLACES = [f"project:{PROJECT}", "project:proj_a", "deployment:x", "deployment:y", f"organisation:{HERE}"]


def any_town(town: Town, chance: random.Random) -> list[str]:
    town.project("proj_a")
    users = [town.user(f"user_{number}", status=chance.choice(["active"] * 4 + ["deactivated"])) for number in range(5)]
    groups = [town.group(f"group_{number}") for number in range(3)]
    for group, member in {(chance.choice(groups), chance.choice(users + groups)) for _ in range(8)}:
        town.join(group, member)
    roles = sorted(BUILT_IN)
    wanted = {(chance.choice(users + groups), chance.choice(roles), chance.choice([None, "proj_a"])) for _ in range(5)}
    for principal, role, project in sorted(wanted, key=repr):
        town.bind(principal, role, project, expires_at=chance.choice([None, START - 1, START + 1]))
    for place, principal in sorted({(chance.choice(_PLACES), chance.choice([*users, *groups, ""])) for _ in range(5)}):
        town.grant(place, principal, chance.choice(list(Level)), expires_at=chance.choice([None, START - 1]))
    return users


def _resource(place: str) -> Resource:
    type_, _, id_ = place.partition(":")
    return Resource(type=type_, id=id_, project_id=id_ if type_ == "project" else None)


def _covers(town: Town, who: Caller, action: Action, resource: Resource) -> bool:
    try:
        town.authority.require_covers(who, frozenset({action}), resource)
    except PermissionDeniedError:
        return False
    return True


def test_levels_hold_one_another_and_only_what_can_be_given() -> None:
    for type_, levels in LEVELS.items():
        assert levels[Level.VIEWER] <= levels[Level.EDITOR] <= levels[Level.OWNER] <= GIVABLE
        for level in Level:
            assert levels[level] <= actions_granted(type_, level)
