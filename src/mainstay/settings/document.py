"""The text of mainstay.toml as a document whose parts know where they came from."""

import re
import tomllib
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mainstay.settings.files import is_open_to_others, read_small_file
from mainstay.settings.problems import Problem, SettingsError
from mainstay.settings.toml_lines import KeyPath, Lines, TooDeepError, locate

MAX_BYTES = 1024 * 1024

_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)$")
_AT_END = " (at end of document)"


@dataclass(slots=True)
class Origins:
    """Where each key was said: at a line of the file, or by a variable or option that took its place."""

    label: str
    """What the file is called in messages."""
    lines: Lines = field(default_factory=Lines, repr=False)
    overrides: dict[KeyPath, str] = field(default_factory=dict)

    def place(self, path: KeyPath) -> str:
        """Return where to look for `path`, or for what is nearest to it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.overrides:
                return self.overrides[path[:length]]
        return self.written(path)

    def exact(self, path: KeyPath) -> str:
        """Return who said exactly this: a variable, an option, a line of the file, or "default"."""
        if path in self.overrides:
            return self.overrides[path]
        return self.written(path) if path in self.lines.by_path else "default"

    def written(self, path: KeyPath) -> str:
        """Return the line of the file, whatever took the place of what stands there."""
        line = self.lines.line(path)
        return self.label if line is None else f"{self.label}:{line}"


@dataclass(slots=True)
class Document:
    """What was written, secrets included, so it is not kept longer than it takes to read it."""

    origins: Origins
    content: dict[str, Any] = field(default_factory=dict, repr=False)  # Any: whatever an operator wrote
    is_open_to_others: bool = False
    overridden: dict[KeyPath, object] = field(default_factory=dict, repr=False)
    """What the file says where a variable or option goes before it."""
    problems: tuple[Problem, ...] = ()
    """Why there is no content, though there is a file."""
    unread_tables: frozenset[str] = frozenset()
    """Tables that such a file seems to have."""

    def override(self, path: KeyPath, value: object, *, source: str) -> None:
        """Put a value from elsewhere in its place, unless there is no table to put it into."""
        table: object = self.content
        for part in path[:-1]:
            table = table.setdefault(part, {}) if isinstance(table, dict) else None
        if isinstance(table, dict):
            if path[-1] in table and path not in self.origins.overrides:
                self.overridden[path] = table[path[-1]]
            table[path[-1]] = value
            self.origins.overrides[path] = source

    def names(self, array: str) -> set[str]:
        """Return the names in an array of tables, also of elements that do not fit otherwise."""
        elements = self.content.get(array)
        tables = [element for element in elements if isinstance(element, dict)] if isinstance(elements, list) else []
        return {table["name"] for table in tables if isinstance(table.get("name"), str)}


def read_document(path: Path, *, must_exist: bool) -> Document:
    """Read and parse a file; without one, the document is empty unless it must exist. Raises SettingsError."""
    label = str(path) if must_exist else path.name
    try:
        content, mode = read_small_file(path, max_bytes=MAX_BYTES)
    except FileNotFoundError:
        if must_exist:
            raise _unusable(label, None, "There is no such file.") from None
        return Document(Origins(label))
    except OSError as error:
        raise _unusable(label, None, f"The file {str(path)!r} cannot be read: {error.strerror}.") from error
    document = parse_document(content, label=label)
    document.is_open_to_others = is_open_to_others(mode)
    return document


def read_leniently(path: Path, *, must_exist: bool, tables: Collection[str]) -> Document:
    """Read and parse a file; of one that cannot be read, return what is known: why, and which `tables` it names."""
    try:
        return read_document(path, must_exist=must_exist)
    except SettingsError as error:
        try:
            content, _ = read_small_file(path, max_bytes=MAX_BYTES)
            unread = frozenset(table for table in tables if table.encode() in content)
        except OSError:
            unread = frozenset(tables)
        label = str(path) if must_exist else path.name
        return Document(Origins(label), problems=error.problems, unread_tables=unread)


def parse_document(content: bytes, *, label: str) -> Document:
    """Parse TOML. Raises SettingsError with the line of what is no TOML."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _unusable(label, line, "This is not UTF-8 text; save the file in that encoding.") from error
    try:
        return Document(Origins(label, locate(text)), tomllib.loads(text))
    except TooDeepError as error:
        raise _unusable(label, error.line, f"The file is {error}; nothing in it needs that.") from error
    except RecursionError as error:
        raise _unusable(label, None, "The file is nested too deeply; nothing in it needs that.") from error
    except ValueError as error:
        # TOMLDecodeError is one; numbers of more digits than Python converts raise the plain one.
        raise _syntax_problem(label, text, str(error)) from error


def _syntax_problem(label: str, text: str, message: str) -> SettingsError:
    found = _AT_LINE.search(message)
    if found:
        return _unusable(label, int(found[1]), f"{message[: found.start()]}.")
    last_line = text.count("\n") + 1 if message.endswith(_AT_END) else None
    return _unusable(label, last_line, f"{message.removesuffix(_AT_END)}.")


def _unusable(label: str, line: int | None, message: str) -> SettingsError:
    return SettingsError([Problem(label if line is None else f"{label}:{line}", message)])
