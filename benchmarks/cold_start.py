"""Claim: how long from the command until the readiness check answers 200, without a model to load."""

from collections import defaultdict

from benchmarks.gateway_cpu import DIRECT, MAINSTAY
from benchmarks.rig import Rig
from benchmarks.tables import Claim, Spread, Table

SLOW_ROUNDS = 3


def run(rig: Rig) -> tuple[list[Table], list[Claim]]:
    """Start and stop each subject; slow ones fewer times. The first start, which fills caches, is not counted."""
    seconds: dict[str, list[float]] = defaultdict(list)
    memory: dict[str, list[float]] = defaultdict(list)
    for round_number in range(rig.rounds + 1):
        for subject in rig.shuffled():
            if subject.name == DIRECT or (subject.is_slow and round_number > SLOW_ROUNDS):
                continue
            try:
                taken = subject.start()
                if round_number:
                    seconds[subject.name].append(taken)
                    memory[subject.name].append(subject.running.memory_kib() / 1024)
            finally:
                subject.stop()
    table = Table("Cold start, one core", ["", "seconds to ready", "MiB when ready"])
    for name, taken_seconds in seconds.items():
        table.add(name, Spread.of(taken_seconds), Spread.of(memory[name]))
    if MAINSTAY not in seconds:
        return [table], []
    return [table], [Claim("start to ready without a model", 1.5, Spread.of(seconds[MAINSTAY]).median, "s")]
