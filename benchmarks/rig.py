"""Everything that a measurement needs: cores, the vendor, the subjects, how many rounds, and one way to measure."""

import contextlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from benchmarks.load import Load, Mode, Report
from benchmarks.processes import BenchmarkError, Child, Cores
from benchmarks.subjects import Direct, Lane, LiteLLM, Nginx, Subject, Vendor, running_vendor
from benchmarks.under_test import MainstayUnderTest

QUESTION = (
    "Our supplier has changed its delivery terms from thirty to sixty days. Summarise for the purchasing board what "
    "this means for our stock of spare parts, name the three largest risks and propose one measure for each."
)
SETTLE_SECONDS = 1.2  # longer than the second that usage records may wait for their batch
SUBJECTS: Sequence[type[Subject]] = (Direct, Nginx, MainstayUnderTest, LiteLLM)


def chat_body(model: str, *, is_stream: bool) -> str:
    """An ordinary chat request of about 500 bytes."""
    system = "You are a careful assistant of an industrial company. Answer briefly and in plain language."
    messages = [{"role": "system", "content": system}, {"role": "user", "content": QUESTION}]
    options = {"stream": True} if is_stream else {}
    return json.dumps({"model": model, "messages": messages, "max_tokens": 256, "temperature": 0.2, **options})


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement: what the generator saw and what the subject's family of processes spent."""

    report: Report
    cpu_seconds: float

    @property
    def cpu_microseconds(self) -> float:
        """Processor time of the subject per answer."""
        return self.cpu_seconds / self.report.answers * 1e6

    @property
    def answers_per_second(self) -> float:
        """Complete answers by the time they took."""
        return self.report.answers / self.report.elapsed_seconds


@dataclass(slots=True)
class Rig:
    """The bench that measurements are made on."""

    folder: Path
    cores: Cores
    vendor: Vendor
    is_quick: bool
    subjects: list[Subject] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    order: random.Random = field(default_factory=lambda: random.Random(2026))

    @property
    def rounds(self) -> int:
        """Rounds of each measurement."""
        return 3 if self.is_quick else 5

    @property
    def seconds(self) -> float:
        """Length of one measurement."""
        return 1.0 if self.is_quick else 2.0

    def prepare(self) -> None:
        """Make the subjects ready to be started; those that cannot be are kept with the reason."""
        for kind in SUBJECTS:
            subject = kind(self.vendor, self.folder, self.cores)
            try:
                subject.prepare()
            except (BenchmarkError, OSError, subprocess.SubprocessError) as error:
                self.absent[subject.name] = " ".join(str(error).split())[-160:]
                print(f"{subject.name}: not measured, {error}", flush=True)
            else:
                self.subjects.append(subject)

    def versions(self) -> list[str]:
        """The subjects with their versions, the absent ones with the reason."""
        present = [f"{subject.name} {subject.version}" for subject in self.subjects if subject.version]
        return present + [f"{name}: not measured ({why})" for name, why in self.absent.items()]

    def shuffled(self) -> list[Subject]:
        """The subjects in an order of their own for each round."""
        return self.order.sample(self.subjects, len(self.subjects))

    @contextlib.contextmanager
    def all_started(self) -> Iterator[None]:
        """Every subject running and warm, and stopped again."""
        try:
            for subject in self.subjects:
                subject.start()
                self.warm_up(subject)
            yield
        finally:
            for subject in self.subjects:
                subject.stop()

    def warm_up(self, subject: Subject) -> None:
        """Let it open its connections and run its code a few times."""
        for mode in ("calls", "streams"):
            self.run(self.load(subject, Lane.PLAIN, mode, connections=16, rounds=4))

    def load(self, subject: Subject, lane: Lane, mode: Mode, *, connections: int, rounds: int = 0) -> Load:
        """What to ask a subject for."""
        target = subject.target(lane)
        body = chat_body(target.model, is_stream=mode != "calls")
        return Load(
            mode=mode, target=target, bodies=[body], connections=connections, seconds=self.seconds, rounds=rounds
        )

    def generator(self, load: Load) -> Child:
        """Start a load generator on the core that is not the subject's."""
        spec = msgspec.json.encode(load).decode()
        command = [sys.executable, "-m", "benchmarks.load", spec]
        return Child(command, log=self.folder / f"load-{time.monotonic_ns()}.log", cores=self.cores.load, piped=True)

    def run(self, load: Load) -> Report:
        """Run a load to its end; raises BenchmarkError when an answer was wrong."""
        generator = self.generator(load)
        try:
            output, _ = generator.process.communicate(timeout=load.give_up_seconds + 30)
            generator.require_success()
            return msgspec.json.decode(output.splitlines()[-1], type=Report)
        except subprocess.TimeoutExpired as error:
            raise BenchmarkError(f"the load generator did not end: {load.target.path} {load.mode}") from error
        finally:
            generator.stop()

    def measure(self, subject: Subject, load: Load) -> Measured:
        """Run a load and charge the subject for it, also for what it does a little later, such as writing records."""
        before = subject.running.cpu_seconds()
        try:
            report = self.run(load)
        except BenchmarkError as error:
            raise BenchmarkError(f"{subject.name}: {error}") from error
        time.sleep(SETTLE_SECONDS)
        return Measured(report, subject.running.cpu_seconds() - before)


@contextlib.contextmanager
def running_rig(*, is_quick: bool) -> Iterator[Rig]:
    """A rig in a folder of its own under /tmp, removed at the end."""
    cores = Cores.of_this_machine()
    folder = Path(tempfile.mkdtemp(prefix="ms-bench-", dir="/tmp"))
    try:
        with running_vendor(folder, cores) as vendor:
            yield Rig(folder=folder, cores=cores, vendor=vendor, is_quick=is_quick)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
