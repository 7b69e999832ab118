"""How much of this machine the process may use: affinity, cgroup quotas, memory."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Machine:
    """Cores and memory, after every limit that is known."""

    cores: int
    memory_bytes: int


def this_machine(root: Path = Path("/")) -> Machine:
    """Read the limits of this process; `root` is where `proc` and `sys` are."""
    groups = _groups(root)
    quotas = [quota for group in groups if (quota := _cpu_quota(group)) is not None]
    limits = [limit for group in groups if (limit := _memory_limit(group)) is not None]
    cores = min([float(len(os.sched_getaffinity(0))), *quotas])
    return Machine(cores=max(1, int(cores)), memory_bytes=min([_memory_total(root), *limits]))


def _groups(root: Path) -> list[Path]:
    """Return the cgroup (version 2) of this process and all above it: a limit of any of them holds."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    own = next((line[3:] for line in lines if line.startswith("0::")), None)
    if own is None:
        return []
    top = root / "sys/fs/cgroup"
    group = top / own.lstrip("/")
    return [group, *(parent for parent in group.parents if parent == top or top in parent.parents)]


def _cpu_quota(group: Path) -> float | None:
    words = _words(group / "cpu.max")
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0].isdigit() else None


def _memory_limit(group: Path) -> int | None:
    words = _words(group / "memory.max")
    return int(words[0]) if words and words[0].isdigit() else None


def _memory_total(root: Path) -> int:
    """Return the machine's memory, from the line `MemTotal: N kB`."""
    for line in (root / "proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{root / 'proc/meminfo'} has no MemTotal.")


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
