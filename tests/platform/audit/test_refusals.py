"""Denials and failures: written, but not as often as someone likes."""

import json

import pytest
from tests.platform.audit.conftest import ORGANISATION, Log, TurnedClock

from mainstay.kit.database import Database, DatabaseError, open_database
from mainstay.platform.audit.events import Act, Actor, ActorType, Event, Origin, Outcome
from mainstay.platform.audit.refusals import ALL_PER_WINDOW, EACH_PER_WINDOW, WAITING_MAX, Refusals
from mainstay.platform.audit.stored import verify_stored

DENIED = Event(action="access.denied", outcome=Outcome.DENIED, details={"action": "users:write"})


def someone(name: str = "mallory", address: str = "192.0.2.1") -> Act:
    return Act(actor=Actor(type=ActorType.USER, id=name), origin=Origin(address=address))


async def _said(database: Database) -> list[dict[str, object]]:
    rows = await database.fetch("SELECT body FROM audit_events WHERE action = 'access.denied' ORDER BY sequence")
    return [json.loads(row[0]) for row in rows]


@pytest.fixture
def refusals(log: Log) -> Refusals:
    return Refusals(log.database, log.ledger, log.clock)


async def test_refusal_is_in_the_chain_soon(refusals: Refusals, log: Log) -> None:
    refusals.note(someone(), ORGANISATION, DENIED)
    await refusals.write()
    (said,) = await _said(log.database)
    assert (said["outcome"], said["actor"]) == ("denied", {"type": "user", "id": "mallory"})
    assert (await verify_stored(log.database, ORGANISATION, log.public_keys)).is_intact


async def test_one_who_repeats_himself_is_written_a_few_times_and_then_counted(
    refusals: Refusals, log: Log, clock: TurnedClock
) -> None:
    for _ in range(1000):
        refusals.note(someone(), ORGANISATION, DENIED)
    await refusals.write()
    assert len(await _said(log.database)) == EACH_PER_WINDOW
    clock.now += 60
    await refusals.write()
    said = await _said(log.database)
    assert said[-1]["details"] == {"unlisted": 1000 - EACH_PER_WINDOW, "within_seconds": 60.0}
    refusals.note(someone(), ORGANISATION, DENIED)
    await refusals.write()
    assert len(await _said(log.database)) == EACH_PER_WINDOW + 2


async def test_many_who_come_from_everywhere_cannot_fill_the_log(refusals: Refusals, log: Log) -> None:
    for number in range(20_000):
        refusals.note(someone(f"bot{number}", f"2001:db8::{number:x}"), ORGANISATION, DENIED)
    await refusals.drain(30)
    said = await _said(log.database)
    assert len(said) == ALL_PER_WINDOW + 1
    assert said[-1]["details"] == {"unlisted": 20_000 - ALL_PER_WINDOW, "within_seconds": 60.0}


async def test_refusals_wait_in_bounded_memory_for_a_database_that_is_away(log: Log, clock: TurnedClock) -> None:
    away = open_database("postgresql://nobody@/none?host=/tmp/ms-no-such-folder")
    refusals = Refusals(away, log.ledger, clock)
    for number in range(2 * WAITING_MAX):
        refusals.note(someone(f"user_{number}"), f"org_{number % 50}", DENIED)
    assert len(refusals._waiting) == WAITING_MAX
    with pytest.raises(DatabaseError):
        await refusals.write()
    assert len(refusals._waiting) == WAITING_MAX
    await refusals.drain(5)
    await away.aclose()
