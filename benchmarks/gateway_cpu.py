"""Claim: what a one-shot call costs on its way through, in processor time, and how much later it arrives."""

from collections import defaultdict
from dataclasses import dataclass

from benchmarks.rig import Measured, Rig
from benchmarks.subjects import Lane, Subject
from benchmarks.tables import Claim, Spread, Table

NGINX, MAINSTAY, LITELLM, DIRECT = "nginx", "Mainstay", "LiteLLM", "mock vendor, direct"


@dataclass(frozen=True, slots=True)
class Case:
    """One way to ask."""

    title: str
    connections: int
    lane: Lane = Lane.PLAIN
    is_pinned: bool = True


CASES = (
    Case("One-shot calls, 1 connection", 1),
    Case("One-shot calls, 16 connections", 16),
    Case("One-shot calls, 16 connections, TLS to the vendor", 16, lane=Lane.TLS),
    Case("One-shot calls, 16 connections, nothing pinned", 16, is_pinned=False),
)
Results = dict[Case, dict[str, list[Measured]]]


def measure_case(rig: Rig, case: Case, subject: Subject) -> Measured:
    """One measurement, with the subject's threads where the case wants them."""
    load = rig.load(subject, case.lane, "calls", connections=case.connections)
    if case.is_pinned:
        return rig.measure(subject, load)
    home = rig.cores.load if subject.name == DIRECT else rig.cores.subject
    subject.running.pin(rig.cores.everything)
    try:
        return rig.measure(subject, load)
    finally:
        subject.running.pin(home)


def run(rig: Rig) -> tuple[list[Table], list[Claim]]:
    """Measure every case in interleaved rounds."""
    results: Results = {case: defaultdict(list) for case in CASES}
    with rig.all_started():
        for _ in range(rig.rounds):
            for case in CASES:
                for subject in rig.shuffled():
                    if not case.lane.is_tls or subject.has_tls:
                        results[case][subject.name].append(measure_case(rig, case, subject))
    names = [subject.name for subject in rig.subjects]
    return [case_table(case, results[case], names) for case in CASES], claims(results)


def median_cpu(results: list[Measured]) -> float:
    """The median of the rounds, in microseconds per call."""
    return Spread.of([measured.cpu_microseconds for measured in results]).median


def case_table(case: Case, results: dict[str, list[Measured]], names: list[str]) -> Table:
    """A row for each subject, in the subjects' own order."""
    columns = ["", "CPU us per call", "x nginx", "x Mainstay", "calls/s", "added p50 ms", "added p99 ms"]
    table = Table(case.title, columns)
    for name in (name for name in names if results.get(name)):
        rounds = results[name]
        table.add(
            name,
            Spread.of([measured.cpu_microseconds for measured in rounds]),
            *("" if name == DIRECT else ratio(rounds, results.get(peer)) for peer in (NGINX, MAINSTAY)),
            Spread.of([measured.answers_per_second for measured in rounds]),
            *added_latency(rounds, results[DIRECT], is_direct=name == DIRECT),
        )
    return table


def ratio(rounds: list[Measured], peer: list[Measured] | None) -> float | str:
    """How many times the peer's processor time; empty without that peer."""
    return median_cpu(rounds) / median_cpu(peer) if peer else ""


def added_latency(rounds: list[Measured], direct: list[Measured], *, is_direct: bool) -> list[object]:
    """How much later than from the vendor itself in the same round; of the direct row, the latency itself."""
    if is_direct:
        p50, p99 = (Spread.of([getattr(one.report, name) for one in rounds]).median for name in ("p50", "p99"))
        return [f"(p50 {p50:.3f})", f"(p99 {p99:.3f})"]
    pairs = list(zip(rounds, direct, strict=True))
    return [
        Spread.of([one.report.p50 - base.report.p50 for one, base in pairs]),
        Spread.of([one.report.p99 - base.report.p99 for one, base in pairs]),
    ]


def claims(results: Results) -> list[Claim]:
    """The published targets that these numbers decide."""
    busy = results[CASES[1]]
    if MAINSTAY not in busy:
        return []
    cost = median_cpu(busy[MAINSTAY])
    found = [Claim("CPU per one-shot call, plain HTTP, 16 connections", 150, cost, "us")]
    if NGINX in busy:
        found.append(Claim("the same against nginx", 9, cost / median_cpu(busy[NGINX]), "times"))
    if LITELLM in busy:
        ratio = median_cpu(busy[LITELLM]) / cost
        found.append(Claim("the same against LiteLLM: cheaper by", 50, ratio, "times", is_minimum=True))
    return found
