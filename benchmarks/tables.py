"""Numbers with their spread, tables of them for the terminal and for the README, and the machine they come from."""

import datetime
import os
import platform
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

README = Path(__file__).with_name("README.md")


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of the rounds, with the least and the greatest."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one round."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{number(self.median)} ({number(self.least)} to {number(self.greatest)})"


def number(value: float) -> str:
    """Three significant digits, thousands with a comma, no exponent."""
    size = abs(value)
    if size >= 100 or value == int(value):
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 0.1 else f"{value:.3f}"


@dataclass(slots=True)
class Table:
    """A titled table; the first column is text, the others are right-aligned."""

    title: str
    columns: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        """Append a row; missing cells stay empty."""
        texts = [number(cell) if isinstance(cell, (int, float)) else str(cell) for cell in cells]
        self.rows.append(texts + [""] * (len(self.columns) - len(texts)))

    def plain(self) -> str:
        """Aligned text for a terminal."""
        lines = [list(self.columns), *self.rows]
        widths = [max(len(line[index]) for line in lines) for index in range(len(self.columns))]
        texts = [self.title, "-" * len(self.title)]
        for line in lines:
            first, *rest = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
            texts.append("  ".join([first.strip().ljust(widths[0]), *rest]).rstrip())
        return "\n".join([*texts, *self.notes, ""])

    def markdown(self) -> str:
        """The same for the README."""
        header = "| " + " | ".join(self.columns) + " |"
        rule = "|---|" + "---:|" * (len(self.columns) - 1)
        rows = ["| " + " | ".join(row) + " |" for row in self.rows]
        notes = ["", *self.notes] if self.notes else []
        return "\n".join([f"**{self.title}**", "", header, rule, *rows, *notes, ""])


@dataclass(frozen=True, slots=True)
class Claim:
    """A published target and what was measured for it."""

    what: str
    limit: float
    measured: float
    unit: str
    is_minimum: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the median keeps to the limit."""
        return self.measured >= self.limit if self.is_minimum else self.measured <= self.limit


def claims_table(claims: Sequence[Claim]) -> Table:
    """Targets and measurements side by side, misses included."""
    table = Table("Targets", ["target", "limit", "measured", "met"])
    for claim in claims:
        bound = f"{'at least' if claim.is_minimum else 'at most'} {number(claim.limit)} {claim.unit}"
        table.add(claim.what, bound, f"{number(claim.measured)} {claim.unit}", "yes" if claim.is_met else "NO")
    return table


def machine() -> str:
    """The machine in one line."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    return ", ".join(
        [
            model.group(1) if model else platform.machine(),
            f"{len(os.sched_getaffinity(0))} cores",
            f"{int(memory.group(1)) / 2**20:.0f} GiB memory" if memory else "",
            f"Linux {platform.release()}",
            f"Python {platform.python_version()}",
        ]
    )


def provenance(command: str, versions: Sequence[str]) -> str:
    """Machine, date, command, versions and how busy the machine was."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    lines = [
        f"- Machine: {machine()}; load average at the end {os.getloadavg()[1]:.2f} (5 minutes)",
        f"- Date and command: {now}, `{command}`",
        f"- Versions: {'; '.join(versions)}",
    ]
    return "\n".join(lines)


def write_section(name: str, content: str) -> None:
    """Replace what stands between the README's markers for `name`; raises ValueError when they are not there."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    text = README.read_text()
    before, has_begin, rest = text.partition(begin)
    _, has_end, after = rest.partition(end)
    if not has_begin or not has_end:
        raise ValueError(f"{README} has no markers for {name!r}.")
    README.write_text(f"{before}{begin}\n{content.strip()}\n{end}{after}")
