"""Verification of the stored log: whatever is changed is found, and what is right is not doubted."""

import asyncio
import random

import pytest
from tests.platform.audit.conftest import ORGANISATION, Log
from tests.platform.audit.tampering import TAMPERINGS

from mainstay.kit.database import Database
from mainstay.kit.errors import NotFoundError
from mainstay.platform.audit.signing import PublicKeys, Signer
from mainstay.platform.audit.stored import organisations_with_events, verify_stored
from mainstay.platform.audit.verify import FAULTS_SHOWN, Report

TABLES = ("audit_events", "audit_heads", "audit_checkpoints")


async def _verify(log: Log, **options: object) -> Report:
    return await verify_stored(log.database, ORGANISATION, log.public_keys, **options)


async def _is_intact(log: Log) -> bool:
    """Whether the logs of all organisations are."""
    for organisation_id in await organisations_with_events(log.database):
        anchors = log.signed_here.anchors(organisation_id)
        report = await verify_stored(log.database, organisation_id, log.public_keys, anchors=anchors)
        if not report.is_intact:
            return False
    return True


async def _restore(log: Log, kept: dict[str, list[tuple[object, ...]]]) -> None:
    async with log.database.transaction() as transaction:
        for table, rows in kept.items():
            await transaction.execute(f"DELETE FROM {table}")
            places = ", ".join(f":c{chr(97 + number)}" for number in range(len(rows[0])))
            await transaction.execute_many(f"INSERT INTO {table} VALUES ({places})", rows)


async def test_untouched_log_is_intact(log: Log) -> None:
    report = await _verify(log)
    assert report.is_intact, report.faults
    assert (report.events, report.last_sequence, report.checkpoints, report.signed_through) == (60, 60, 3, 50)


async def test_500_random_tamperings_are_all_found(log: Log) -> None:
    kept = {table: await log.rows(table) for table in TABLES}
    for seed in range(500):
        dice = random.Random(seed)
        async with log.database.transaction() as transaction:
            what = await dice.choice(TAMPERINGS)(transaction, dice)
        assert not await _is_intact(log), f"seed {seed}: nobody saw that {what}"
        await _restore(log, kept)
    assert await _is_intact(log)


async def test_fault_is_told_of_where_it_is_and_not_for_all_that_follows(log: Log) -> None:
    async with log.database.transaction() as transaction:
        await transaction.execute("UPDATE audit_events SET body = '{}' WHERE sequence = 17")
    report = await _verify(log)
    assert {fault.sequence for fault in report.faults} == {17}
    assert "the event was changed" in report.faults[0].message


async def test_missing_events_are_named(log: Log) -> None:
    async with log.database.transaction() as transaction:
        await transaction.execute("DELETE FROM audit_events WHERE sequence BETWEEN 5 AND 7")
    report = await _verify(log)
    assert report.faults[0].message == "Event 8: before it, 5 to 7 is missing."


async def test_all_that_is_broken_at_once_is_counted_and_only_the_first_faults_are_kept(log: Log) -> None:
    async with log.database.transaction() as transaction:
        await transaction.execute("UPDATE audit_events SET body = '{}'")
    report = await _verify(log)
    assert report.fault_count > FAULTS_SHOWN
    assert len(report.faults) == FAULTS_SHOWN


@pytest.mark.parametrize("dialect", ["sqlite"])  # PostgreSQL keeps no broken text
async def test_text_that_is_no_text_is_a_fault_and_no_failure(log: Log) -> None:
    async with log.database.transaction() as transaction:
        await transaction.execute("UPDATE audit_events SET body = CAST(x'ff' AS TEXT) WHERE sequence = 3")
        await transaction.execute("UPDATE audit_events SET hash = 'text', actor_id = x'fffe' WHERE sequence = 9")
    assert {fault.sequence for fault in (await _verify(log)).faults} >= {3, 9}


async def test_another_servers_signatures_do_not_count(log: Log) -> None:
    report = await verify_stored(log.database, ORGANISATION, PublicKeys([Signer(b"o" * 32).public_key]))
    assert not report.is_intact
    assert "not a key that is trusted" in report.faults[0].message


async def test_end_that_was_cut_off_with_its_checkpoints_is_found_by_what_was_kept_elsewhere(log: Log) -> None:
    whole = await _verify(log)
    anchors = {whole.last_sequence: (bytes.fromhex(whole.last_hash), "october.jsonl")}
    assert (await _verify(log, anchors=anchors)).is_intact
    async with log.database.transaction() as transaction:
        await transaction.execute("DELETE FROM audit_events WHERE sequence > 30")
        await transaction.execute("DELETE FROM audit_checkpoints WHERE through_sequence > 30")
        await transaction.execute(
            "UPDATE audit_heads SET sequence = 30, hash = (SELECT hash FROM audit_events WHERE sequence = 30)"
        )
    assert (await _verify(log)).is_intact  # the database alone does not know
    report = await _verify(log, anchors=anchors)
    assert [fault.message for fault in report.faults] == ["Event 60: it is in october.jsonl, but not in the log."]


async def test_log_can_be_verified_in_parts(log: Log) -> None:
    first = await _verify(log, events_max=33)
    assert first.is_intact
    assert (first.last_sequence, first.signed_through) == (33, 20)
    second = await _verify(log, after=33)
    assert second.is_intact
    assert (second.events, second.last_sequence, second.signed_through) == (27, 60, 50)
    with pytest.raises(NotFoundError, match="no event 61"):
        await _verify(log, after=61)


async def test_log_that_grows_meanwhile_is_intact(log: Log) -> None:
    async def grow() -> None:
        for _ in range(15):
            await log.append(7)
            await log.sign()

    growing = asyncio.create_task(grow())
    while not growing.done():
        report = await _verify(log)
        assert report.is_intact, report.faults
    await growing


async def test_organisation_without_a_log_has_none_to_verify(database: Database) -> None:
    assert await organisations_with_events(database) == []
    report = await verify_stored(database, ORGANISATION, PublicKeys([]))
    assert [fault.message for fault in report.faults] == ["Event 0: the log has no head: it was taken away."]


async def test_every_organisation_of_which_anything_is_left_is_listed(log: Log) -> None:
    await log.append(3, organisation_id="org_b")
    async with log.database.transaction() as transaction:
        await transaction.execute("DELETE FROM audit_heads WHERE organisation_id = 'org_b'")
    assert await organisations_with_events(log.database) == ["org_b", ORGANISATION]
