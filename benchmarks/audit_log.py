"""Claim: a long audit log is verified in little time, from the database and from an export.

One process, no server: a log as acts write it, with a checkpoint every thousand events.
"""

import asyncio
import tempfile
import time
from pathlib import Path

from benchmarks.tables import Claim, Spread, Table
from mainstay import __version__
from mainstay.kit.clock import SystemClock
from mainstay.kit.database import Database, open_database
from mainstay.migrations import ensure_current
from mainstay.platform.audit.checkpoints import Checkpoints
from mainstay.platform.audit.events import Act, Actor, ActorType, Event, Origin, Target
from mainstay.platform.audit.export import Export
from mainstay.platform.audit.exported import verify_export
from mainstay.platform.audit.ledger import Ledger
from mainstay.platform.audit.signed_here import SignedHere
from mainstay.platform.audit.signing import PublicKeys, Signer
from mainstay.platform.audit.stored import verify_stored
from mainstay.testing.postgres import running_postgres

EVENTS, QUICK_EVENTS = 100_000, 10_000
ROUNDS = 5
PER_SECOND = 50_000.0
ORGANISATION = "org_default"
STORED, EXPORTED = "verify in the database, events/s", "verify an export, events/s"
_SIGN_EVERY = 1000

Measured = dict[str, Spread]


def run(*, is_quick: bool) -> tuple[list[Table], list[Claim], list[str]]:
    """Measure on SQLite and on PostgreSQL."""
    events, rounds = (QUICK_EVENTS, 2) if is_quick else (EVENTS, ROUNDS)
    with tempfile.TemporaryDirectory() as folder, running_postgres() as server:
        urls = {"SQLite": f"sqlite:///{Path(folder) / 'mainstay.db'}", "PostgreSQL": server.url()}
        found = {name: asyncio.run(_measure(url, Path(folder) / name, events, rounds)) for name, url in urls.items()}
    table = Table(f"An audit log of {events:,} events, one process", ["median (least to greatest)", *found])
    for row in next(iter(found.values())):
        table.add(row, *(str(measured[row]) for measured in found.values()))
    claims = [
        Claim(f"{name}: {row[:-10]}", PER_SECOND, measured[row].median, "events/s", is_minimum=True)
        for name, measured in found.items()
        for row in (STORED, EXPORTED)
    ]
    return [table], claims, [f"Mainstay {__version__}"]


async def _measure(url: str, folder: Path, events: int, rounds: int) -> Measured:
    database, clock = open_database(url), SystemClock()
    try:
        await ensure_current(database)
        signer = Signer(b"s" * 32)
        checkpoints = Checkpoints(database, signer, clock, SignedHere(folder / "signed.json"))
        append = await _append(database, checkpoints, events)
        one_act = [await _timed_act(database, number) for number in range(200)]
        await checkpoints.sign_due(everything=True)
        measured: dict[str, list[float]] = {"export, events/s": [], STORED: [], EXPORTED: []}
        for _ in range(rounds):
            for name, seconds in (await _round(database, signer, folder)).items():
                measured[name].append((events + 200) / seconds)
    finally:
        await database.aclose()
    first = {
        "append in batches of 100, events/s": Spread.of(append),
        "append one event in a transaction of its own, ms": Spread.of(one_act),
    }
    return first | {name: Spread.of(values) for name, values in measured.items()}


async def _append(database: Database, checkpoints: Checkpoints, events: int) -> list[float]:
    ledger, rates = Ledger(SystemClock()), []
    for first in range(0, events, _SIGN_EVERY):
        began = time.perf_counter()
        for start in range(first, first + _SIGN_EVERY, 100):
            async with database.transaction() as transaction:
                batch = [_event(number) for number in range(start, start + 100)]
                await ledger.append(transaction, _act(start), ORGANISATION, batch)
        rates.append(_SIGN_EVERY / (time.perf_counter() - began))
        await checkpoints.sign_due(everything=True)
    return rates


async def _timed_act(database: Database, number: int) -> float:
    began = time.perf_counter()
    async with database.transaction() as transaction:
        await Ledger(SystemClock()).append(transaction, _act(number), ORGANISATION, [_event(number)])
    return (time.perf_counter() - began) * 1000


async def _round(database: Database, signer: Signer, folder: Path) -> dict[str, float]:
    """Return the seconds of each; one log that is not intact fails the run."""
    took = {}
    began = time.perf_counter()
    report = await verify_stored(database, ORGANISATION, PublicKeys([signer.public_key]))
    took[STORED] = time.perf_counter() - began
    path = folder / "export.jsonl"
    began = time.perf_counter()
    with path.open("wb") as file:
        async for piece in Export(database, SystemClock(), signer).lines(ORGANISATION):
            file.write(piece)
    took["export, events/s"] = time.perf_counter() - began
    began = time.perf_counter()
    with path.open("rb") as file:
        exported = verify_export(file, [signer.public_key]).report
    took[EXPORTED] = time.perf_counter() - began
    if not (report.is_intact and exported.is_intact):
        raise RuntimeError("the log is not intact: the measurement says nothing")
    return took


def _act(number: int) -> Act:
    origin = Origin(address="192.0.2.7", user_agent="Mozilla/5.0 (X11; Linux x86_64)", request_id=f"req_{number:032x}")
    return Act(actor=Actor(type=ActorType.USER, id=f"user_{number % 500:032x}"), origin=origin)


def _event(number: int) -> Event:
    target = Target(type="user", id=f"user_{number:032x}", name="Someone with a name")
    return Event(action="user.updated", target=target, changed={"name": ["Someone", "Someone with a name"]})
