"""Claim: what an open, silent stream takes in memory, both sides of the proxy counted.

Each round starts the subject afresh: a second thousand of streams would reuse what the first has left behind.
"""

import time
from collections import defaultdict

from benchmarks.gateway_cpu import DIRECT, MAINSTAY
from benchmarks.processes import BenchmarkError
from benchmarks.rig import Rig
from benchmarks.subjects import Lane, Subject
from benchmarks.tables import Claim, Spread, Table

STREAMS = 1000
ROUNDS = 3
SETTLE_SECONDS = 1.0


def grown_kib(rig: Rig, subject: Subject, lane: Lane) -> tuple[int, int]:
    """Memory of the warm subject, and with the streams open, in KiB."""
    subject.start()
    try:
        rig.warm_up(subject)
        time.sleep(SETTLE_SECONDS)
        idle = subject.running.memory_kib()
        generator = rig.generator(rig.load(subject, lane, "hold", connections=STREAMS))
        try:
            if generator.read_line() != b"open":
                raise BenchmarkError(f"{subject.name} did not open {STREAMS} streams: {generator.log_end()}")
            time.sleep(SETTLE_SECONDS)
            busy = subject.running.memory_kib()
            generator.process.communicate(b"\n", timeout=60)
            generator.require_success()
        finally:
            generator.stop()
    finally:
        subject.stop()
    return idle, busy


def run(rig: Rig) -> tuple[list[Table], list[Claim]]:
    """Measure plain streams of every subject and TLS streams of those that have them."""
    sizes: dict[tuple[str, Lane], list[tuple[int, int]]] = defaultdict(list)
    for _ in range(ROUNDS):
        for subject in rig.shuffled():
            for lane in (Lane.IDLE, Lane.TLS_IDLE):
                if subject.name != DIRECT and (lane is Lane.IDLE or subject.has_tls):
                    sizes[subject.name, lane].append(grown_kib(rig, subject, lane))
    table = Table(f"{STREAMS:,} idle open streams", ["", "idle MiB", "with the streams MiB", "KiB per stream"])
    per_stream: dict[tuple[str, Lane], Spread] = {}
    for subject in rig.subjects:
        for lane in (Lane.IDLE, Lane.TLS_IDLE):
            if rounds := sizes.get((subject.name, lane)):
                spread = Spread.of([(busy - idle) / STREAMS for idle, busy in rounds])
                per_stream[subject.name, lane] = spread
                label = subject.name if lane is Lane.IDLE else f"{subject.name}, TLS to the vendor"
                table.add(label, *(Spread.of([pair[side] / 1024 for pair in rounds]).median for side in (0, 1)), spread)
    table.notes.append("Proportional set size of all the subject's processes; buffers of the kernel are not in it.")
    return [table], claims(per_stream)


def claims(per_stream: dict[tuple[str, Lane], Spread]) -> list[Claim]:
    """The published targets that these numbers decide."""
    limits = {Lane.IDLE: ("open proxied stream", 24), Lane.TLS_IDLE: ("the same with TLS", 64)}
    return [
        Claim(what, limit, per_stream[MAINSTAY, lane].median, "KiB")
        for lane, (what, limit) in limits.items()
        if (MAINSTAY, lane) in per_stream
    ]
