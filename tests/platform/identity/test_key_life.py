"""Keys of people and projects over time: whose they are, from where, changed, replaced, last used."""

import asyncio

import pytest
from tests.platform.identity.trail import actions, audited

from mainstay.kit.database import Database
from mainstay.kit.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    UnauthenticatedError,
    VersionMismatchError,
)
from mainstay.platform.audit.events import SYSTEM, ActorType
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.caller import Caller, is_allowed_from
from mainstay.platform.identity.key_use import KeyUse
from mainstay.platform.identity.key_wishes import KeyChanges, NewKey, parse_networks
from mainstay.platform.identity.keyring import Keyring
from mainstay.platform.identity.keys import Keys
from mainstay.platform.identity.organisations import Tenant
from mainstay.platform.identity.principals import PrincipalStatus
from mainstay.platform.identity.users import NewUser, User, UserChanges, Users
from mainstay.testing.clock import StandingClock

PEPPER = b"p" * 32
HERE = "org_default"
DAY_MS = 86_400_000


@pytest.fixture
def keys(database: Database, acts: Acts, clock: StandingClock) -> Keys:
    return Keys(database, PEPPER, acts, clock)


@pytest.fixture
def keyring(database: Database, clock: StandingClock) -> Keyring:
    return Keyring(database, PEPPER, clock)


@pytest.fixture
async def user(database: Database, acts: Acts, clock: StandingClock) -> User:
    return await Users(database, acts, clock).create(SYSTEM, HERE, NewUser(email="ada@example.com", name="Ada"))


async def test_callers_of_keys_are_whose_the_keys_are(keys: Keys, keyring: Keyring, user: User) -> None:
    wishes = (NewKey("project's"), NewKey("ada's", principal_id=user.id), NewKey("directory's", scopes=["scim"]))
    made = [await keys.create(SYSTEM, wish) for wish in wishes]
    await keyring.refresh()
    callers = [keyring.find(secret.encode()) for _, secret in made]
    assert [caller.actor_type for caller in callers] == [ActorType.KEY, ActorType.USER, ActorType.DIRECTORY]
    assert [caller.principal_id for caller in callers] == [None, user.id, None]


async def test_secret_of_a_key_is_not_in_the_audit_log(keys: Keys, database: Database) -> None:
    key, secret = await keys.create(SYSTEM, NewKey("x", networks=["10.0.0.0/8"]))
    rotated, second = await keys.rotate(SYSTEM, HERE, key.id)
    written = str(await audited(database))
    assert key.id in written
    assert rotated.id in written
    assert not [text for text in (secret, second, secret[3:], second[3:]) if text in written]


async def test_key_of_someone_who_is_not_there_is_refused(
    keys: Keys, database: Database, user: User, other_tenant: Tenant, acts: Acts, clock: StandingClock
) -> None:
    with pytest.raises(NotFoundError) as caught:
        await keys.create(SYSTEM, NewKey("x", principal_id="user_gone"))
    assert caught.value.param == "principal_id"
    with pytest.raises(NotFoundError):
        await keys.create(SYSTEM, NewKey("x", principal_id=user.id), other_tenant)
    away = UserChanges(status=PrincipalStatus.DEACTIVATED)
    await Users(database, acts, clock).update(SYSTEM, HERE, user.id, away)
    with pytest.raises(ConflictError, match="deactivated"):
        await keys.create(SYSTEM, NewKey("x", principal_id=user.id))
    assert await database.fetch("SELECT COUNT(*) FROM api_keys") == [(0,)]


def _from(networks: list[str] | None) -> Caller:
    parsed = None if networks is None else parse_networks(networks)
    return Caller("key_1", HERE, "proj_default", frozenset(), networks=parsed)


@pytest.mark.parametrize(
    ("networks", "address", "is_allowed"),
    [
        (None, "anything", True),
        (["10.0.0.0/8"], "10.255.255.255", True),
        (["10.0.0.0/8"], "11.0.0.1", False),
        (["10.0.0.0/8"], "::ffff:10.1.2.3", True),
        (["::ffff:10.0.0.0/104"], "10.1.2.3", True),
        (["2001:db8::/32"], "2001:db8:1::1", True),
        (["2001:db8::/32"], "2001:db9::1", False),
        (["2001:db8::/32"], "10.0.0.1", False),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["0.0.0.0/0"], "::1", False),
        (["192.0.2.7"], "192.0.2.7", True),
        (["192.0.2.7"], "192.0.2.8", False),
        (["10.0.0.0/8"], "", False),
        (["10.0.0.0/8"], "10.0.0.1, 10.0.0.2", False),
        (["10.0.0.0/8"], "010.0.0.1", False),
        (["10.0.0.0/8"], "unix:/run/x", False),
    ],
)
def test_key_is_good_from_its_networks_only(networks: list[str] | None, address: str, is_allowed: bool) -> None:
    assert is_allowed_from(_from(networks), address) is is_allowed


