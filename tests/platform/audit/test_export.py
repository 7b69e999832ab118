"""Exports: complete, verified offline, and never intact after any change."""

import json
import random

import pytest
from tests.platform.audit.conftest import ORGANISATION, Log, act, event
from tests.platform.audit.tampering import flipped

from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.audit.export import Export
from mainstay.platform.audit.exported import Verified, verify_export
from mainstay.platform.audit.reading import EVERYTHING, EventFilter
from mainstay.platform.audit.signing import Signer
from mainstay.platform.audit.stored import verify_stored


async def _export(log: Log, wanted: EventFilter = EVERYTHING, *, after: int = 0) -> list[bytes]:
    export = Export(log.database, log.clock, log.signer)
    pieces = [piece async for piece in export.lines(ORGANISATION, wanted, after=after)]
    return b"".join(pieces).splitlines(keepends=True)


def _verify(log: Log, lines: list[bytes]) -> Verified:
    return verify_export(lines, [log.signer.public_key])


async def test_export_has_every_event_and_checkpoint_and_is_intact(log: Log) -> None:
    lines = await _export(log)
    kinds = [json.loads(line)["type"] for line in lines]
    assert [kinds.index("checkpoint"), kinds.count("event"), kinds[0], kinds[-1]] == [21, 60, "header", "end"]
    verified = _verify(log, lines)
    assert verified.report.is_intact, verified.report.faults
    assert (verified.report.events, verified.report.checkpoints, verified.report.signed_through) == (60, 3, 50)
    assert not verified.trusts_itself


async def test_stored_log_is_held_against_an_older_export(log: Log) -> None:
    anchors = _verify(log, await _export(log)).anchors
    await log.append(5)
    assert (await verify_stored(log.database, ORGANISATION, log.public_keys, anchors=anchors)).is_intact
    assert sorted(anchors) == [20, 40, 50, 60]


async def test_1000_flipped_bits_are_all_found(log: Log) -> None:
    text = b"".join(await _export(log))
    for seed in range(1000):
        changed = flipped(text, random.Random(seed))
        try:
            verified = _verify(log, changed.splitlines(keepends=True))
        except InvalidRequestError:
            continue  # the header is none any more
        assert not verified.report.is_intact, f"seed {seed}"


async def test_lines_that_are_left_out_doubled_or_swapped_are_found(log: Log) -> None:
    lines = await _export(log)
    for seed in range(300):
        dice = random.Random(seed)
        one, other = sorted(dice.sample(range(1, len(lines)), 2))
        changed = dice.choice(
            (
                lines[:one] + lines[one + 1 :],
                lines[:one] + lines[other:],
                lines[:other] + lines[one:],
                [*lines[:one], lines[other], *lines[one + 1 : other], lines[one], *lines[other + 1 :]],
                lines[:one],
            )
        )
        assert not _verify(log, changed).report.is_intact, f"seed {seed}"


async def test_export_that_is_cut_off_anywhere_is_found(log: Log) -> None:
    text = b"".join(await _export(log))
    for length in range(len(text) - 2, 300, -97):
        assert not _verify(log, text[:length].splitlines(keepends=True)).report.is_intact


async def test_export_of_a_forger_is_not_trusted(log: Log) -> None:
    forged = [
        piece async for piece in Export(log.database, log.clock, Signer(b"f" * 32)).lines(ORGANISATION, EVERYTHING)
    ]
    lines = b"".join(forged).splitlines(keepends=True)
    assert not _verify(log, lines).report.is_intact
    assert verify_export(lines).trusts_itself


async def test_export_from_a_later_event_is_intact(log: Log) -> None:
    lines = await _export(log, after=33)
    verified = _verify(log, lines)
    assert verified.report.is_intact, verified.report.faults
    assert (verified.report.after_sequence, verified.report.events) == (33, 27)
    assert not _verify(log, lines[:1] + lines[2:]).report.is_intact


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (EventFilter(action="user.created"), 16),
        (EventFilter(action="user"), 16),
        (EventFilter(action="sign_in"), 14),
        (EventFilter(action="us_r"), 0),
        (EventFilter(action="%"), 0),
        (EventFilter(actor="user_0", action="policy.set"), 8),
        (EventFilter(target="user_4"), 4),
        (EventFilter(since_ms=1_800_000_003_000, until_ms=1_800_000_006_000), 13),
        (EventFilter(actor="nobody"), 0),
    ],
    ids=str,
)
async def test_filtered_export_has_what_fits_and_is_as_the_server_made_it(
    log: Log, wanted: EventFilter, count: int
) -> None:
    lines = await _export(log, wanted)
    verified = _verify(log, lines)
    assert verified.report.is_intact, verified.report.faults
    assert verified.report.events == count
    assert verified.header.filters == wanted.described()
    for position in range(1, len(lines)):
        assert not _verify(log, lines[:position] + lines[position + 1 :]).report.is_intact


async def test_changed_log_is_exported_as_it_is_and_found_broken(log: Log) -> None:
    async with log.database.transaction() as transaction:
        await transaction.execute("UPDATE audit_events SET body = 'no\njson' WHERE sequence = 4")
        await transaction.execute("UPDATE audit_events SET body = '{\"x\": 1}' WHERE sequence = 5")
    report = _verify(log, await _export(log)).report
    assert not report.is_intact
    assert any("4 to 5 is missing" in fault.message for fault in report.faults), report.faults


async def test_export_ends_at_the_event_that_was_the_last_when_it_began(log: Log) -> None:
    lines = Export(log.database, log.clock, log.signer).lines(ORGANISATION)
    pieces = [await anext(lines)]
    await log.append(7)
    pieces += [piece async for piece in lines]
    verified = _verify(log, b"".join(pieces).splitlines(keepends=True))
    assert verified.report.is_intact
    assert verified.report.last_sequence == 60


async def test_big_events_and_many_batches_survive(log: Log) -> None:
    async with log.database.transaction() as transaction:
        big = [event(number) for number in range(1200)]
        await log.ledger.append(transaction, act(1), ORGANISATION, big)
    await log.sign()
    report = _verify(log, await _export(log)).report
    assert report.is_intact
    assert (report.events, report.signed_through) == (1260, 1260)


@pytest.mark.parametrize("text", [b"", b"{}", b"PK\x03\x04", b'{"type":"end"}', b"[" * 100_000])
def test_what_is_no_export_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="no export"):
        verify_export([text])


async def test_what_is_wrong_with_the_end_is_told_of_the_end(log: Log) -> None:
    exported = await _export(log)
    lines = [*exported[:-1], exported[-1].replace(b'"events":', b'"events":1')]
    assert any(fault.message.startswith("The export's end: ") for fault in _verify(log, lines).report.faults)
