"""Claim: permissions of a large organisation are decided from memory, in microseconds.

One process, no server: the directory that every worker holds, over 100,000 users in 10,000 nested groups, on both
databases. A first decision works out what a caller may do; later ones ask what was worked out.
"""

import asyncio
import gc
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from benchmarks.large_organisation import LARGE, ORGANISATION, PROJECT, SMALL, Size, fill
from benchmarks.tables import Claim, Spread, Table
from mainstay import __version__
from mainstay.kit.clock import SystemClock
from mainstay.kit.database import Database, open_database
from mainstay.kit.pages import PageRequest
from mainstay.migrations import ensure_current
from mainstay.platform.audit.ledger import Ledger
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.authorize import Authority
from mainstay.platform.identity.caller import Caller, Scope
from mainstay.platform.identity.change_feed import ChangeKind
from mainstay.platform.identity.directory import Directory
from mainstay.platform.identity.explain import Explainer, Question
from mainstay.platform.identity.user_filter import UserFilter
from mainstay.platform.identity.users import Users
from mainstay.testing.postgres import running_postgres

ROUNDS = 9
DECISIONS = 2000
AUTHORIZE_US, LIST_MS = 50.0, 100.0
FIRST, LATER = "authorize, a caller's first, us", "authorize, later, us"
_SCOPES = frozenset({Scope.INFERENCE, Scope.ADMIN})

Measured = dict[str, Spread]


def run(*, is_quick: bool) -> tuple[list[Table], list[Claim], list[str]]:
    """Measure on SQLite and on PostgreSQL."""
    size = SMALL if is_quick else LARGE
    rounds = 3 if is_quick else ROUNDS
    with tempfile.TemporaryDirectory() as folder, running_postgres() as server:
        urls = {"SQLite": f"sqlite:///{Path(folder) / 'mainstay.db'}", "PostgreSQL": server.url()}
        found = {name: _in_a_process_of_its_own(url, size, rounds) for name, url in urls.items()}
    title = f"{size.users:,} users in {size.groups:,} groups ({size.groups_of_user} each, nested), one process"
    table = Table(title, ["median (least to greatest)", *found])
    for row in next(iter(found.values())):
        table.add(row, *(str(measured[row]) for measured in found.values()))
    return [table], _claims(found), [f"Mainstay {__version__}"]


def _in_a_process_of_its_own(url: str, size: Size, rounds: int) -> Measured:
    """Measure where nothing was allocated before, so that the memory is the directory's."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as processes:
        return processes.submit(_measured, url, size, rounds).result()


def _measured(url: str, size: Size, rounds: int) -> Measured:
    return asyncio.run(_measure(url, size, rounds))


def _claims(found: dict[str, Measured]) -> list[Claim]:
    claims = []
    for name, measured in found.items():
        decisions = (FIRST, LATER, "may_use a deployment, later, us")
        claims += [Claim(f"{name}: {row[:-4]}", AUTHORIZE_US, measured[row].median, "us") for row in decisions]
        worst = max(spread.median for row, spread in measured.items() if row.startswith("list "))
        claims.append(Claim(f"{name}: the slowest list of users", LIST_MS, worst, "ms"))
    return claims


async def _measure(url: str, size: Size, rounds: int) -> Measured:
    database = open_database(url)
    try:
        await ensure_current(database)
        await fill(database, size)
        directory, measured = await _load(database, rounds)
        measured |= await _decide(directory, size, rounds)
        measured |= await _keep_up(directory, size, rounds)
        measured |= await _list(database, size, rounds)
        return measured
    finally:
        await database.aclose()


async def _load(database: Database, rounds: int) -> tuple[Directory, Measured]:
    seconds = []
    gc.collect()
    before = _resident_mib()
    directory = Directory(database)
    await directory.reload()
    gc.collect()
    memory = Spread.of([_resident_mib() - before])
    for _ in range(min(rounds, 3)):
        began = time.perf_counter()
        await Directory(database).reload()
        seconds.append(time.perf_counter() - began)
    return directory, {"memory of the directory, MiB": memory, "load everything, s": Spread.of(seconds)}


async def _decide(directory: Directory, size: Size, rounds: int) -> Measured:
    """Time decisions for callers spread over all users, each round after a change, which all forget what they knew."""
    clock = SystemClock()
    authority = Authority(directory, clock)
    explainer = Explainer(authority, clock)
    callers = [_caller(size.user(number)) for number in range(0, size.users, max(1, size.users // DECISIONS))]
    questions: dict[str, Callable[[Caller], object]] = {
        FIRST: lambda one: authority.authorize(one, Action.CALL_MODEL),
        LATER: lambda one: authority.authorize(one, Action.CALL_MODEL),
        "may_use a deployment, a caller's first, us": lambda one: authority.may_use(one, "model-7"),
        "may_use a deployment, later, us": lambda one: authority.may_use(one, "model-7"),
        "is_valid, us": authority.is_valid,
        "explain, us": lambda one: explainer.explain(
            Question(caller=one, action=Action.CALL_MODEL, deployment="model-7")
        ),
    }
    times: dict[str, list[float]] = {name: [] for name in questions}
    for _ in range(rounds):
        await directory.apply({ChangeKind.PRINCIPAL: frozenset({size.group(0)})})
        for name, decide in questions.items():
            began = time.process_time()
            for one in callers:
                decide(one)
            times[name].append((time.process_time() - began) / len(callers) * 1e6)
    return {name: Spread.of(values) for name, values in times.items()}


async def _keep_up(directory: Directory, size: Size, rounds: int) -> Measured:
    """Time taking over what an act has changed."""
    some = [size.user(number) for number in range(1000)]
    kinds = (ChangeKind.PRINCIPAL, ChangeKind.MEMBERS, ChangeKind.BINDINGS)
    measured = {}
    for name, ids in (("one user", some[:1]), ("1,000 users", some)):
        changed = {kind: frozenset(ids) for kind in kinds}
        measured[f"take over a change of {name}, ms"] = await _times(rounds, lambda: directory.apply(changed))  # noqa: B023 - called at once
    return measured


async def _list(database: Database, size: Size, rounds: int) -> Measured:
    clock = SystemClock()
    users = Users(database, Acts(Ledger(clock), clock), clock)
    middle = size.user(size.users // 2)
    questions = {
        "list 100 users, ms": (PageRequest(limit=100), UserFilter()),
        "list 100 users from the middle, ms": (PageRequest(limit=100, after=middle), UserFilter()),
        "list users by address, ms": (PageRequest(limit=100), UserFilter(emails=["person77@example.com"])),
        "list users by a part of a name, ms": (PageRequest(limit=100), UserFilter(search="person 99")),
        "list users by what nobody is called, ms": (PageRequest(limit=100), UserFilter(search="zebra")),
    }
    return {
        name: await _times(rounds, lambda: users.list(ORGANISATION, page, chosen))  # noqa: B023 - called at once
        for name, (page, chosen) in questions.items()
    }


async def _times(rounds: int, work: Callable[[], Awaitable[object]]) -> Spread:
    """Return the time of `work` in milliseconds; once before it counts, for what must be warm."""
    await work()
    values = []
    for _ in range(rounds):
        began = time.perf_counter()
        await work()
        values.append((time.perf_counter() - began) * 1000)
    return Spread.of(values)


def _caller(user: str) -> Caller:
    return Caller(
        key_id=f"key_{user}", organisation_id=ORGANISATION, project_id=PROJECT, scopes=_SCOPES, principal_id=user
    )


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