async def test_networks_reach_the_keyring_and_change_there(keys: Keys, keyring: Keyring) -> None:
    key, secret = await keys.create(SYSTEM, NewKey("x", networks=["192.0.2.0/24", "2001:db8::1", "192.0.2.0/24"]))
    assert key.networks == ("192.0.2.0/24", "2001:db8::1/128")
    await keyring.refresh()
    assert not is_allowed_from(keyring.find(secret.encode()), "198.51.100.1")
    await keys.update(SYSTEM, HERE, key.id, KeyChanges(networks=None))
    await keyring.refresh()
    assert is_allowed_from(keyring.find(secret.encode()), "198.51.100.1")


async def test_change_of_a_key_is_checked_like_a_new_one_and_written_down(keys: Keys, database: Database) -> None:
    key, _ = await keys.create(SYSTEM, NewKey("x"))
    for wrong in (KeyChanges(name=""), KeyChanges(expires_at_ms=1), KeyChanges(networks=["no"])):
        with pytest.raises(InvalidRequestError):
            await keys.update(SYSTEM, HERE, key.id, wrong)
    changed = await keys.update(SYSTEM, HERE, key.id, KeyChanges(name="y", deployments=["b", "a"]), expected_version=1)
    assert (changed.name, changed.deployments, changed.version) == ("y", ("a", "b"), 2)
    assert await keys.get(HERE, key.id) == changed
    assert await keys.update(SYSTEM, HERE, key.id, KeyChanges(name="y")) == changed
    assert (await audited(database))[-1]["changed"] == {"name": ["x", "y"], "deployments": [None, ["a", "b"]]}
    with pytest.raises(VersionMismatchError):
        await keys.update(SYSTEM, HERE, key.id, KeyChanges(name="z"), expected_version=1)


async def test_key_that_has_ended_is_not_brought_back(keys: Keys, clock: StandingClock) -> None:
    revoked, _ = await keys.create(SYSTEM, NewKey("x"))
    await keys.revoke(SYSTEM, HERE, revoked.id)
    expired, _ = await keys.create(SYSTEM, NewKey("y", expires_at_ms=int(clock.now * 1000) + 1000))
    clock.now += 2
    later = int(clock.now * 1000) + 10**6
    for key in (revoked, expired):
        with pytest.raises(ConflictError):
            await keys.update(SYSTEM, HERE, key.id, KeyChanges(expires_at_ms=later))
        with pytest.raises(ConflictError):
            await keys.rotate(SYSTEM, HERE, key.id)


async def test_replaced_key_stays_good_for_the_overlap_and_no_longer(
    keys: Keys, keyring: Keyring, clock: StandingClock, database: Database
) -> None:
    wanted = NewKey("x", deployments=["a"], requests_per_minute=5, expires_at_ms=int(clock.now * 1000) + 30 * DAY_MS)
    old, old_secret = await keys.create(SYSTEM, wanted)
    clock.now += 10 * 86_400
    new, new_secret = await keys.rotate(SYSTEM, HERE, old.id, overlap_seconds=3600)
    assert (new.name, new.deployments, new.requests_per_minute) == ("x", ("a",), 5)
    assert new.expires_at_ms == int(clock.now * 1000) + 30 * DAY_MS
    await keyring.refresh()
    assert keyring.find(old_secret.encode()).key_id == old.id
    clock.now += 3600
    with pytest.raises(UnauthenticatedError, match="expired"):
        keyring.find(old_secret.encode())
    assert keyring.find(new_secret.encode()).key_id == new.id
    assert await actions(database) == ["key.created", "key.rotated"]


async def test_overlap_never_prolongs_a_key(keys: Keys, clock: StandingClock) -> None:
    ends_ms = int(clock.now * 1000) + 60_000
    old, _ = await keys.create(SYSTEM, NewKey("x", expires_at_ms=ends_ms))
    await keys.rotate(SYSTEM, HERE, old.id, overlap_seconds=3600)
    assert (await keys.get(HERE, old.id)).expires_at_ms == ends_ms


