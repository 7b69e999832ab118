"""Finds the line of every key, table and array element of a TOML document.

`tomllib` tells what a document says but not where. This scanner follows the grammar of TOML 1.0 far enough to
know where each thing begins; it leaves all judgement of the syntax to tomllib, and stops where it is lost. It
also bounds nesting, so that no document can exhaust the stack of a recursive parser.
"""

import contextlib
import re
import tomllib
from dataclasses import dataclass, field

KeyPath = tuple[str | int, ...]
"""Where something is, e.g. `("deployments", 1, "targets", 0, "model")`."""

DEPTH_LIMIT = 32
"""Of keys and brackets; what Mainstay reads is at most 6 deep."""

_BLANK = re.compile(r"(?:[ \t\n]+|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^\\"]++|\\.|"{1,2}(?!"))*+"{3,5}'
    r"|'''(?:[^']++|'{1,2}(?!'))*+'{3,5}"
    r'|"(?:[^\\"\n]++|\\[^\n])*+"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


class TooDeepError(Exception):
    """The document is nested deeper than DEPTH_LIMIT, at `line`."""

    def __init__(self, line: int) -> None:
        super().__init__(f"nested deeper than {DEPTH_LIMIT} levels")
        self.line = line


class _LostError(Exception):
    """The text is no TOML from here on."""


@dataclass(slots=True)
class Lines:
    """The line of each path, counted from 1."""

    by_path: dict[KeyPath, int] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int | None:
        """Return the line of `path`, or else of the nearest thing around it; None if nothing of it is there."""
        while path:
            if path in self.by_path:
                return self.by_path[path]
            path = path[:-1]
        return None


def locate(text: str) -> Lines:
    """Return the lines of a document, as far as it is TOML. Raises TooDeepError."""
    scanner = _Scanner(text.replace("\r\n", "\n"))
    with contextlib.suppress(_LostError):
        scanner.document()
    return scanner.lines


class _Scanner:
    """Walks a document once, from its beginning to its end or to where it is lost."""

    def __init__(self, text: str) -> None:
        self.lines = Lines()
        self._text = text
        self._position = 0
        self._line = 1
        self._counted = 0
        self._elements: dict[KeyPath, int] = {}
        """How many `[[tables]]` each array has so far."""

    def document(self) -> None:
        """Walk over headers and pairs; a pair belongs to the last header before it."""
        table: KeyPath = ()
        while True:
            self._skip(_BLANK)
            if self._position == len(self._text):
                return
            if self._take("[["):
                table = self._array_header()
            elif self._take("["):
                table = self._table_header()
            else:
                self._pair(table)

    def _array_header(self) -> KeyPath:
        line = self._here()
        *outer, name = self._key()
        array = (*self._latest(outer, line), name)
        index = self._elements[array] = self._elements.get(array, -1) + 1
        self.lines.by_path.setdefault(array, line)
        self.lines.by_path[*array, index] = line
        self._expect("]]")
        return (*array, index)

    def _table_header(self) -> KeyPath:
        line = self._here()
        *outer, name = self._key()
        table = (*self._latest(outer, line), name)
        self.lines.by_path[table] = line
        self._expect("]")
        return table

    def _latest(self, key: list[str], line: int) -> KeyPath:
        """Return the path of a header's outer tables; within an array, a header means its latest element."""
        path: KeyPath = ()
        for part in key:
            path = (*path, part)
            self.lines.by_path.setdefault(path, line)
            if path in self._elements:
                path = (*path, self._elements[path])
        return path

    def _pair(self, table: KeyPath) -> None:
        line = self._here()
        path = table
        for part in self._key():
            path = (*path, part)
            self.lines.by_path.setdefault(path, line)
        self._expect("=")
        self._skip(_SPACE)
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        if len(path) > DEPTH_LIMIT:
            raise TooDeepError(self._here())
        if self._take("["):
            self._array(path)
        elif self._take("{"):
            self._inline_table(path)
        elif not (self._skip(_STRING) or self._skip(_SCALAR)):
            raise _LostError

    def _array(self, path: KeyPath) -> None:
        index = 0
        while not self._at_end_of_container("]"):
            element = (*path, index)
            self.lines.by_path[element] = self._here()
            self._value(element)
            self._separator("]")
            index += 1

    def _inline_table(self, path: KeyPath) -> None:
        while not self._at_end_of_container("}"):
            self._pair(path)
            self._separator("}")

    def _at_end_of_container(self, bracket: str) -> bool:
        self._skip(_BLANK)
        return self._take(bracket)

    def _separator(self, bracket: str) -> None:
        self._skip(_BLANK)
        if not self._take(",") and not self._text.startswith(bracket, self._position):
            raise _LostError

    def _key(self) -> list[str]:
        """Read a dotted key and decode its quoted parts."""
        parts = []
        while True:
            self._skip(_SPACE)
            parts.append(self._key_part())
            if len(parts) > DEPTH_LIMIT:
                raise TooDeepError(self._here())
            self._skip(_SPACE)
            if not self._take("."):
                return parts

    def _key_part(self) -> str:
        start = self._position
        if self._skip(_BARE_KEY):
            return self._text[start : self._position]
        if self._skip(_STRING):
            return _decode(self._text[start : self._position])
        raise _LostError

    def _here(self) -> int:
        """Return the line of the position; newlines are counted once, since the position only grows."""
        self._line += self._text.count("\n", self._counted, self._position)
        self._counted = self._position
        return self._line

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        match = pattern.match(self._text, self._position)
        if match is None:
            return False
        self._position = match.end()
        return True

    def _take(self, token: str) -> bool:
        if not self._text.startswith(token, self._position):
            return False
        self._position += len(token)
        return True

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise _LostError


def _decode(quoted: str) -> str:
    """Return the text of a quoted key, by the parser that will read the document."""
    try:
        text = tomllib.loads(f"key = {quoted}")["key"]
    except tomllib.TOMLDecodeError:
        raise _LostError from None
    return str(text)
