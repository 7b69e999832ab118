"""Signing in with a password: guessing, lockout, who exists, policies, several organisations, changing it."""

import asyncio

import pytest
from tests.platform.identity.signing_in import HERE, ORGANISATION, Door, open_door

from mainstay.kit.database import Database
from mainstay.kit.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    RateLimitedError,
    UnauthenticatedError,
)
from mainstay.platform.identity.password_sign_in import Given
from mainstay.platform.identity.passwords import Passwords

GOOD = "four words are enough"
NEW = "five other words are better"


@pytest.fixture
async def door(database: Database) -> Door:
    return await open_door(database)


def sign_in(door: Door, password: str = GOOD, email: str = "ann@example.com", **more):
    return door.by_password.sign_in(Given(email=email, password=password, origin=HERE, **more))


async def refused(door: Door, password: str = "wrong", **more) -> str:
    with pytest.raises(UnauthenticatedError) as raised:
        await sign_in(door, password, **more)
    return raised.value.message


async def test_the_right_password_begins_a_session(door: Door):
    who = await door.add_user(password=GOOD)
    begun = await sign_in(door, email="  ANN@Example.com ")
    assert (begun.session.principal_id, begun.session.method) == (who, "password")
    assert (await door.ring().verify(begun.secret.encode())).principal_id == who
    assert await door.audited() == ["session.created"]


async def test_who_is_deactivated_while_the_password_is_looked_at_gets_no_session(door: Door, monkeypatch):
    who, matches = await door.add_user(password=GOOD), door.passwords.matches

    async def meanwhile_deactivated(password: str, stored: str | None) -> bool:
        is_right = await matches(password, stored)
        await door.set_status(who, "deactivated")
        return is_right

    monkeypatch.setattr(door.passwords, "matches", meanwhile_deactivated)
    await refused(door, GOOD)
    assert await door.database.fetch("SELECT id FROM sessions") == []


async def test_whatever_is_wrong_the_answer_is_the_same(door: Door):
    await door.add_user(password=GOOD)
    await door.add_user("bob@example.com")  # without a password
    gone = await door.add_user("eve@example.com", password=GOOD)
    await door.set_status(gone, "deactivated")
    told = {
        await refused(door),
        await refused(door, GOOD, email="nobody@example.com"),
        await refused(door, GOOD, email="bob@example.com"),
        await refused(door, GOOD, email="eve@example.com"),
        await refused(door, GOOD, email=""),
        await refused(door, GOOD, email="x" * 100_000),
        await refused(door, GOOD, email="a\x00b@example.com"),
        await refused(door, GOOD, email="ann@example.com' OR '1'='1"),
        await refused(door, GOOD, organisation_id="org_none"),
        await refused(door, GOOD, organisation_id="a\x00"),
        await refused(door, "x" * 1_000_000),
    }
    assert len(told) == 1


async def test_every_refusal_costs_one_look_at_a_password(door: Door, monkeypatch: pytest.MonkeyPatch):
    locked = await door.add_user("locked@example.com", password=GOOD)
    async with door.database.transaction() as transaction:
        await transaction.execute(
            "UPDATE users SET locked_until_ms = 9000000000000 WHERE principal_id = :id", {"id": locked}
        )
    await door.add_user(password=GOOD)
    looks: list[bool] = []
    matches = door.passwords.matches

    async def counted(password: str, stored: str | None) -> bool:
        looks.append(stored is not None)
        return await matches(password, stored)

    monkeypatch.setattr(door.passwords, "matches", counted)
    for email in ("ann@example.com", "nobody@example.com", "locked@example.com"):
        looks.clear()
        await refused(door, email=email)
        assert len(looks) == 1, email


async def test_a_password_for_an_account_that_takes_none_is_audited(door: Door, monkeypatch: pytest.MonkeyPatch):
    await door.add_user("bob@example.com")  # without a password
    await refused(door, email="bob@example.com")
    assert await door.audited() == ["sign_in.failed"]
    await door.add_user(password=GOOD)
    monkeypatch.setattr(door.by_password._rules, "password_allowed", lambda *_: False)
    await refused(door, GOOD)
    assert await door.audited() == ["sign_in.failed", "sign_in.failed"]


@pytest.mark.parametrize("took_seconds", [0.0, 0.2, 0.9, 1.3])
async def test_a_refusal_comes_by_the_whole_second(door: Door, monkeypatch: pytest.MonkeyPatch, took_seconds: float):
    door.by_password.answer_seconds = 1.0
    began, slept = door.clock.now, []

    async def look(password: str, stored: str | None) -> bool:
        door.clock.now += took_seconds
        return False

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(door.passwords, "matches", look)
    monkeypatch.setattr("mainstay.platform.identity.password_sign_in.asyncio.sleep", sleep)
    await refused(door, email="nobody@example.com")
    assert (door.clock.now - began + slept[-1]) % 1.0 == pytest.approx(0.0, abs=1e-6)


async def test_wrong_passwords_lock_the_account_for_a_while_and_are_audited(door: Door):
    await door.add_user(password=GOOD)
    for _ in range(3):
        await refused(door)
    assert await door.audited() == ["sign_in.failed", "sign_in.failed", "sign_in.locked"]
    await refused(door, GOOD)
    door.clock.now += 899
    await refused(door, GOOD)
    door.clock.now += 2
    await refused(door)
    assert (await sign_in(door)).session.method == "password"
    assert GOOD not in await door.audit_text()


