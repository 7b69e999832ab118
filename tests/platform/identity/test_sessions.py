"""Sessions: forged and stolen cookies, ends of every kind, several workers, restarts."""

import base64

import pytest
from tests.platform.identity.signing_in import HERE, LIFETIMES, ORGANISATION, PEPPER, Door, open_door

from mainstay.kit.database import Database
from mainstay.kit.errors import NotFoundError, UnauthenticatedError
from mainstay.kit.pages import PageRequest
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.identity.change_feed import ChangeFeed, ChangeKind
from mainstay.platform.identity.sessions import Begun, SessionSecrets, SignIn


@pytest.fixture
async def door(database: Database) -> Door:
    return await open_door(database)


async def begin(door: Door, who: str, **details) -> Begun:
    given = {"organisation_id": ORGANISATION, "principal_id": who, "method": "password", "origin": HERE, **details}
    return await door.sessions.create(SignIn(**given))


# Cookies


def test_a_cookie_has_256_random_bits_and_is_known_by_itself():
    secrets = SessionSecrets(PEPPER)
    made = {secrets.new() for _ in range(100)}
    assert len(made) == 100
    assert all(len(base64.urlsafe_b64decode(one)) == 48 for one in made)
    assert all(secrets.digest(one.encode()) is not None for one in made)


@pytest.mark.parametrize(
    "forged",
    [
        b"",
        b"A" * 64,
        b"A" * 63,
        b"A" * 65,
        b"=" * 64,
        b"' OR 1=1 --",
        b"\xff" * 64,
        b"\x00" * 64,
        SessionSecrets(b"q" * 32).new().encode(),
        b"A" * 1_000_000,
    ],
)
async def test_a_forged_cookie_never_reaches_the_database(door: Door, forged: bytes):
    ring = door.ring()
    await door.database.aclose()
    assert ring.find(forged) is None
    with pytest.raises(UnauthenticatedError):
        await ring.verify(forged)


async def test_every_flipped_bit_of_a_cookie_makes_it_worthless():
    secrets = SessionSecrets(PEPPER)
    cookie = secrets.new()
    for place in range(len(cookie)):
        other = "A" if cookie[place] != "A" else "B"
        assert secrets.digest((cookie[:place] + other + cookie[place + 1 :]).encode()) is None


async def test_the_database_holds_no_cookie(door: Door):
    begun = await begin(door, await door.add_user())
    (row,) = await door.database.fetch("SELECT * FROM sessions")
    assert all(begun.secret not in str(value) for value in row)
    assert all(begun.secret.encode() != value for value in row)
    assert begun.secret not in await door.audit_text()


# Beginning


async def test_a_session_knows_its_owner_and_where_it_began(door: Door):
    who = await door.add_user()
    begun = await begin(door, who)
    caller = await door.ring().verify(begun.secret.encode())
    assert (caller.key_id, caller.principal_id, caller.organisation_id) == (begun.session.id, who, ORGANISATION)
    assert (caller.project_id, caller.actor_type) == ("proj_default", "user")
    assert (begun.session.address, begun.session.user_agent) == ("192.0.2.1", "Browser/1")
    assert await door.audited() == ["session.created"]


async def test_a_session_of_another_organisation_is_in_its_project(door: Door):
    await door.add_organisation("org_b")
    who = await door.add_user(organisation_id="org_b")
    begun = await begin(door, who, organisation_id="org_b")
    assert (await door.ring().verify(begun.secret.encode())).project_id == "proj_of_org_b"


async def test_signing_in_again_ends_the_session_that_the_browser_had(door: Door):
    who = await door.add_user()
    first = await begin(door, who)
    second = await begin(door, who, replaces=first.secret.encode())
    ring = door.ring()
    with pytest.raises(UnauthenticatedError, match="ended"):
        await ring.verify(first.secret.encode())
    assert (await ring.verify(second.secret.encode())).key_id == second.session.id


