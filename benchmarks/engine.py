"""Claim: what serving a model through Mainstay costs against the same library called directly.

Both sides run the same engine with the same parameters; one is reached through Mainstay with everything on, the
other over its own socket. What Mainstay adds is the processor time of its supervisor and workers per token.
"""

import itertools
import json
import os
import subprocess
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.direct_engine import ENGINE_MODULE, Shape, running_engine, shape_of
from benchmarks.load import Load, Report, Target
from benchmarks.processes import TICKS_PER_SECOND, BenchmarkError, Child, command_line, family
from benchmarks.rig import Rig, running_rig
from benchmarks.subjects import CHAT_PATH, Lane
from benchmarks.tables import Claim, Spread, Table
from benchmarks.under_test import PROGRAM, MainstayUnderTest
from mainstay.platform.catalog.catalog import Catalog
from mainstay.platform.catalog.store import Store, default_models_directory
from mainstay.supervisor.paths import run_directory

MODEL, QUICK_MODEL = "qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct"
STREAMS = (1, 4, 16)
ROUNDS = 3
MAX_TOKENS = 32
PULL_SECONDS = 1800
GIVE_UP_SECONDS = 300.0
PREFIX = " ".join(
    f"Rule {number}: an order above {number * 100} euros needs the approval of two people." for number in range(50)
)
"""About a thousand tokens, the same for every caller."""


@dataclass(frozen=True, slots=True)
class Side:
    """One way to the engine."""

    name: str
    target: Target
    child: Child


@dataclass(frozen=True, slots=True)
class Served:
    """One measurement: what the generator saw, and the processor time of the engine and of everything else."""

    report: Report
    engine_seconds: float
    own_seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Of all streams together, prefill included."""
        return self.report.tokens / self.report.elapsed_seconds

    @property
    def own_microseconds_per_token(self) -> float:
        """What Mainstay's own processes spend on a token."""
        return self.own_seconds / self.report.tokens * 1e6

    @property
    def own_percent(self) -> float:
        """Mainstay's own part of all processor time."""
        return self.own_seconds / (self.own_seconds + self.engine_seconds) * 100


def cpu_of_engine_and_others(child: Child) -> tuple[float, float]:
    """Seconds of processor time of the engine processes in the family, and of the rest."""
    totals = {True: 0.0, False: 0.0}
    for pid, stat in family(child.pid).items():
        totals[ENGINE_MODULE in command_line(pid)] += stat.cpu_ticks / TICKS_PER_SECOND
    return totals[True], totals[False]


