"""Appending: one chain under many writers, with the act or not at all."""

import asyncio

import pytest
from tests.platform.audit.conftest import ORGANISATION, Log, act, event

from mainstay.kit.database import open_database
from mainstay.platform.audit.events import SYSTEM, Event
from mainstay.platform.audit.stored import verify_stored


async def test_many_writers_at_once_make_one_chain_without_gaps(log: Log, database_url: str) -> None:
    databases = [open_database(database_url) for _ in range(4)]

    async def write(number: int) -> None:
        async with databases[number % 4].transaction() as transaction:
            await log.ledger.append(transaction, act(number), ORGANISATION, [event(number), event(number + 1)])

    await asyncio.gather(*(write(number) for number in range(40)))
    for database in databases:
        await database.aclose()
    report = await verify_stored(log.database, ORGANISATION, log.public_keys)
    assert report.is_intact, report.faults
    assert report.events == 140


async def test_act_that_fails_leaves_no_event_and_no_gap(log: Log) -> None:
    async def fail() -> None:
        async with log.database.transaction() as transaction:
            await log.ledger.append(transaction, act(1), ORGANISATION, [event(1)])
            raise RuntimeError("the act fails")

    with pytest.raises(RuntimeError, match="fails"):
        await fail()
    await log.append(1)
    report = await verify_stored(log.database, ORGANISATION, log.public_keys)
    assert report.is_intact
    assert report.events == 61


async def test_act_whose_event_cannot_be_written_is_rolled_back(log: Log) -> None:
    unwritable = Event(action="organisation.updated", details={"what": object()})

    async def fail() -> None:
        async with log.database.transaction() as transaction:
            await transaction.execute("UPDATE organisations SET name = 'taken over'")
            await log.ledger.append(transaction, SYSTEM, ORGANISATION, [unwritable])

    with pytest.raises(TypeError):
        await fail()
    assert await log.database.fetch("SELECT name FROM organisations WHERE name = 'taken over'") == []


async def test_chains_of_organisations_are_apart(log: Log) -> None:
    await log.append(9, organisation_id="org_b")
    report = await verify_stored(log.database, "org_b", log.public_keys)
    assert report.is_intact
    assert (report.events, report.last_sequence) == (9, 9)


async def test_no_events_write_nothing(log: Log) -> None:
    async with log.database.transaction() as transaction:
        await log.ledger.append(transaction, SYSTEM, "org_none", [])
    assert await log.database.fetch("SELECT * FROM audit_heads WHERE organisation_id = 'org_none'") == []