async def test_a_policy_may_shorten_a_session_and_not_lengthen_it(door: Door):
    who = await door.add_user()
    short, long = await begin(door, who, max_seconds=60), await begin(door, who, max_seconds=10**9)
    assert short.session.expires_at_ms - short.session.created_at_ms == 60_000
    assert long.session.expires_at_ms - long.session.created_at_ms == LIFETIMES.max_seconds * 1000


# Ends


async def test_an_idle_session_ends_and_a_used_one_does_not(door: Door):
    who = await door.add_user()
    used, idle = await begin(door, who), await begin(door, who)
    ring = door.ring()
    await ring.reload()
    for _ in range(3):
        door.clock.now += LIFETIMES.idle_seconds - 1
        assert ring.find(used.secret.encode()) is not None
    assert ring.find(idle.secret.encode()) is None
    with pytest.raises(UnauthenticatedError):
        await ring.verify(idle.secret.encode())


async def test_a_session_ends_in_time_however_much_it_is_used(door: Door):
    begun = await begin(door, await door.add_user())
    ring = door.ring()
    await ring.reload()
    for _ in range(LIFETIMES.max_seconds // 1800 - 1):
        door.clock.now += 1800
        assert ring.find(begun.secret.encode()) is not None
    door.clock.now += 1800
    assert ring.find(begun.secret.encode()) is None
    with pytest.raises(UnauthenticatedError):
        await ring.verify(begun.secret.encode())


async def test_a_clock_that_goes_back_revives_no_ended_session(door: Door):
    begun = await begin(door, await door.add_user())
    await door.sessions.revoke(SYSTEM, ORGANISATION, begun.session.id)
    door.clock.now -= 10_000
    with pytest.raises(UnauthenticatedError):
        await door.ring().verify(begun.secret.encode())


async def test_a_revoked_session_is_refused_by_every_worker(door: Door):
    begun = await begin(door, await door.add_user())
    ring, other = door.ring(), door.ring()
    feeds = [ChangeFeed(door.database, [one]) for one in (ring, other)]
    for feed in feeds:
        await feed.refresh()
    assert ring.find(begun.secret.encode()) is not None
    await door.sessions.revoke(SYSTEM, ORGANISATION, begun.session.id)
    for feed, one in zip(feeds, (ring, other), strict=True):
        await feed.refresh()
        assert one.find(begun.secret.encode()) is None
        with pytest.raises(UnauthenticatedError):
            await one.verify(begun.secret.encode())


async def test_revoking_twice_is_audited_once(door: Door):
    begun = await begin(door, await door.add_user())
    first = await door.sessions.revoke(SYSTEM, ORGANISATION, begun.session.id)
    door.clock.now += 5
    second = await door.sessions.revoke(SYSTEM, ORGANISATION, begun.session.id)
    assert first.revoked_at_ms == second.revoked_at_ms is not None
    assert await door.audited() == ["session.created", "session.revoked"]


async def test_all_sessions_of_someone_end_but_one(door: Door):
    ann, bob = await door.add_user("ann@example.com"), await door.add_user("bob@example.com")
    kept, lost, others = await begin(door, ann), await begin(door, ann), await begin(door, bob)
    assert await door.sessions.revoke_all(SYSTEM, ORGANISATION, ann, but=kept.session.id) == 1
    ring = door.ring()
    await ring.reload()
    found = [ring.find(one.secret.encode()) is not None for one in (kept, lost, others)]
    assert found == [True, False, True]
    for organisation_id, who in (("org_other", ann), (ORGANISATION, "user_none"), (ORGANISATION, "a\x00")):
        with pytest.raises(NotFoundError):
            await door.sessions.revoke_all(SYSTEM, organisation_id, who)


async def test_a_deleted_users_sessions_are_forgotten(door: Door):
    begun = await begin(door, await door.add_user())
    ring = door.ring()
    await ring.reload()
    async with door.database.transaction() as transaction:
        await transaction.execute("DELETE FROM principals WHERE id = :id", {"id": begun.session.principal_id})
    await ring.apply({ChangeKind.SESSION: frozenset({begun.session.id})})
    assert ring.find(begun.secret.encode()) is None
    assert len(ring) == 0


# Workers


async def test_a_session_is_good_at_once_at_a_worker_that_has_not_heard_of_it(door: Door):
    ring = door.ring()
    await ring.reload()
    begun = await begin(door, await door.add_user())
    assert ring.find(begun.secret.encode()) is None
    assert (await ring.verify(begun.secret.encode())).key_id == begun.session.id
    assert ring.find(begun.secret.encode()) is not None


async def test_use_at_one_worker_keeps_a_session_open_at_another_and_after_a_restart(door: Door):
    who = await door.add_user()
    begun = await begin(door, who)
    ring, other = door.ring(), door.ring()
    await ring.reload()
    await other.reload()
    door.clock.now += LIFETIMES.idle_seconds - 1
    assert ring.find(begun.secret.encode()) is not None
    await ring.write_down()
    door.clock.now += 10
    assert other.find(begun.secret.encode()) is None
    assert (await other.verify(begun.secret.encode())).key_id == begun.session.id
    (row,) = await door.database.fetch("SELECT last_active_at_ms FROM users WHERE principal_id = :id", {"id": who})
    assert row[0] == (door.clock.now - 10) * 1000


async def test_what_has_run_out_is_forgotten_so_that_memory_is_bounded(door: Door):
    who = await door.add_user()
    for _ in range(5):
        await begin(door, who)
    ring = door.ring()
    await ring.reload()
    assert len(ring) == 5
    door.clock.now += LIFETIMES.idle_seconds
    await ring.write_down()
    assert len(ring) == 0


async def test_thousands_of_sessions_may_change_at_once(door: Door):
    who = await door.add_user()
    begun = [await begin(door, who) for _ in range(3)]
    ring = door.ring()
    ids = {one.session.id for one in begun} | {f"sess_{number}" for number in range(1000)}
    await ring.apply({ChangeKind.SESSION: frozenset(ids)})
    assert len(ring) == 3


# Lists


async def test_lists_show_open_sessions_page_by_page_and_only_the_organisations_own(door: Door):
    await door.add_organisation("org_b")
    ann, bob = await door.add_user("ann@example.com"), await door.add_user("bob@example.com")
    foreign = await door.add_user("eve@example.com", organisation_id="org_b")
    ended = await begin(door, ann)
    shown = [(await begin(door, who)).session.id for who in (ann, bob, ann)]
    await begin(door, foreign, organisation_id="org_b")
    await door.sessions.revoke(SYSTEM, ORGANISATION, ended.session.id)
    page = await door.sessions.list(ORGANISATION, PageRequest(limit=2))
    assert ([one.id for one in page.items], page.has_more) == (sorted(shown)[:2], True)
    rest = await door.sessions.list(ORGANISATION, PageRequest(limit=2, after=page.items[-1].id))
    assert [one.id for one in rest.items] == sorted(shown)[2:]
    assert len((await door.sessions.list(ORGANISATION, PageRequest(), is_open=False)).items) == 4
    of_bob = await door.sessions.list(ORGANISATION, PageRequest(), principal_id=bob)
    assert [one.principal_id for one in of_bob.items] == [bob]
    door.clock.now += LIFETIMES.idle_seconds
    assert (await door.sessions.list(ORGANISATION, PageRequest())).items == []


@pytest.mark.parametrize("id_", ["", "sess_none", "a\x00b", "x" * 5000, "' OR 1=1"])
async def test_a_session_that_is_not_there_is_404(door: Door, id_: str):
    with pytest.raises(NotFoundError):
        await door.sessions.revoke(SYSTEM, ORGANISATION, id_)


async def test_another_organisations_and_another_persons_session_is_404(door: Door):
    begun = await begin(door, await door.add_user())
    with pytest.raises(NotFoundError):
        await door.sessions.revoke(SYSTEM, "org_b", begun.session.id)
    with pytest.raises(NotFoundError):
        await door.sessions.revoke(SYSTEM, ORGANISATION, begun.session.id, principal_id="user_bob")
    assert (await door.sessions.get(ORGANISATION, begun.session.id)).revoked_at_ms is None
