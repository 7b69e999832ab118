"""Policies as rows: one value at one place, of the right kind, for what the organisation has."""

import asyncio

import pytest
from tests.platform.identity.town import HERE, PROJECT, Town
from tests.platform.identity.trail import actions, audited, told

from mainstay.kit.database import Database
from mainstay.kit.errors import ConflictError, InvalidRequestError, NotFoundError, VersionMismatchError
from mainstay.kit.pages import PageRequest
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.organisations import Tenant
from mainstay.platform.identity.policies import DEPLOYMENTS_ALLOWED, KEYS_MAX_LIFETIME_DAYS, PolicyScope, Subject
from mainstay.platform.identity.policy_store import NewPolicy, PolicyChanges, PolicyFilter, PolicyStore, StoredPolicy
from mainstay.testing.clock import StandingClock

DAYS = KEYS_MAX_LIFETIME_DAYS.key


@pytest.fixture
def policies(database: Database, acts: Acts, clock: StandingClock) -> PolicyStore:
    return PolicyStore(database, acts, clock)


@pytest.fixture
async def town(database: Database, clock: StandingClock) -> Town:
    town = Town(database, clock)
    town.user("user_1")
    town.user("sa_1", type="service_account")
    town.group("group_1")
    await town.refresh()
    return town


def _wanted(
    place: str = f"organisation:{HERE}", value: object = 30, key: str = DAYS, *, locked: bool = False
) -> NewPolicy:
    type_, _, id_ = place.partition(":")
    return NewPolicy(scope_type=PolicyScope(type_), scope_id=id_, key=key, value=value, is_locked=locked)


@pytest.mark.parametrize(
    "place", [f"organisation:{HERE}", "group:group_1", f"project:{PROJECT}", "user:user_1", "user:sa_1"]
)
async def test_policy_is_found_as_set(policies: PolicyStore, town: Town, database: Database, place: str) -> None:
    policy = await policies.create(SYSTEM, HERE, _wanted(place))
    assert await policies.get(HERE, policy.id) == policy
    assert await actions(database) == ["policy.set"]
    assert ("policy", place) in await told(database)


async def test_policy_that_is_set_is_in_force_after_a_refresh(policies: PolicyStore, town: Town) -> None:
    await policies.create(SYSTEM, HERE, _wanted(value=["a", "b*"], key=DEPLOYMENTS_ALLOWED.key))
    await town.feed.refresh()
    assert town.authority.policies.value(DEPLOYMENTS_ALLOWED, Subject(organisation_id=HERE)) == ["a", "b*"]


@pytest.mark.parametrize(
    "place",
    [
        "organisation:org_other",
        "group:user_1",
        "user:group_1",
        "user:user_b",
        "user:user_none",
        "project:proj_other",
        "group:a\x00b",
    ],
)
async def test_place_that_the_organisation_does_not_have_is_not_found(
    policies: PolicyStore, town: Town, other_tenant: Tenant, place: str
) -> None:
    town.user("user_b", other_tenant.organisation_id)
    await town.refresh()
    with pytest.raises(NotFoundError):
        await policies.create(SYSTEM, HERE, _wanted(place))


async def test_wrong_value_unknown_key_and_senseless_lock_are_refused(policies: PolicyStore, town: Town) -> None:
    for wanted in (_wanted(value="30"), _wanted(value=0), _wanted(key="no.such"), _wanted("user:user_1", locked=True)):
        with pytest.raises(InvalidRequestError):
            await policies.create(SYSTEM, HERE, wanted)
    policy = await policies.create(SYSTEM, HERE, _wanted("user:user_1"))
    for changes in (PolicyChanges(value=-1), PolicyChanges(is_locked=True)):
        with pytest.raises(InvalidRequestError):
            await policies.update(SYSTEM, HERE, policy.id, changes)
    assert await policies.get(HERE, policy.id) == policy


async def test_policy_is_set_once_at_one_place_however_many_ask(
    policies: PolicyStore, town: Town, database: Database
) -> None:
    done = await asyncio.gather(*(policies.create(SYSTEM, HERE, _wanted()) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(one, StoredPolicy) for one in done) == 1
    assert sum(isinstance(one, ConflictError) for one in done) == 7
    assert await actions(database) == ["policy.set"]


async def test_change_tells_before_and_after_and_minds_the_version(
    policies: PolicyStore, town: Town, database: Database
) -> None:
    policy = await policies.create(SYSTEM, HERE, _wanted())
    changed = await policies.update(
        SYSTEM, HERE, policy.id, PolicyChanges(value=None, is_locked=True), expected_version=1
    )
    assert (changed.value, changed.is_locked, changed.version) == (None, True, 2)
    assert (await audited(database))[-1]["changed"] == {"value": [30, None], "is_locked": [False, True]}
    assert await policies.update(SYSTEM, HERE, policy.id, PolicyChanges(is_locked=True)) == changed
    for attempt in (
        policies.update(SYSTEM, HERE, policy.id, PolicyChanges(value=1), expected_version=1),
        policies.delete(SYSTEM, HERE, policy.id, expected_version=1),
    ):
        with pytest.raises(VersionMismatchError):
            await attempt
    await policies.delete(SYSTEM, HERE, policy.id, expected_version=2)
    assert await actions(database) == ["policy.set", "policy.set", "policy.removed"]


async def test_policy_of_another_tenant_does_not_exist(policies: PolicyStore, town: Town, other_tenant: Tenant) -> None:
    organisation = other_tenant.organisation_id
    theirs = await policies.create(SYSTEM, organisation, _wanted(f"organisation:{organisation}"))
    for attempt in (
        policies.get(HERE, theirs.id),
        policies.update(SYSTEM, HERE, theirs.id, PolicyChanges(value=1)),
        policies.delete(SYSTEM, HERE, theirs.id),
    ):
        with pytest.raises(NotFoundError):
            await attempt
    assert (await policies.list(HERE, PageRequest())).items == []
    assert (await policies.list(organisation, PageRequest(), PolicyFilter(key=DAYS))).items == [theirs]
