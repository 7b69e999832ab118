"""The keyring: hostile secrets, revocation, expiry, a database that goes away."""

import asyncio
import logging
import random
import subprocess
import sys

import pytest

from mainstay.kit.database import Database, DatabaseError, open_database
from mainstay.kit.errors import UnauthenticatedError
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.key_wishes import NewKey
from mainstay.platform.identity.keyring import Keyring
from mainstay.platform.identity.keys import Keys
from mainstay.platform.identity.organisations import DEFAULT_ORGANISATION_ID
from mainstay.testing.clock import START as NOW
from mainstay.testing.clock import StandingClock

PEPPER = b"p" * 32


@pytest.fixture
def keys(database: Database, acts: Acts, clock: StandingClock) -> Keys:
    return Keys(database, PEPPER, acts, clock)


@pytest.fixture
async def keyring(database: Database, clock: StandingClock) -> Keyring:
    return Keyring(database, PEPPER, clock, poll_seconds=0.01)


async def _until_found(keyring: Keyring, secret: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                keyring.find(secret.encode())
                return
            except UnauthenticatedError:
                await asyncio.sleep(0.01)


async def test_key_is_found_with_all_that_it_may_do(keyring: Keyring, keys: Keys) -> None:
    wanted = NewKey("x", scopes=["admin", "inference"], deployments=["gpt-4o"], requests_per_minute=3)
    key, secret = await keys.create(SYSTEM, wanted)
    await keyring.refresh()
    caller = keyring.find(secret.encode())
    assert (caller.key_id, caller.organisation_id, caller.project_id) == (key.id, "org_default", "proj_default")
    assert caller.scopes == {"admin", "inference"}
    assert caller.may_use("gpt-4o")
    assert not caller.may_use("gpt-4")
    assert (caller.requests_per_minute, caller.tokens_per_minute) == (3, None)


def _hostile_secrets() -> list[bytes]:
    """200 secrets made of what SQL, shells and parsers stumble over."""
    chosen = random.Random(20261122)
    pieces = ["'", '"', ";", "--", "/*", "*/", " OR 1=1", "\x00", "%", "\\", "$1", ":id", "UNION SELECT", "\n", "sk-"]
    made = ["sk-" + "".join(chosen.choices(pieces, k=chosen.randint(1, 30))) for _ in range(190)]
    made += ["", "sk-", "sk-" + "a" * 42, "sk-" + "a" * 44, "sk-" + "a" * 43 + "\n", "SK-" + "a" * 43, "sk-" + "é" * 43]
    made += ["sk-" + "a" * 42 + "'", "a" * 46, "sk-" + "a" * 10_000_000]
    return [secret.encode() for secret in made]


async def test_hostile_secrets_never_reach_the_database_or_the_hmac(
    keyring: Keyring, keys: Keys, database: Database
) -> None:
    await keys.create(SYSTEM, NewKey("x"))
    await keyring.refresh()
    await database.aclose()
    messages = set()
    for secret in _hostile_secrets():
        with pytest.raises(UnauthenticatedError) as caught:
            keyring.find(secret)
        messages.add(caught.value.message)
    assert len(messages) == 1


async def test_unknown_key_of_the_right_shape_is_refused_in_the_same_words(keyring: Keyring) -> None:
    with pytest.raises(UnauthenticatedError, match="Incorrect API key"):
        keyring.find(b"sk-" + b"a" * 43)


async def test_revoked_key_says_so_and_stays_revoked_when_the_clock_goes_back(
    keyring: Keyring, keys: Keys, clock: StandingClock
) -> None:
    key, secret = await keys.create(SYSTEM, NewKey("x"))
    await keyring.refresh()
    await keys.revoke(SYSTEM, DEFAULT_ORGANISATION_ID, key.id)
    await keyring.refresh()
    clock.now -= 86_400
    with pytest.raises(UnauthenticatedError, match="revoked"):
        keyring.find(secret.encode())


async def test_key_expires_at_its_time_without_any_refresh(keyring: Keyring, keys: Keys, clock: StandingClock) -> None:
    _, secret = await keys.create(SYSTEM, NewKey("x", expires_at_ms=int((NOW + 60) * 1000)))
    await keyring.refresh()
    clock.now = NOW + 59.9
    keyring.find(secret.encode())
    clock.now = NOW + 60
    with pytest.raises(UnauthenticatedError, match="expired"):
        keyring.find(secret.encode())


async def test_key_made_by_a_machine_whose_clock_is_ahead_works_at_once(
    keyring: Keyring, database: Database, acts: Acts
) -> None:
    ahead = StandingClock()
    ahead.now += 3600
    _, secret = await Keys(database, PEPPER, acts, ahead).create(SYSTEM, NewKey("x"))
    await keyring.refresh()
    keyring.find(secret.encode())


async def test_key_made_in_another_process_works_after_a_poll(keyring: Keyring, database_url: str) -> None:
    code = f"""
import asyncio
from mainstay.kit.clock import SystemClock
from mainstay.kit.database import open_database
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.audit.ledger import Ledger
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.key_wishes import NewKey
from mainstay.platform.identity.keys import Keys
async def make():
    database, clock = open_database({database_url!r}), SystemClock()
    keys = Keys(database, {PEPPER!r}, Acts(Ledger(clock), clock), clock)
    print((await keys.create(SYSTEM, NewKey("other")))[1])
    await database.aclose()
asyncio.run(make())
"""
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    task = asyncio.create_task(keyring.run())
    await _until_found(keyring, done.stdout.strip())
    task.cancel()


async def test_changes_while_refreshing_are_never_missed(keyring: Keyring, keys: Keys) -> None:
    async def refresh_often() -> None:
        for _ in range(60):
            await keyring.refresh()

    made, *_ = await asyncio.gather(
        asyncio.gather(*(keys.create(SYSTEM, NewKey(f"key {number}")) for number in range(40))), refresh_often()
    )
    await asyncio.gather(
        *(keys.revoke(SYSTEM, DEFAULT_ORGANISATION_ID, key.id) for key, _ in made[::2]), refresh_often()
    )
    await keyring.refresh()
    for _, secret in made[1::2]:
        keyring.find(secret.encode())
    for _, secret in made[::2]:
        with pytest.raises(UnauthenticatedError, match="revoked"):
            keyring.find(secret.encode())
    assert len(keyring) == 20


class Broken:
    """A database that can be switched off."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.is_off = False
        self.asked = asyncio.Semaphore(0)

    def __getattr__(self, name: str) -> object:
        return getattr(self._database, name)

    async def fetch(self, *args: object) -> object:
        self.asked.release()
        if self.is_off:
            raise DatabaseError("The database is off.")
        return await self._database.fetch(*args)  # type: ignore[arg-type]


async def test_known_keys_stay_good_while_the_database_is_away_and_one_line_says_so(
    database: Database, keys: Keys, clock: StandingClock, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Broken(database)
    keyring = Keyring(broken, PEPPER, clock, poll_seconds=0.001)  # type: ignore[arg-type]
    _, secret = await keys.create(SYSTEM, NewKey("before"))
    await keyring.refresh()
    broken.is_off = True
    task = asyncio.create_task(keyring.run())
    for _ in range(10):
        await broken.asked.acquire()
    keyring.find(secret.encode())
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1
    _, later = await keys.create(SYSTEM, NewKey("later"))
    broken.is_off = False
    await _until_found(keyring, later)
    task.cancel()


async def test_keyring_that_cannot_load_at_all_says_so(clock: StandingClock) -> None:
    database = open_database("postgresql://nobody@/none?host=/tmp/ms-no-such-folder")
    with pytest.raises(DatabaseError):
        await Keyring(database, PEPPER, clock).refresh()


async def test_keys_made_with_another_pepper_are_named_in_the_log(
    keys: Keys, database: Database, clock: StandingClock, caplog: pytest.LogCaptureFixture
) -> None:
    _, secret = await keys.create(SYSTEM, NewKey("x"))
    keyring = Keyring(database, b"q" * 32, clock)
    await keyring.refresh()
    assert "1 of 1 keys were made with another pepper" in caplog.text
    with pytest.raises(UnauthenticatedError):
        keyring.find(secret.encode())


async def test_database_restored_from_an_older_backup_is_read_again(
    keyring: Keyring, keys: Keys, database: Database
) -> None:
    _, kept = await keys.create(SYSTEM, NewKey("kept"))
    gone, secret = await keys.create(SYSTEM, NewKey("gone"))
    await keyring.refresh()
    async with database.transaction() as transaction:
        await transaction.execute("DELETE FROM api_keys WHERE id = :id", {"id": gone.id})
        await transaction.execute("UPDATE revisions SET value = 1 WHERE name = 'api_keys'")
    await keyring.refresh()
    keyring.find(kept.encode())
    with pytest.raises(UnauthenticatedError, match="Incorrect"):
        keyring.find(secret.encode())
