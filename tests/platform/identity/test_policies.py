"""Policies: the cascade, locks, groups, and the explanation that must say what is in force."""

import itertools
import random

import pytest
from tests.platform.identity.town import HERE, PROJECT, Town

from mainstay.kit.database import Database
from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.identity.policies import (
    DEPLOYMENTS_ALLOWED,
    KEYS_MAX_LIFETIME_DAYS,
    PASSWORD_ALLOWED,
    POLICIES,
    Subject,
    policy_of,
)
from mainstay.testing.clock import StandingClock

ANA = Subject(organisation_id=HERE, principal_id="user_1", project_id=PROJECT)
ORGANISATION = f"organisation:{HERE}"
DAYS = KEYS_MAX_LIFETIME_DAYS.key


@pytest.fixture
async def town(database: Database, clock: StandingClock) -> Town:
    town = Town(database, clock)
    town.user("user_1")
    town.group("group_1", "user_1")
    town.group("group_2", "group_1")
    await town.refresh()
    return town


async def test_default_holds_where_nothing_is_set(town: Town) -> None:
    for policy in POLICIES.values():
        assert town.authority.policies.value(policy, ANA) == policy.default
        explained = town.authority.policies.explain(policy, ANA)
        assert [(step.scope_type, step.is_decisive) for step in explained.steps] == [("default", True)]


async def test_nearest_place_wins(town: Town) -> None:
    for number, place in enumerate((ORGANISATION, "group:group_2", f"project:{PROJECT}", "user:user_1"), 1):
        town.policy(place, DAYS, number)
        await town.refresh()
        assert town.authority.policies.value(KEYS_MAX_LIFETIME_DAYS, ANA) == number


async def test_broader_place_that_is_locked_wins_over_nearer_ones(town: Town) -> None:
    town.policy("user:user_1", DAYS, 4)
    town.policy(f"project:{PROJECT}", DAYS, 3, locked=True)
    town.policy("group:group_2", DAYS, 2)
    await town.refresh()
    assert town.authority.policies.value(KEYS_MAX_LIFETIME_DAYS, ANA) == 3
    town.policy(ORGANISATION, DAYS, 1, locked=True)
    await town.refresh()
    explained = town.authority.policies.explain(KEYS_MAX_LIFETIME_DAYS, ANA)
    assert explained.value == 1
    assert [(step.scope_type, step.value, step.is_decisive) for step in explained.steps] == [
        ("default", None, False),
        ("organisation", 1, True),
        ("group", 2, False),
        ("project", 3, False),
        ("user", 4, False),
    ]
    assert [step.note for step in explained.steps[2:]] == ["Does not count: a broader value is locked."] * 3


@pytest.mark.parametrize(
    ("policy", "values", "merged"),
    [
        (KEYS_MAX_LIFETIME_DAYS, (30, 90), 90),
        (KEYS_MAX_LIFETIME_DAYS, (30, None), None),
        (PASSWORD_ALLOWED, (False, True), True),
        (PASSWORD_ALLOWED, (False, False), False),
        (DEPLOYMENTS_ALLOWED, (["b", "a"], ["a", "c"]), ["a", "b", "c"]),
        (DEPLOYMENTS_ALLOWED, (["b"], None), None),
        (DEPLOYMENTS_ALLOWED, ([], []), []),
    ],
)
async def test_most_generous_of_the_groups_is_taken(
    town: Town, policy: object, values: tuple[object, object], merged: object
) -> None:
    known = next(one for one in POLICIES.values() if one is policy)
    for group, value in zip(("group_1", "group_2"), values, strict=True):
        town.policy(f"group:{group}", known.key, value)
    await town.refresh()
    assert town.authority.policies.value(known, ANA) == merged


async def test_locked_group_outdoes_more_generous_groups_and_everything_nearer(town: Town) -> None:
    town.policy("group:group_1", DAYS, 300)
    town.policy("group:group_2", DAYS, 7, locked=True)
    town.policy("user:user_1", DAYS, 900)
    await town.refresh()
    explained = town.authority.policies.explain(KEYS_MAX_LIFETIME_DAYS, ANA)
    assert explained.value == 7
    assert [step.scope_id for step in explained.steps if step.is_decisive] == ["group_2"]


async def test_policies_of_other_people_projects_and_organisations_do_not_count(town: Town) -> None:
    town.organisation("org_b")
    town.project("proj_b")
    town.user("user_2")
    town.group("group_other", "user_2")
    town.policy(ORGANISATION, DAYS, 1, organisation="org_b")
    town.policy("user:user_1", DAYS, 1, organisation="org_b")
    for place in ("organisation:org_b", "group:group_other", "project:proj_b", "user:user_2"):
        town.policy(place, DAYS, 1)
    await town.refresh()
    assert town.authority.policies.value(KEYS_MAX_LIFETIME_DAYS, ANA) is None


async def test_key_of_nobody_has_its_organisations_and_projects_policies(town: Town) -> None:
    town.policy("group:group_1", DAYS, 1)
    town.policy("user:user_1", DAYS, 2)
    town.policy(ORGANISATION, DAYS, 3)
    await town.refresh()
    subject = Subject(organisation_id=HERE, project_id=PROJECT)
    assert town.authority.policies.value(KEYS_MAX_LIFETIME_DAYS, subject) == 3


@pytest.mark.parametrize("seed", range(4))
async def test_explanation_says_what_is_in_force_and_which_values_made_it(town: Town, seed: int) -> None:
    chance = random.Random(seed)
    places = [ORGANISATION, "group:group_1", "group:group_2", f"project:{PROJECT}", "user:user_1"]
    for policy, place in itertools.product((KEYS_MAX_LIFETIME_DAYS, PASSWORD_ALLOWED), places):
        if chance.random() < 0.6:
            value = chance.choice([True, False] if policy is PASSWORD_ALLOWED else [None, 1, 5, 9])
            town.policy(place, policy.key, value, locked=chance.random() < 0.3)
    await town.refresh()
    for policy in (KEYS_MAX_LIFETIME_DAYS, PASSWORD_ALLOWED):
        explained = town.authority.policies.explain(policy, ANA)
        decisive = [step.value for step in explained.steps if step.is_decisive]
        assert decisive
        assert explained.value == policy.merge(decisive) == town.authority.policies.value(policy, ANA)


WRONG = {
    "deployments.allowed": ["gpt", {"a": 1}, [1], [""], ["a" * 201], ["x"] * 1001, ["a\x00"], ["\u202e"], 5, True],
    "keys.max_lifetime_days": [0, -1, 3651, 1.5, "30", True, [], 10**30],
    "keys.personal_allowed": [None, 0, 1, "yes", []],
    "sessions.max_hours": [0, 8761, "8"],
    "sign_in.password_allowed": [None, "false"],
    "sign_in.allowed_providers": ["idp_1", [None]],
    "log_prompts.allowed": [None, 1],
}


@pytest.mark.parametrize("key", POLICIES)
def test_value_of_the_wrong_kind_is_refused(key: str) -> None:
    for value in WRONG[key]:
        with pytest.raises(InvalidRequestError) as caught:
            policy_of(key).check(value)
        assert key in caught.value.message
    policy_of(key).check(POLICIES[key].default)


@pytest.mark.parametrize("key", ["", "deployments", "deployments.allowed ", "__class__", "x" * 10_000])
def test_unknown_policy_is_refused_and_the_known_ones_named(key: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"deployments\.allowed") as caught:
        policy_of(key)
    assert len(caught.value.message) < 500
