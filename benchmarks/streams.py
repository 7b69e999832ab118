"""Claim: what a stream of 64 chunks costs, how soon it starts and whether it keeps its pace."""

from collections import defaultdict
from collections.abc import Callable

from benchmarks.gateway_cpu import DIRECT
from benchmarks.load import Load
from benchmarks.mock import CHUNKS, PACE_SECONDS
from benchmarks.rig import Measured, Rig
from benchmarks.subjects import Lane, Subject
from benchmarks.tables import Claim, Spread, Table

FAST = f"Streams of {CHUNKS} chunks as fast as they go, 16 connections"
PACED = f"64 streams at once, {CHUNKS} chunks of {PACE_SECONDS * 1000:.0f} ms each"
Results = dict[str, list[Measured]]


def fast_load(rig: Rig, subject: Subject) -> Load:
    """Sixteen connections that ask for streams without pause."""
    return rig.load(subject, Lane.PLAIN, "streams", connections=16)


def paced_load(rig: Rig, subject: Subject) -> Load:
    """Sixty-four callers reading at the speed of a model, once or twice."""
    return rig.load(subject, Lane.PACED, "streams", connections=64, rounds=1 if subject.is_slow else 2)


def run(rig: Rig) -> tuple[list[Table], list[Claim]]:
    """Measure both kinds of streams in interleaved rounds."""
    fast: Results = defaultdict(list)
    paced: Results = defaultdict(list)
    with rig.all_started():
        for _ in range(rig.rounds):
            for results, load in ((fast, fast_load), (paced, paced_load)):
                for subject in rig.shuffled():
                    results[subject.name].append(rig.measure(subject, load(rig, subject)))
    names = [subject.name for subject in rig.subjects]
    return [fast_table(fast, names), paced_table(paced, names)], []


def spread(rounds: list[Measured], value: Callable[[Measured], float]) -> Spread:
    """One number of each round."""
    return Spread.of([value(measured) for measured in rounds])


def fast_table(results: Results, names: list[str]) -> Table:
    """Cost and throughput."""
    columns = ["", "CPU us per stream", "CPU us per chunk", "streams/s", "first chunk p50 ms", "first chunk p99 ms"]
    table = Table(FAST, columns)
    for name in names:
        rounds = results[name]
        table.add(
            name,
            spread(rounds, lambda one: one.cpu_microseconds),
            spread(rounds, lambda one: one.cpu_microseconds / CHUNKS).median,
            spread(rounds, lambda one: one.answers_per_second),
            spread(rounds, lambda one: one.report.first_p50),
            spread(rounds, lambda one: one.report.first_p99),
        )
    return table


def paced_table(results: Results, names: list[str]) -> Table:
    """Cost and punctuality."""
    columns = ["", "CPU us per chunk", "first chunk p50 ms", "added to the whole p50 ms", "worst gap ms"]
    table = Table(PACED, columns)
    for name in names:
        rounds = results[name]
        pairs = zip(rounds, results[DIRECT], strict=True)
        table.add(
            name,
            spread(rounds, lambda one: one.cpu_microseconds / CHUNKS),
            spread(rounds, lambda one: one.report.first_p50),
            "" if name == DIRECT else Spread.of([one.report.p50 - base.report.p50 for one, base in pairs]),
            spread(rounds, lambda one: one.report.worst_gap),
        )
    table.notes.append("The worst gap is the longest pause between two chunks of any stream; the vendor's is the pace.")
    return table
