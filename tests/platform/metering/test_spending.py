"""The sums of spending are exactly those of the usage records: adopted twice, killed, sent twice, hostile."""

import asyncio
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from mainstay.kit.database import Database, DatabaseError, open_database
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.audit.ledger import Ledger
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.caller import Caller
from mainstay.platform.metering.allotments import Allotments
from mainstay.platform.metering.budget_counters import BudgetReachedError
from mainstay.platform.metering.budget_store import Budgets, Terms
from mainstay.platform.metering.journal import CallEnd, CallStart, Journal, Outcome
from mainstay.platform.metering.limiter import Limiter
from mainstay.platform.metering.periods import Period
from mainstay.platform.metering.prices import Price, no_price
from mainstay.platform.metering.recorder import Recorder
from mainstay.platform.metering.records import insert_usage, usage_record
from mainstay.platform.metering.recovery import Recovery
from mainstay.platform.metering.scope_refs import ScopeRef, ScopeType
from mainstay.platform.metering.spending import SUM_MAX
from mainstay.platform.metering.spending_watch import SpendingWatch
from mainstay.testing.clock import StandingClock

NOW = StandingClock().now
TODAY = int(NOW // 86_400)
KEY = Caller(key_id="key_1", organisation_id="org_default", project_id="proj_default", scopes=frozenset())


def start(call_id: str, **more: object) -> CallStart:
    values: dict[str, object] = {
        "call_id": call_id,
        "request_id": "req_1",
        "organisation_id": "org_default",
        "project_id": "proj_default",
        "key_id": "key_1",
        "operation": "chat.completions",
        "deployment": "gpt-4o",
        "provider": "vendor",
        "model": "m",
        "is_stream": False,
        "started_at": NOW,
    }
    return CallStart(**(values | more))  # type: ignore[arg-type]


def end(call_id: str, **more: object) -> CallEnd:
    values: dict[str, object] = {"call_id": call_id, "ended_at": NOW, "status": 200, "outcome": Outcome.OK}
    return CallEnd(**(values | more))  # type: ignore[arg-type]


async def sums(database: Database, **where: object) -> list[tuple[object, ...]]:
    rows = await database.fetch(
        "SELECT scope_type, scope_id, day, currency, calls, tokens, cost_nano FROM spending "
        "ORDER BY scope_type, scope_id, day, currency"
    )
    return [row for row in rows if all(row[0] == value for value in where.values())]


async def test_call_is_added_to_all_that_it_counts_for(database: Database) -> None:
    called = start("a", principal_id="user_1", group_ids=("group_1", "group_2"))
    ended = end("a", prompt_tokens=10, completion_tokens=5, cost_nano=70, currency="EUR")
    await insert_usage(database, [usage_record(called, ended, no_price)])
    used = (TODAY, "EUR", 1, 15, 70)
    assert await sums(database) == [
        ("group", "group_1", *used),
        ("group", "group_2", *used),
        ("key", "key_1", *used),
        ("organisation", "org_default", *used),
        ("project", "proj_default", *used),
        ("user", "user_1", *used),
    ]
    rows = await database.fetch("SELECT principal_id, cost_nano, currency FROM usage_records")
    assert rows == [("user_1", 70, "EUR")]


async def test_cost_that_was_not_written_down_is_reckoned_at_the_price_of_now(database: Database) -> None:
    ended = end("a", prompt_tokens=10)
    await insert_usage(database, [usage_record(start("a"), ended, {"gpt-4o": Price(1.0)}.get)])
    assert await sums(database, type="key") == [("key", "key_1", TODAY, "USD", 1, 10, 10_000)]


async def test_call_without_a_price_does_not_get_the_price_of_another_deployment_of_that_name(
    database: Database,
) -> None:
    ended = end("a", prompt_tokens=10, currency="")
    await insert_usage(database, [usage_record(start("a"), ended, {"gpt-4o": Price(1.0)}.get)])
    assert await sums(database, type="key") == [("key", "key_1", TODAY, "", 1, 10, 0)]
    assert await database.fetch("SELECT cost_nano, currency FROM usage_records") == [(None, None)]


async def test_sessions_and_tokens_are_no_scopes(database: Database) -> None:
    called = start("a", key_id="sess_1", principal_id="user_1", project_id="")
    await insert_usage(database, [usage_record(called, end("a"), no_price)])
    assert {row[0] for row in await sums(database)} == {"organisation", "user"}


async def test_days_and_currencies_are_kept_apart(database: Database) -> None:
    records = [
        usage_record(start("a"), end("a", prompt_tokens=1, cost_nano=5, currency="EUR"), no_price),
        usage_record(start("b"), end("b", prompt_tokens=2, cost_nano=5, currency="USD"), no_price),
        usage_record(start("c"), end("c", prompt_tokens=3), no_price),
        usage_record(start("d", started_at=NOW - 86_400), end("d", prompt_tokens=4), no_price),
        usage_record(start("e"), None, no_price),
    ]
    await insert_usage(database, records)
    assert await sums(database, type="key") == [
        ("key", "key_1", TODAY - 1, "", 1, 4, 0),
        ("key", "key_1", TODAY, "", 2, 3, 0),
        ("key", "key_1", TODAY, "EUR", 1, 1, 5),
        ("key", "key_1", TODAY, "USD", 1, 2, 5),
    ]


@pytest.mark.parametrize("size", [1, 20, 21, 1000, 1001])
async def test_calls_that_come_again_count_once(database: Database, size: int) -> None:
    records = [usage_record(start(f"{number}"), end(f"{number}", prompt_tokens=2), no_price) for number in range(size)]
    await insert_usage(database, records[: size // 2])
    for _ in range(2):
        spending = await insert_usage(database, records)
        assert {amount.tokens for amount in spending.values()} == {2 * size}
    assert await sums(database, type="key") == [("key", "key_1", TODAY, "", size, 2 * size, 0)]


async def test_recorders_at_once_add_up_every_call_once(database: Database, database_url: str) -> None:
    others = [open_database(database_url) for _ in range(4)]
    # Each pair overlaps, in another order of scopes: neither a lost sum nor a deadlock.
    batches = [
        [
            usage_record(
                start(f"{number}", key_id=f"key_{(number * (batch + 1)) % 7}"),
                end(f"{number}", prompt_tokens=1),
                no_price,
            )
            for number in range(batch * 50, batch * 50 + 100)
        ]
        for batch in range(8)
    ]
    await asyncio.gather(*(insert_usage(others[number % 4], batch) for number, batch in enumerate(batches)))
    assert await sums(database, type="organisation") == [("organisation", "org_default", TODAY, "", 450, 450, 0)]
    for each in others:
        await each.aclose()


async def test_absurd_amounts_hold_up_nobody(database: Database) -> None:
    absurd = end("0", prompt_tokens=2**63 - 1, completion_tokens=-5, cost_nano=2**63 - 1, currency="EUR")
    await insert_usage(database, [usage_record(start("0"), absurd, no_price)])
    async with database.transaction() as transaction:
        await transaction.execute("UPDATE spending SET tokens = :most, cost_nano = :most", {"most": SUM_MAX - 1})
    records = [
        usage_record(start(id_), end(id_, prompt_tokens=9, cost_nano=9, currency="EUR"), no_price) for id_ in "12"
    ]
    await insert_usage(database, records)
    assert await sums(database, type="key") == [("key", "key_1", TODAY, "EUR", 3, SUM_MAX, SUM_MAX)]


class Worker:
    """What a worker counts with, without its tasks: they are stepped by hand."""

    def __init__(self, database: Database, root: Path, clock: StandingClock) -> None:
        self.limiter = Limiter(clock)
        self.allotments = Allotments(database, self.limiter, clock, groups_of=lambda _: ())
        self.watch = SpendingWatch(
            database, self.allotments, self.limiter.budgets, acts=Acts(Ledger(clock), clock), clock=clock
        )
        self.journal = Journal(root)
        self.recorder = Recorder(self.journal, database, listener=self.allotments)
        self.number = 0

    async def begin(self) -> "Worker":
        await self.allotments.reload()
        await self.watch.refresh()
        return self

    def call(self, tokens: int, estimate: int | None = None) -> None:
        reservation = self.limiter.reserve(self.allotments.of(KEY).scopes, tokens=estimate or tokens)
        self.number += 1
        call_id = f"{self.journal.folder.path.name} {self.number}"
        self.journal.start(start(call_id))
        reservation.settle(tokens)
        self.journal.end(end(call_id, prompt_tokens=tokens))

    def used(self, budget_id: str) -> int:
        counter = self.limiter.budgets.get(budget_id)
        assert counter is not None
        return counter.used_tokens


@pytest.fixture
async def budget_id(town: Database, acts: Acts, clock: StandingClock) -> str:
    scope = ScopeRef(type=ScopeType.PROJECT, id="proj_default")
    made = await Budgets(town, acts, clock).create(
        SYSTEM, "org_default", scope, period=Period.DAY, terms=Terms(tokens=1000, warn_at_percent=80)
    )
    return made.id


async def test_workers_learn_what_the_others_spend(
    town: Database, clock: StandingClock, tmp_path: Path, budget_id: str
) -> None:
    first, second = [await Worker(town, tmp_path, clock).begin() for _ in range(2)]
    first.call(300)
    second.call(200)
    assert (first.used(budget_id), second.used(budget_id)) == (300, 200)
    await first.recorder.record()
    await second.watch.refresh()
    assert (first.used(budget_id), second.used(budget_id)) == (300, 500)
    second.call(400)
    await second.recorder.record()
    for _ in range(2):
        await first.watch.refresh()
        await second.watch.refresh()
    assert (first.used(budget_id), second.used(budget_id)) == (900, 900)
    for worker in (first, second):
        with pytest.raises(BudgetReachedError):
            worker.call(101)
    third = await Worker(town, tmp_path, clock).begin()
    assert third.used(budget_id) == 900


async def test_looks_and_records_in_any_order_count_each_call_once(
    town: Database, clock: StandingClock, tmp_path: Path, budget_id: str
) -> None:
    worker = await Worker(town, tmp_path, clock).begin()
    for number in range(40):
        worker.call(7, estimate=11)
        await asyncio.gather(worker.recorder.record(), worker.watch.refresh())
        assert worker.used(budget_id) == 7 * (number + 1)


async def test_answer_of_the_database_that_was_lost_counts_nothing_twice(
    town: Database, clock: StandingClock, tmp_path: Path, budget_id: str
) -> None:
    class Forgetful:
        """Commits, and says that it failed."""

        is_on = True

        def __getattr__(self, name: str) -> object:
            return getattr(town, name)

        def transaction(self) -> object:
            return self._transaction() if self.is_on else town.transaction()

        from contextlib import asynccontextmanager

        @asynccontextmanager
        async def _transaction(self):  # type: ignore[no-untyped-def]
            async with town.transaction() as transaction:
                yield transaction
            raise DatabaseError("The connection was lost.")

    database = Forgetful()
    worker = await Worker(database, tmp_path, clock).begin()  # type: ignore[arg-type]
    worker.call(100)
    with pytest.raises(DatabaseError):
        await worker.recorder.record()
    database.is_on = False
    await worker.recorder.record()
    await worker.watch.refresh()
    assert worker.used(budget_id) == 100
    assert await sums(town, type="project") == [("project", "proj_default", TODAY, "", 1, 100, 0)]


async def test_notices_are_given_once_in_a_period_by_one_worker(
    town: Database, clock: StandingClock, tmp_path: Path, budget_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    workers = [await Worker(town, tmp_path, clock).begin() for _ in range(3)]
    told: list[tuple[str, int]] = []
    for worker in workers:
        worker.watch.on_notice.append(lambda notice: told.append((notice.action, notice.percent)))

    async def step() -> None:
        for worker in workers:
            await worker.recorder.record()
        for worker in workers:
            await worker.watch.refresh()

    workers[0].call(799)
    await step()
    assert told == []
    workers[1].call(101)
    await step()
    await step()
    assert told == [("budget.threshold_reached", 90)]
    for worker in workers:
        with pytest.raises(BudgetReachedError):
            worker.call(500)
    await step()
    assert told == [("budget.threshold_reached", 90), ("budget.used_up", 90)]
    clock.now += 86_400
    workers[2].journal.start(start("tomorrow", started_at=clock.now))
    workers[2].journal.end(end("tomorrow", prompt_tokens=2000))
    await step()
    assert told[2:] == [("budget.threshold_reached", 200), ("budget.used_up", 200)]
    assert len([record for record in caplog.records if "is used to 200 %" in record.getMessage()]) == 1
    rows = await town.fetch("SELECT body FROM audit_events WHERE action LIKE 'budget.%' ORDER BY sequence")
    events = [msgspec.json.decode(row[0]) for row in rows][1:]
    assert [event["action"] for event in events] == [action for action, _ in told]
    assert events[0]["details"] == {
        "percent": 90,
        "scope": {"id": "proj_default", "type": "project"},
        "used": {"tokens": 900},
    }
    assert events[0]["actor"] == {"id": "system", "type": "system"}


async def test_notice_that_could_not_be_written_is_given_later(
    town: Database, clock: StandingClock, tmp_path: Path, budget_id: str
) -> None:
    worker = await Worker(town, tmp_path, clock).begin()
    worker.call(1000)
    with pytest.raises(BudgetReachedError):
        worker.call(1)
    await worker.recorder.record()
    async with town.transaction() as transaction:
        await transaction.execute("ALTER TABLE audit_events RENAME TO away")
    with pytest.raises(DatabaseError):
        await worker.watch.refresh()
    async with town.transaction() as transaction:
        await transaction.execute("ALTER TABLE away RENAME TO audit_events")
    await worker.watch.refresh()
    found = Counter(row[0] for row in await town.fetch("SELECT action FROM audit_events"))
    assert found == {"budget.set": 1, "budget.threshold_reached": 1, "budget.used_up": 1}


async def test_restored_database_is_believed(
    town: Database, clock: StandingClock, tmp_path: Path, budget_id: str
) -> None:
    worker = await Worker(town, tmp_path, clock).begin()
    worker.call(900)
    await worker.recorder.record()
    await worker.watch.refresh()
    async with town.transaction() as transaction:
        await transaction.execute("DELETE FROM spending")
        await transaction.execute("UPDATE revisions SET value = 0 WHERE name = 'spending'")
    await worker.watch.refresh()
    assert worker.used(budget_id) == 0


SPENDER = """
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from mainstay.kit.database import open_database
from mainstay.platform.metering.budget_counters import BudgetReachedError
from mainstay.platform.metering.recovery import Recovery
from mainstay.testing.clock import StandingClock
from tests.platform.metering.test_spending import Worker

async def spend():
    database = open_database(sys.argv[2])
    root = Path(sys.argv[1])
    await Recovery(root, database).recover()
    worker = await Worker(database, root, StandingClock()).begin()
    while True:
        try:
            for _ in range(20):
                worker.call(100)
                os.write(1, b"spent\\n")
        except BudgetReachedError:
            break
        await worker.recorder.record()
        await worker.watch.refresh()
    await worker.recorder.drain(60)
    await database.aclose()

asyncio.run(spend())
"""
_PROCESSES = 8
_CALLS_BETWEEN_LOOKS = 20


async def _spend_with_kills(database: Database, url: str, root: Path, *, kills: int, tokens: int) -> None:
    """Eight processes spend one budget; `kills` times, one that has spent something is killed and replaced."""
    said = 0
    left = kills

    async def spender(number: int) -> None:
        nonlocal said, left
        while True:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", SPENDER, str(root), url, str(Path.cwd()), stdout=subprocess.PIPE
            )
            assert process.stdout is not None
            lines = 0
            while await asyncio.wait_for(process.stdout.readline(), 120):
                lines += 1
                if lines >= 25 + 7 * number and left > 0:
                    left -= 1
                    process.kill()
                    lines += len((await process.stdout.read()).splitlines())
                    break
            said += lines
            if await process.wait() == 0:
                return

    await asyncio.gather(*(spender(number) for number in range(_PROCESSES)))
    await Recovery(root, database).recover()
    assert left == 0
    ((calls, used),) = await database.fetch(
        "SELECT COUNT(*), SUM(prompt_tokens + completion_tokens) FROM usage_records WHERE outcome = 'ok'"
    )
    ((interrupted,),) = await database.fetch("SELECT COUNT(*) FROM usage_records WHERE outcome <> 'ok'")
    for kind in ("organisation", "project", "key"):
        ((_, _, _, _, added_calls, added_tokens, _),) = await sums(database, type=kind)
        assert (added_calls, added_tokens) == (calls + interrupted, used)
    # At most one call of each killed process was written down and not yet said to be.
    assert said <= calls <= said + kills
    assert used == 100 * calls
    # Not seen by the others: what each does between two looks, twice at the most, and what the killed had done.
    unseen = (2 * _PROCESSES + kills) * _CALLS_BETWEEN_LOOKS * 100
    assert tokens - 100 < used <= tokens + unseen


async def _give(database: Database, acts: Acts, clock: StandingClock, tokens: int) -> int:
    scope = ScopeRef(type=ScopeType.PROJECT, id="proj_default")
    budgets = Budgets(database, acts, clock)
    await budgets.create(SYSTEM, "org_default", scope, period=Period.MONTH, terms=Terms(tokens=tokens))
    return tokens


async def test_killed_processes_spend_one_budget_exactly(
    town: Database, database_url: str, tmp_path: Path, acts: Acts, clock: StandingClock
) -> None:
    tokens = await _give(town, acts, clock, 150_000)
    await _spend_with_kills(town, database_url, tmp_path / "journal", kills=5, tokens=tokens)


@pytest.mark.heavy
async def test_fifty_killed_processes_spend_one_budget_exactly(
    town: Database, database_url: str, tmp_path: Path, acts: Acts, clock: StandingClock
) -> None:
    tokens = await _give(town, acts, clock, 2_000_000)
    await _spend_with_kills(town, database_url, tmp_path / "journal", kills=50, tokens=tokens)
