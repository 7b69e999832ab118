"""Signing in the background: when, what, and what is not signed any more."""

import asyncio
import logging

import pytest
from tests.platform.audit.conftest import ORGANISATION, Log

from mainstay.kit.database import Database
from mainstay.kit.errors import ConfigurationError
from mainstay.platform.audit.checkpoints import SIGN_EVENTS, SIGN_SECONDS
from mainstay.platform.audit.stored import verify_stored


async def _signed_through(log: Log) -> list[int]:
    rows = await log.database.fetch("SELECT through_sequence FROM audit_checkpoints ORDER BY through_sequence")
    return [int(row[0]) for row in rows]


async def test_events_are_signed_after_a_minute(log: Log) -> None:
    assert await log.checkpoints.sign_due() == 0
    log.clock.now += SIGN_SECONDS - 1
    assert await log.checkpoints.sign_due() == 0
    log.clock.now += 1
    assert await log.checkpoints.sign_due() == 1
    assert await _signed_through(log) == [20, 40, 50, 60]
    log.clock.now += 10 * SIGN_SECONDS
    assert await log.checkpoints.sign_due() == 0


async def test_thousand_events_are_signed_at_once(log: Log) -> None:
    await log.append(SIGN_EVENTS)
    assert await log.checkpoints.sign_due() == 1


async def test_each_organisation_is_signed_for_itself(log: Log) -> None:
    await log.append(5, organisation_id="org_b")
    await log.sign()
    for organisation_id in (ORGANISATION, "org_b"):
        assert (await verify_stored(log.database, organisation_id, log.public_keys)).is_intact


async def test_several_that_sign_at_once_leave_a_log_that_is_intact(log: Log) -> None:
    async def work() -> None:
        others = log.new_checkpoints()
        for _ in range(5):
            await log.append(3)
            await others.sign_due(everything=True)

    await asyncio.gather(*(work() for _ in range(4)))
    report = await verify_stored(log.database, ORGANISATION, log.public_keys)
    assert report.is_intact, report.faults
    assert report.events == 120


@pytest.mark.parametrize(
    "forgery",
    [
        "UPDATE audit_events SET body = '{}' WHERE sequence = 55",
        "DELETE FROM audit_events WHERE sequence = 55",
        "UPDATE audit_heads SET sequence = 40, hash = (SELECT hash FROM audit_events WHERE sequence = 40)",
    ],
)
async def test_broken_log_is_told_of_once_and_not_signed(
    log: Log, caplog: pytest.LogCaptureFixture, forgery: str
) -> None:
    async with log.database.transaction() as transaction:
        await transaction.execute(forgery)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert await log.checkpoints.sign_due(everything=True) == 0
    assert len(caplog.records) == 1
    assert "mainstay audit verify" in caplog.text


async def test_what_this_server_has_signed_is_known_after_a_restart(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    async with log.database.transaction() as transaction:
        await transaction.execute("DELETE FROM audit_events")
        await transaction.execute("DELETE FROM audit_checkpoints")
        await transaction.execute("DELETE FROM audit_heads")
    await log.append(70)
    with caplog.at_level(logging.ERROR):
        assert await log.new_checkpoints().sign_due(everything=True) == 0
    assert "If an older backup was restored, remove" in caplog.text
    anchors = log.signed_here.anchors(ORGANISATION)
    report = await verify_stored(log.database, ORGANISATION, log.public_keys, anchors=anchors)
    assert "written anew" in report.faults[0].message
    log.signed_here.path.unlink()
    assert await log.new_checkpoints().sign_due(everything=True) == 1


@pytest.mark.parametrize("content", [b"", b"[]", b'{"org": {"sequence": "x", "hash": ""}}', b"\xff", b'{"o":'])
async def test_damaged_record_of_what_was_signed_is_named(log: Log, content: bytes) -> None:
    log.signed_here.path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"signed\.json"):
        await log.new_checkpoints().sign_due()


async def test_nothing_is_signed_where_nothing_was_done(database: Database, log: Log) -> None:
    async with database.transaction() as transaction:
        for table in ("audit_events", "audit_heads", "audit_checkpoints"):
            await transaction.execute(f"DELETE FROM {table}")
    log.signed_here.path.unlink()
    assert await log.new_checkpoints().sign_due(everything=True) == 0
