"""What is wrong with the settings: every problem at once, each with its place and its remedy."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from mainstay.kit.errors import ConfigurationError

SHOWN_PROBLEMS = 100
SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `place` is `mainstay.toml:14`, or the environment variable that said it."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class SettingsError(ConfigurationError):
    """The settings cannot be used; the message has one line for each of `problems`."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems[:SHOWN_PROBLEMS]]
        if len(self.problems) > SHOWN_PROBLEMS:
            lines.append(f"... and {len(self.problems) - SHOWN_PROBLEMS} more problems.")
        super().__init__("\n".join(lines))


def quote(value: object) -> str:
    """Write a value as it may stand in a message: short, on one line, containers only by their kind."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > 64:
        return "a huge number"
    text = str(value) if not isinstance(value, str) else value
    short = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."
    escaped = short.encode("unicode_escape").decode("ascii") if not short.isprintable() else short
    return f'"{escaped}"' if isinstance(value, str) else escaped


def suggest(word: str, known: Iterable[str]) -> str:
    """Return a sentence with the name that was perhaps meant, or with all of them if they are few."""
    names = sorted(known)
    close = difflib.get_close_matches(word[:SHOWN_CHARACTERS], names, n=1, cutoff=0.6)
    if close:
        return f" Did you mean {quote(close[0])}?"
    if 0 < len(names) <= 12:
        return f" Known here: {', '.join(names)}."
    return ""
