"""Lists are filtered in SQL by what the decision in memory would say of each row."""

import random

import pytest
from tests.platform.identity.test_authorize import any_town
from tests.platform.identity.town import EVERYTHING, PROJECT, Town, caller

from mainstay.kit.database import Database
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.authorize import Resource
from mainstay.platform.identity.caller import Caller, Scope
from mainstay.platform.identity.visibility import Columns, Visibility
from mainstay.testing.clock import StandingClock

PROJECTS = Columns(type="project", id="projects.id", project="projects.id")
THINGS = Columns(type="deployment", id="things.name", project="things.project_id", owner="things.owner_id")
_THINGS = (
    "SELECT things.name FROM (SELECT 'x' AS name, 'proj_a' AS project_id, 'user_1' AS owner_id "
    "UNION ALL SELECT 'y', 'proj_default', 'user_2' UNION ALL SELECT 'z', 'proj_a', '') things WHERE 1 = 1"
)
_ROWS = {"x": ("proj_a", "user_1"), "y": (PROJECT, "user_2"), "z": ("proj_a", "")}


@pytest.fixture
def town(database: Database, clock: StandingClock) -> Town:
    return Town(database, clock)


async def _seen(town: Town, who: Caller, action: Action, columns: Columns, statement: str) -> set[str]:
    condition = Visibility(town.authority, town.clock).condition(who, action, columns)
    values = dict(condition.values)
    if ":organisation_id" in statement:
        values["organisation_id"] = who.organisation_id
    return {str(name) for (name,) in await town.database.fetch(statement + condition.clause, values)}


@pytest.mark.parametrize("seed", range(6))
async def test_rows_that_are_shown_are_those_that_would_be_allowed(town: Town, seed: int) -> None:
    chance = random.Random(seed)
    principals = any_town(town, chance)
    await town.refresh()
    projects = "SELECT projects.id FROM projects WHERE organisation_id = :organisation_id"
    for principal in [None, *principals]:
        scopes = chance.choice([EVERYTHING, {Scope.ADMIN}, {Scope.INFERENCE}, {Scope.OPERATOR}])
        who = caller(principal, project="proj_a", scopes=scopes)
        for action in (Action.READ_PROJECTS, Action.WRITE_PROJECTS, Action.READ_GRANTS, Action.CALL_MODEL):
            seen = await _seen(town, who, action, PROJECTS, projects)
            assert seen == {
                one
                for one in (PROJECT, "proj_a")
                if town.authority.may(who, action, Resource(type="project", id=one, project_id=one))
            }
        for action in (Action.READ_DEPLOYMENTS, Action.WRITE_DEPLOYMENTS, Action.READ_USERS):
            seen = await _seen(town, who, action, THINGS, _THINGS)
            assert seen == {
                name
                for name, (project, owner) in _ROWS.items()
                if town.authority.may(
                    who, action, Resource(type="deployment", id=name, project_id=project, owner_id=owner)
                )
            }


async def test_nobody_sees_anything_by_a_credential_that_is_refused(town: Town) -> None:
    town.organisation("org_off", "suspended")
    town.user("user_off", status="deactivated")
    town.bind("user_off", "role_owner")
    await town.refresh()
    for who in (caller("user_off"), caller("user_none"), caller(organisation="org_off")):
        assert await _seen(town, who, Action.READ_DEPLOYMENTS, THINGS, _THINGS) == set()


async def test_hostile_ids_are_values_and_never_part_of_the_statement(town: Town) -> None:
    hostile = "user_'); DROP TABLE grants; --"
    town.user(hostile)
    town.grant("deployment:x", hostile, "viewer")
    await town.refresh()
    assert await _seen(town, caller(hostile), Action.READ_DEPLOYMENTS, THINGS, _THINGS) == {"x"}
    assert await town.database.fetch("SELECT COUNT(*) FROM grants") == [(1,)]


async def test_grants_of_another_organisation_show_nothing(town: Town) -> None:
    town.organisation("org_b")
    town.user("user_1")
    town.grant("deployment:z", "user_1", "owner", organisation="org_b")
    town.grant("organisation:org_b", "user_1", "owner", organisation="org_b")
    await town.refresh()
    assert await _seen(town, caller("user_1"), Action.READ_DEPLOYMENTS, THINGS, _THINGS) == {"x"}