async def test_a_success_forgives_earlier_mistakes(door: Door):
    await door.add_user(password=GOOD)
    for _ in range(4):
        await refused(door)
        await refused(door)
        await sign_in(door)


async def test_many_guesses_at_once_are_no_more_guesses(door: Door):
    await door.add_user(password=GOOD)
    tries = [sign_in(door, f"guess {number}") for number in range(20)] + [sign_in(door)]
    answers = await asyncio.gather(*tries, return_exceptions=True)
    assert all(isinstance(answer, UnauthenticatedError) for answer in answers[:-1])
    audited = await door.audited()
    assert audited.count("sign_in.failed") + audited.count("sign_in.locked") <= 3


async def test_an_address_that_fails_often_must_wait_whoever_it_tries(database: Database):
    door = await open_door(database, attempts_per_address=5)
    await door.add_user(password=GOOD)
    for number in range(5):
        await refused(door, email=f"user{number}@example.com")
    with pytest.raises(RateLimitedError):
        await sign_in(door)
    door.clock.now += 200
    assert await sign_in(door)


async def test_a_suspended_organisation_lets_nobody_in(door: Door):
    await door.add_user(password=GOOD)
    async with door.database.transaction() as transaction:
        await transaction.execute("UPDATE organisations SET status = 'suspended'")
    await refused(door, GOOD)


async def test_a_policy_may_forbid_passwords_and_shorten_sessions(door: Door):
    who = await door.add_user(password=GOOD)
    door.rules.max_hours = 1
    begun = await sign_in(door)
    assert begun.session.expires_at_ms - begun.session.created_at_ms == 3_600_000
    door.rules.is_password_allowed = False
    await refused(door, GOOD)
    with pytest.raises(PermissionDeniedError, match="does not allow passwords"):
        await door.by_password.change(
            begun_act(begun), ORGANISATION, who, session_id=begun.session.id, current=GOOD, new=NEW
        )


async def test_someone_in_two_organisations_says_which(door: Door):
    await door.add_organisation("org_b")
    await door.add_user(password=GOOD)
    await door.add_user(password=NEW, organisation_id="org_b")
    assert (await sign_in(door, GOOD)).session.organisation_id == ORGANISATION
    assert (await sign_in(door, NEW)).session.organisation_id == "org_b"
    assert (await sign_in(door, NEW, organisation_id="org_b")).session.organisation_id == "org_b"
    await refused(door, NEW, organisation_id=ORGANISATION)


async def test_an_old_hash_is_renewed_at_sign_in(door: Door):
    who = await door.add_user()
    old = Passwords(memory_kib=16)
    hashed = await old.hash(GOOD)
    old.close()
    async with door.database.transaction() as transaction:
        await transaction.execute("UPDATE users SET password_hash = :hash", {"hash": hashed})
    await sign_in(door)
    ((stored,),) = await door.database.fetch("SELECT password_hash FROM users WHERE principal_id = :id", {"id": who})
    assert stored != hashed
    assert await sign_in(door)


# Changing it


def begun_act(begun):
    from mainstay.platform.audit.events import Act, Actor, ActorType

    return Act(actor=Actor(type=ActorType.USER, id=begun.session.principal_id), origin=HERE)


async def change(door: Door, begun, current: str | None, new: str = NEW) -> None:
    session = begun.session
    await door.by_password.change(
        begun_act(begun), session.organisation_id, session.principal_id, session_id=session.id, current=current, new=new
    )


async def test_a_new_password_ends_every_other_session(door: Door):
    await door.add_user(password=GOOD)
    here, elsewhere = await sign_in(door), await sign_in(door)
    await change(door, here, GOOD)
    ring = door.ring()
    assert (await ring.verify(here.secret.encode())).key_id == here.session.id
    with pytest.raises(UnauthenticatedError):
        await ring.verify(elsewhere.secret.encode())
    await refused(door, GOOD)
    assert await sign_in(door, NEW)
    assert (await door.audited())[2] == "user.password_changed"
    assert NEW not in await door.audit_text()


async def test_changing_needs_the_present_password_and_is_no_way_to_guess_it(door: Door):
    await door.add_user(password=GOOD)
    begun = await sign_in(door)
    with pytest.raises(InvalidRequestError, match="present password"):
        await change(door, begun, None)
    for _ in range(3):
        with pytest.raises(PermissionDeniedError):
            await change(door, begun, "wrong")
    with pytest.raises(PermissionDeniedError):
        await change(door, begun, GOOD)
    assert "sign_in.locked" in await door.audited()


async def test_a_weak_password_is_refused_before_anything_happens(door: Door):
    await door.add_user(password=GOOD)
    begun = await sign_in(door)
    with pytest.raises(InvalidRequestError, match="tried first"):
        await change(door, begun, GOOD, "Password12345!")
    assert await sign_in(door)


async def test_a_link_lets_one_set_a_password_for_an_hour(door: Door):
    who = await door.add_user()
    secret, _ = await door.links.create(begun_act_of(who), ORGANISATION, who)
    begun = await door.links.use(secret, origin=HERE)
    door.clock.now += 3601
    with pytest.raises(PermissionDeniedError, match="sign-in link"):
        await change(door, begun, None)
    door.clock.now -= 3601
    await change(door, begun, None)
    assert await sign_in(door, NEW)


def begun_act_of(who: str):
    from mainstay.platform.audit.events import Act, Actor, ActorType

    return Act(actor=Actor(type=ActorType.USER, id=who), origin=HERE)
