"""Explanations: they never say other than the decision, and name what decides."""

import random

import pytest
from tests.platform.identity.test_authorize import any_town
from tests.platform.identity.town import EVERYTHING, HERE, PROJECT, Town, caller

from mainstay.kit.database import Database
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.authorize import SOMEWHERE, Resource
from mainstay.platform.identity.caller import Scope
from mainstay.platform.identity.explain import ALLOWS, REFUSES, Explainer, Question
from mainstay.testing.clock import START, StandingClock


@pytest.fixture
def town(database: Database, clock: StandingClock) -> Town:
    return Town(database, clock)


@pytest.fixture
def explainer(town: Town) -> Explainer:
    return Explainer(town.authority, town.clock)


@pytest.mark.parametrize("seed", range(6))
async def test_explanation_agrees_with_the_decision_and_gives_a_reason(
    town: Town, explainer: Explainer, seed: int
) -> None:
    chance = random.Random(seed)
    principals = any_town(town, chance)
    await town.refresh()
    resources = [None, SOMEWHERE, Resource(type="project", id="proj_a", project_id="proj_a")]
    resources += [Resource(type="deployment", id="x", owner_id="user_1"), Resource(type="deployment", id="y")]
    for principal in [None, *principals]:
        for resource in resources:
            scopes = chance.choice([EVERYTHING, {Scope.ADMIN}, {Scope.INFERENCE}, {Scope.OPERATOR}])
            who = caller(principal, project=chance.choice(["proj_a", PROJECT]), scopes=scopes)
            for action in set(Action) - {Action.PUBLIC}:
                explained = explainer.explain(Question(caller=who, action=action, resource=resource))
                assert explained.is_allowed == town.authority.may(who, action, resource)
                assert explained.answer.startswith("Yes: " if explained.is_allowed else "No: ")
                allowing = [reason for reason in explained.reasons if reason.effect == ALLOWS]
                refusing = [reason for reason in explained.reasons if reason.effect == REFUSES]
                if resource is not SOMEWHERE:
                    assert explained.is_allowed == (bool(allowing) and not refusing), (who, action, resource, explained)


async def test_path_through_nested_groups_is_told(town: Town, explainer: Explainer) -> None:
    town.user("user_1")
    town.group("group_1", "user_1")
    town.group("group_2", "group_1")
    town.bind("group_2", "role_admin")
    await town.refresh()
    explained = explainer.explain(Question(caller=caller("user_1"), action=Action.WRITE_USERS))
    (reason,) = explained.reasons
    assert reason.path == ("user_1", "group_1", "group_2")
    assert explained.answer == (
        "Yes: The role 'Admin' in the whole organisation gives 'users:write'. By the groups group_1, then group_2."
    )


async def test_what_has_ended_and_what_holds_elsewhere_is_told(town: Town, explainer: Explainer) -> None:
    town.project("proj_a")
    town.user("user_1")
    town.bind("user_1", "role_admin", expires_at=START - 1)
    town.bind("user_1", "role_admin", "proj_a")
    town.grant(f"organisation:{HERE}", "user_1", "owner", expires_at=START - 1)
    await town.refresh()
    explained = explainer.explain(Question(caller=caller("user_1"), action=Action.WRITE_USERS))
    assert not explained.is_allowed
    texts = " ".join(reason.text for reason in explained.reasons)
    assert "it ended 2027-01-15 07:59 UTC" in texts
    assert "that is not where it is asked for" in texts
    assert not any(reason.effect == ALLOWS for reason in explained.reasons)


async def test_deployment_that_a_policy_forbids_is_refused_step_by_step(town: Town, explainer: Explainer) -> None:
    town.user("user_1")
    town.bind("user_1", "role_member")
    town.policy(f"organisation:{HERE}", "deployments.allowed", ["gpt-*"], locked=True)
    town.policy("user:user_1", "deployments.allowed", None)
    await town.refresh()
    who = caller("user_1")
    explained = explainer.explain(Question(caller=who, action=Action.CALL_MODEL, deployment="llama"))
    assert not explained.is_allowed
    assert [step.scope_type for step in explained.policy if step.is_decisive] == ["organisation"]
    assert explainer.explain(Question(caller=who, action=Action.CALL_MODEL, deployment="gpt-4o")).is_allowed


async def test_deactivated_account_is_the_reason_whatever_it_was_given(town: Town, explainer: Explainer) -> None:
    town.user("user_1", status="deactivated")
    town.bind("user_1", "role_owner")
    await town.refresh()
    explained = explainer.explain(Question(caller=caller("user_1"), action=Action.READ_USERS))
    assert not explained.is_allowed
    assert "deactivated" in explained.answer


async def test_grants_of_other_organisations_are_not_told(town: Town, explainer: Explainer) -> None:
    town.organisation("org_b")
    town.user("user_1")
    town.grant("deployment:gpt", "user_1", "owner", organisation="org_b")
    town.grant("deployment:gpt", "", "owner", organisation="org_b")
    await town.refresh()
    explained = explainer.explain(Question(caller=caller("user_1"), action=Action.CALL_MODEL, deployment="gpt"))
    assert not explained.is_allowed
    assert not [reason for reason in explained.reasons if reason.kind == "grant"]
