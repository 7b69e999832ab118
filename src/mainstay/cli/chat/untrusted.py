"""Model output is untrusted: without this, an answer could move the cursor, rename the window or write the clipboard.

Removed are escape sequences as ECMA-48 defines them (ESC or C1 introducers: CSI, OSC, DCS, SOS, PM, APC), every
other control character but newline and tab, and the bidirectional overrides that make text read otherwise than it is
("Trojan Source", CVE-2021-42574).
"""

import re
from enum import Enum, auto

_SUSPECT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_STRING_LIMIT_CHARACTERS = 4096
"""A control string that is longer, or unfinished at a newline, is taken to be over: an answer is never swallowed."""


class _State(Enum):
    TEXT = auto()
    ESCAPE = auto()
    CSI = auto()
    STRING = auto()
    STRING_ESCAPE = auto()


class Cleaner:
    """Cleans one stream of text; a sequence may be cut anywhere between two pieces."""

    def __init__(self) -> None:
        self._state = _State.TEXT
        self._length = 0

    def clean(self, piece: str) -> str:
        """Return what of the next piece may be shown."""
        if self._state is _State.TEXT and not _SUSPECT.search(piece):
            return piece
        return "".join(filter(self._is_shown, piece))

    def _is_shown(self, character: str) -> bool:
        """Take one character; tell whether it is text."""
        match self._state:
            case _State.TEXT:
                return self._text(character)
            case _State.ESCAPE:
                return self._escape(character)
            case _State.CSI:
                return self._csi(character)
            case _:
                return self._string(character)

    def _text(self, character: str) -> bool:
        if not _SUSPECT.match(character):
            return True
        self._begin({"\x1b": _State.ESCAPE, "\x9b": _State.CSI}.get(character, _State.TEXT))
        if character in "\x90\x98\x9d\x9e\x9f":
            self._begin(_State.STRING)
        return False

    def _escape(self, character: str) -> bool:
        """ESC, then intermediates (0x20-0x2f), then one final; `[` and the string introducers open more."""
        if character == "[":
            self._begin(_State.CSI)
        elif character in "PX]^_":
            self._begin(_State.STRING)
        elif character == "\x1b" or " " <= character <= "/":
            self._state = _State.ESCAPE
        else:
            self._state = _State.TEXT
            return not "0" <= character <= "~" and self._text(character)
        return False

    def _csi(self, character: str) -> bool:
        """Parameters and intermediates (0x20-0x3f), then one final (0x40-0x7e)."""
        if " " <= character <= "?" and self._length < _STRING_LIMIT_CHARACTERS:
            self._length += 1
            return False
        self._state = _State.TEXT
        return not "@" <= character <= "~" and self._text(character)

    def _string(self, character: str) -> bool:
        """Anything up to BEL or the string terminator, ESC backslash or 0x9c."""
        self._length += 1
        if self._state is _State.STRING_ESCAPE:
            self._state = _State.TEXT
            return character != "\\" and self._escape(character)
        if character == "\x1b":
            self._state = _State.STRING_ESCAPE
        elif character in "\x07\x9c":
            self._state = _State.TEXT
        elif character == "\n" or self._length > _STRING_LIMIT_CHARACTERS:
            self._state = _State.TEXT
            return self._text(character)
        return False

    def _begin(self, state: _State) -> None:
        self._state = state
        self._length = 0


def clean(text: str) -> str:
    """Return what of a whole text may be shown."""
    return Cleaner().clean(text)
