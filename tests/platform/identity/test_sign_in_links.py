"""Sign-in links: used twice, at once, too late, for someone who is gone."""

import asyncio

import pytest
from tests.platform.identity.signing_in import HERE, ORGANISATION, Door, open_door

from mainstay.kit.database import Database
from mainstay.kit.errors import NotFoundError, UnauthenticatedError
from mainstay.platform.audit.events import SYSTEM


@pytest.fixture
async def door(database: Database) -> Door:
    return await open_door(database)


async def make(door: Door, who: str) -> str:
    secret, _ = await door.links.create(SYSTEM, ORGANISATION, who)
    return secret


async def test_a_link_signs_in_once(door: Door):
    who = await door.add_user()
    secret = await make(door, who)
    begun = await door.links.use(secret, origin=HERE)
    assert (begun.session.principal_id, begun.session.method) == (who, "link")
    with pytest.raises(UnauthenticatedError, match="used already"):
        await door.links.use(secret, origin=HERE)
    assert await door.audited() == ["sign_in_link.created", "session.created"]
    assert secret not in await door.audit_text()


async def test_a_link_used_by_many_at_once_signs_in_one(door: Door):
    secret = await make(door, await door.add_user())
    answers = await asyncio.gather(*(door.links.use(secret, origin=HERE) for _ in range(8)), return_exceptions=True)
    assert sum(not isinstance(answer, Exception) for answer in answers) == 1
    assert sum(isinstance(answer, UnauthenticatedError) for answer in answers) == 7


async def test_a_link_that_has_run_out_is_worthless_and_stays_so(door: Door):
    secret = await make(door, await door.add_user())
    door.clock.now += 600
    for _ in range(2):
        with pytest.raises(UnauthenticatedError):
            await door.links.use(secret, origin=HERE)
    door.clock.now -= 300
    with pytest.raises(UnauthenticatedError):
        await door.links.use(secret, origin=HERE)


async def test_a_deactivated_user_gets_no_session(door: Door):
    who = await door.add_user()
    secret = await make(door, who)
    await door.set_status(who, "deactivated")
    with pytest.raises(UnauthenticatedError):
        await door.links.use(secret, origin=HERE)
    with pytest.raises(NotFoundError):
        await door.links.create(SYSTEM, ORGANISATION, who)


@pytest.mark.parametrize("who", ["", "user_none", "a\x00b", "x" * 10_000])
async def test_there_is_no_link_for_nobody(door: Door, who: str):
    with pytest.raises(NotFoundError):
        await door.links.create(SYSTEM, ORGANISATION, who)


async def test_another_organisations_user_is_nobody(door: Door):
    await door.add_organisation("org_b")
    who = await door.add_user(organisation_id="org_b")
    with pytest.raises(NotFoundError):
        await door.links.create(SYSTEM, ORGANISATION, who)


@pytest.mark.parametrize("forged", ["", "A" * 43, "' OR 1=1", "é" * 43, "A" * 1_000_000, "\x00" * 43])
async def test_a_forged_link_is_worthless(door: Door, forged: str):
    await make(door, await door.add_user())
    with pytest.raises(UnauthenticatedError):
        await door.links.use(forged, origin=HERE)


async def test_a_link_unlocks_the_account(door: Door):
    who = await door.add_user()
    async with door.database.transaction() as transaction:
        await transaction.execute("UPDATE users SET failed_attempts = 9, locked_until_ms = 9000000000000")
    await door.links.use(await make(door, who), origin=HERE)
    assert await door.database.fetch("SELECT failed_attempts, locked_until_ms FROM users") == [(0, None)]


async def test_old_links_are_swept_away(door: Door):
    who = await door.add_user()
    await make(door, who)
    door.clock.now += 600
    await make(door, who)
    assert await door.database.fetch("SELECT COUNT(*) FROM sign_in_links") == [(1,)]


async def test_a_policy_shortens_a_links_session_too(door: Door):
    door.rules.max_hours = 2
    begun = await door.links.use(await make(door, await door.add_user()), origin=HERE)
    assert begun.session.expires_at_ms - begun.session.created_at_ms == 7_200_000