async def test_ten_rotations_at_once_make_one_new_key(keys: Keys, database: Database) -> None:
    old, _ = await keys.create(SYSTEM, NewKey("x"))
    done = await asyncio.gather(*(keys.rotate(SYSTEM, HERE, old.id) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(one, ConflictError) for one in done) == 9
    assert await database.fetch("SELECT COUNT(*) FROM api_keys") == [(2,)]


@pytest.mark.parametrize("overlap_seconds", [-1, 91 * 86_400, 10**30])
async def test_overlap_that_makes_no_sense_is_refused(keys: Keys, overlap_seconds: int) -> None:
    old, _ = await keys.create(SYSTEM, NewKey("x"))
    with pytest.raises(InvalidRequestError):
        await keys.rotate(SYSTEM, HERE, old.id, overlap_seconds=overlap_seconds)


async def test_calls_that_a_key_began_can_ask_what_it_is_good_for_now(
    keys: Keys, keyring: Keyring, clock: StandingClock
) -> None:
    key, _ = await keys.create(SYSTEM, NewKey("x", expires_at_ms=int(clock.now * 1000) + 60_000))
    await keyring.refresh()
    assert keyring.current(key.id) is not None
    await keys.update(SYSTEM, HERE, key.id, KeyChanges(deployments=["only"]))
    told = []
    keyring.on_change.append(lambda: told.append(True))
    await keyring.refresh()
    now = keyring.current(key.id)
    assert told
    assert now is not None
    assert now.deployments == {"only"}
    clock.now += 60
    assert keyring.current(key.id) is None
    assert keyring.current("key_gone") is None


async def test_use_of_keys_is_written_in_batches_and_moves_nothing_else(
    keys: Keys, keyring: Keyring, user: User, database: Database, acts: Acts, clock: StandingClock
) -> None:
    use = KeyUse(keyring, database, clock)
    mine, secret = await keys.create(SYSTEM, NewKey("x", principal_id=user.id))
    unused, _ = await keys.create(SYSTEM, NewKey("y"))
    await keyring.refresh()
    clock.now += 100
    for _ in range(3):
        keyring.find(secret.encode())
    assert (await keys.get(HERE, mine.id)).last_used_at_ms is None
    await use.write()
    used = await keys.get(HERE, mine.id)
    assert (used.last_used_at_ms, used.version) == (int(clock.now * 1000), 1)
    assert (await keys.get(HERE, unused.id)).last_used_at_ms is None
    assert (await Users(database, acts, clock).get(HERE, user.id)).last_active_at_ms == int(clock.now * 1000)
    clock.now += 100
    await use.write()
    assert (await keys.get(HERE, mine.id)).last_used_at_ms == used.last_used_at_ms


async def test_use_is_written_once_more_when_the_worker_ends(
    keys: Keys, keyring: Keyring, database: Database, clock: StandingClock
) -> None:
    key, secret = await keys.create(SYSTEM, NewKey("x"))
    await keyring.refresh()
    keyring.find(secret.encode())
    task = asyncio.create_task(KeyUse(keyring, database, clock).run())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert (await keys.get(HERE, key.id)).last_used_at_ms is not None


async def test_people_and_their_keys_are_changed_from_all_sides_without_waiting_in_a_circle(
    keys: Keys, keyring: Keyring, database: Database, acts: Acts, clock: StandingClock
) -> None:
    users, use = Users(database, acts, clock), KeyUse(keyring, database, clock)
    people = [
        await users.create(SYSTEM, HERE, NewUser(email=f"user{number}@example.com", name="x")) for number in range(4)
    ]
    made = [await keys.create(SYSTEM, NewKey("x", principal_id=user.id)) for user in people for _ in range(3)]
    await keyring.refresh()
    for _, secret in made:
        keyring.find(secret.encode())
    work = [users.delete(SYSTEM, HERE, user.id) for user in people]
    for key, _ in made:
        work.append(keys.rotate(SYSTEM, HERE, key.id))  # type: ignore[arg-type]
        work.append(keys.update(SYSTEM, HERE, key.id, KeyChanges(name="y")))  # type: ignore[arg-type]
        work.append(keys.revoke(SYSTEM, HERE, key.id))  # type: ignore[arg-type]
    done = await asyncio.gather(*work, use.write(), return_exceptions=True)
    failures = [one for one in done if isinstance(one, BaseException)]
    # Some came too late; nobody was turned away by the database.
    assert {type(one) for one in failures} <= {ConflictError, NotFoundError}
    assert await database.fetch("SELECT COUNT(*) FROM api_keys WHERE revoked_at_ms IS NULL") == [(0,)]
