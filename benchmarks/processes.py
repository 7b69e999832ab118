"""Start a measured process on chosen cores, read what its whole family costs from /proc, and end it.

Linux only. A family is the started process, everything that descends from it and everything in its session, so
that a server is charged for its supervisor, its workers and whatever they start.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
REPOSITORY = Path(__file__).resolve().parent.parent
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
STOP_SECONDS = 10.0


class BenchmarkError(Exception):
    """A measurement that cannot be trusted or cannot be made; it ends the run."""


@dataclass(frozen=True, slots=True)
class Stat:
    """The few fields of /proc/PID/stat that are needed (proc(5))."""

    parent: int
    session: int
    cpu_ticks: int


def read_stat(pid: int) -> Stat | None:
    """The process's numbers, or None when it is gone. Processor time includes children that were waited for."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return Stat(parent=int(fields[1]), session=int(fields[3]), cpu_ticks=sum(int(field) for field in fields[11:15]))


def all_stats() -> dict[int, Stat]:
    """Every process that can be seen now."""
    pids = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
    return {pid: stat for pid in pids if (stat := read_stat(pid)) is not None}


def family(root: int) -> dict[int, Stat]:
    """`root`, its session and all their descendants."""
    stats = all_stats()
    members = {pid for pid, stat in stats.items() if root in {pid, stat.session}}
    while True:
        grown = members | {pid for pid, stat in stats.items() if stat.parent in members}
        if grown == members:
            return {pid: stats[pid] for pid in members}
        members = grown


def command_line(pid: int) -> str:
    """The process's arguments joined by spaces, empty when it is gone."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def proportional_kib(pid: int) -> int:
    """The process's proportional set size (shared pages divided among those who share them), in KiB."""
    try:
        rollup = (PROC / str(pid) / "smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class Cores:
    """Where the measured process runs and where the vendor and the load generator run."""

    subject: frozenset[int]
    load: frozenset[int]
    everything: frozenset[int]

    @classmethod
    def of_this_machine(cls) -> "Cores":
        """The first core for the subject, the second for the rest; one core serves both when there is only one."""
        usable = sorted(os.sched_getaffinity(0))
        return cls(frozenset(usable[:1]), frozenset(usable[1:2] or usable[:1]), frozenset(usable))


class Child:
    """One started process and its family. It gets SIGTERM by the kernel when the runner dies."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        cores: frozenset[int],
        env: Mapping[str, str] | None = None,
        piped: bool = False,
    ) -> None:
        self.command = list(command)
        self.log = log
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)  # inherited by the child from its first instruction
        try:
            with log.open("ab") as sink:
                self.process = subprocess.Popen(
                    ["setpriv", "--pdeathsig", "TERM", "--", *self.command],
                    stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                    stdout=subprocess.PIPE if piped else sink,
                    stderr=sink,
                    env={**os.environ, **(env or {})},
                    cwd=REPOSITORY,
                    start_new_session=True,
                )
        finally:
            os.sched_setaffinity(0, before)

    @property
    def pid(self) -> int:
        """The process id of the root of the family."""
        return self.process.pid

    def cpu_seconds(self) -> float:
        """Processor time of the whole family so far."""
        return sum(stat.cpu_ticks for stat in family(self.pid).values()) / TICKS_PER_SECOND

    def memory_kib(self) -> int:
        """Proportional set size of the whole family."""
        return sum(proportional_kib(pid) for pid in family(self.pid))

    def pin(self, cores: frozenset[int]) -> None:
        """Move every thread of the family to `cores`."""
        for pid in family(self.pid):
            for task in (PROC / str(pid) / "task").iterdir():
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(int(task.name), cores)

    def require_alive(self) -> None:
        """Raise BenchmarkError with the end of the log when the process has ended."""
        if self.process.poll() is not None:
            raise BenchmarkError(f"{self.name} ended with {self.process.returncode}; its log ends:\n{self.log_end()}")

    def require_success(self) -> None:
        """Raise BenchmarkError with the end of the log unless the process ended well."""
        if self.process.wait(STOP_SECONDS):
            raise BenchmarkError(f"{self.name} failed; its log ends:\n{self.log_end()}")

    @property
    def name(self) -> str:
        """The program and its first arguments, for messages."""
        return " ".join(self.command[:3])

    def log_end(self) -> str:
        """The last lines that it wrote."""
        return self.log.read_text(errors="replace")[-1000:]

    def read_line(self) -> bytes:
        """The next line of a piped child's output, empty when it has ended."""
        assert self.process.stdout is not None
        line: bytes = self.process.stdout.readline()
        return line.strip()

    def stop(self) -> None:
        """Ask the family to end, then end what is left of it."""
        members = family(self.pid)
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        for pid in {*members, *family(self.pid)}:
            current = read_stat(pid)
            if current is not None and (pid not in members or current.session == members[pid].session):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


def answers(port: int, path: str) -> bool:
    """Whether GET `path` on a loopback port answers 200 right now."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(request)
            return connection.recv(64).startswith((b"HTTP/1.1 200", b"HTTP/1.0 200"))
    except OSError:
        return False


def wait_until_ready(child: Child, port: int, path: str, *, timeout_seconds: float) -> None:
    """Poll every 2 ms until `path` answers 200; raises BenchmarkError when the child ends or time runs out."""
    deadline = time.monotonic() + timeout_seconds
    while not answers(port, path):
        child.require_alive()
        if time.monotonic() > deadline:
            raise BenchmarkError(
                f"{child.name} was not ready within {timeout_seconds:.0f} s; its log ends:\n{child.log_end()}"
            )
        time.sleep(0.002)