@dataclass(slots=True)
class Prompts:
    """Bodies of requests, none the same as another."""

    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1000))

    def bodies(self, model: str, count: int, *, is_shared: bool) -> list[str]:
        """`count` requests; shared ones begin with the same thousand tokens, cold ones have nothing in common."""
        return [self.body(model, next(self.numbers), is_shared=is_shared) for _ in range(count)]

    def body(self, model: str, number: int, *, is_shared: bool) -> str:
        """One streamed chat request."""
        system = PREFIX if is_shared else f"{number} is your number. You write long and detailed texts."
        question = (
            f"Text {number}: describe in several paragraphs how purchasing works in a company of {number} people."
        )
        return json.dumps(
            {
                "model": model,
                "messages": [{"role": "system", "content": system}, {"role": "user", "content": question}],
                "max_tokens": MAX_TOKENS,
                "temperature": 0,
                "seed": 1,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        )


def serve(rig: Rig, side: Side, bodies: list[str]) -> Served:
    """One request on each of as many connections, all at once."""
    load = Load(
        mode="generate",
        target=side.target,
        bodies=bodies,
        connections=len(bodies),
        seconds=0,
        rounds=1,
        give_up_seconds=GIVE_UP_SECONDS,
    )
    engine, own = cpu_of_engine_and_others(side.child)
    report = rig.run(load)
    engine_after, own_after = cpu_of_engine_and_others(side.child)
    return Served(report, engine_after - engine, own_after - own)


Key = tuple[bool, int, str]


def measure(rig: Rig, sides: list[Side], shape: Shape, *, rounds: int) -> dict[Key, list[Served]]:
    """All cold rounds, then the prefix into every slot, then all rounds with it."""
    prompts = Prompts()
    results: dict[Key, list[Served]] = defaultdict(list)
    for is_shared in (False, True):
        for side in sides:  # the first requests after loading are slower; and every slot learns the prefix
            count = shape.slots if is_shared else 1
            serve(rig, side, prompts.bodies(side.target.model, count, is_shared=is_shared))
        for _, streams in itertools.product(range(rounds), STREAMS):
            for side in rig.order.sample(sides, len(sides)):
                bodies = prompts.bodies(side.target.model, streams, is_shared=is_shared)
                served = serve(rig, side, bodies)
                results[is_shared, streams, side.name].append(served)
                print(f"{side.name}, {streams} streams: {served.tokens_per_second:.1f} tokens/s", flush=True)
    return results


def weights_path(model: str) -> Path:
    """The model's file, pulled when it is not here."""
    store = Store(default_models_directory(os.environ))
    found = store.path(Catalog.load(store).get(model))
    if found is None:
        done = subprocess.run([str(PROGRAM), "models", "pull", model], timeout=PULL_SECONDS, check=False)
        found = store.path(Catalog.load(store).get(model))
        if done.returncode or found is None:
            raise BenchmarkError(f"{model} could not be pulled.")
    return found


def engine_socket(subject: MainstayUnderTest) -> Path:
    """The socket of the engine that Mainstay started."""
    sockets = sorted(run_directory(subject.home).glob("e-*.sock"))
    if len(sockets) != 1:
        raise BenchmarkError(f"expected one engine of Mainstay, found the sockets {sockets}")
    return sockets[0]


def run(*, is_quick: bool) -> tuple[list[Table], list[Claim], list[str]]:
    """Measure both sides on all cores, engines loaded at the same time, requests in turn."""
    model = QUICK_MODEL if is_quick else MODEL
    path = weights_path(model)
    with running_rig(is_quick=is_quick) as rig:
        subject = MainstayUnderTest(rig.vendor, rig.folder, rig.cores)
        subject.model = model
        subject.cores = type(rig.cores)(rig.cores.everything, rig.cores.load, rig.cores.everything)
        subject.prepare()
        try:
            subject.start()
            shape = shape_of(engine_socket(subject))
            with running_engine(path, shape, rig.folder) as (child, unix):
                sides = [
                    Side("Mainstay", subject.target(Lane.PLAIN), subject.running),
                    Side("direct", Target(path=CHAT_PATH, model=model, unix=str(unix)), child),
                ]
                results = measure(rig, sides, shape, rounds=1 if is_quick else ROUNDS)
        finally:
            subject.stop()
    versions = [f"Mainstay {subject.version}", f"{model}, {shape.slots} slots of {shape.context_tokens} tokens"]
    return [result_table(model, results, shape)], claims(results), versions


def result_table(model: str, results: dict[Key, list[Served]], shape: Shape) -> Table:
    """A row for each number of streams, cold and with the prefix."""
    columns = [
        "",
        "streams",
        "tokens/s",
        "direct tokens/s",
        "first token p50 ms",
        "direct first token p50 ms",
        "Mainstay's CPU us per token",
        "% of all CPU",
    ]
    table = Table(f"{model}: {MAX_TOKENS} tokens to each stream, all streams at once", columns)
    for is_shared, streams in itertools.product((False, True), STREAMS):
        through, direct = (results[is_shared, streams, name] for name in ("Mainstay", "direct"))
        table.add(
            "shared 1,000-token prefix" if is_shared else "cold",
            streams,
            Spread.of([one.tokens_per_second for one in through]),
            Spread.of([one.tokens_per_second for one in direct]),
            Spread.of([one.report.first_p50 for one in through]),
            Spread.of([one.report.first_p50 for one in direct]),
            Spread.of([one.own_microseconds_per_token for one in through]),
            Spread.of([one.own_percent for one in through]),
        )
    table.notes.append(f"The engine has {shape.slots} slots; further streams wait, on both sides.")
    return table


def claims(results: dict[Key, list[Served]]) -> list[Claim]:
    """The published target: the worst case decides."""
    through = [rounds for (_, _, name), rounds in results.items() if name == "Mainstay"]
    worst = max(Spread.of([one.own_percent for one in rounds]).median for rounds in through)
    return [Claim("Mainstay's own part of the CPU per token, worst case", 3, worst, "%")]
