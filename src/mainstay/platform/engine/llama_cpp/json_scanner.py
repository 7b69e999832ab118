"""Finds where a JSON value ends, character by character, without building it: text arrives in pieces."""

from enum import Enum, auto

_WHITESPACE = " \t\n\r"
_OPENING = {"{": "}", "[": "]"}
_MAX_DEPTH = 64


class Verdict(Enum):
    """What is known of the text so far."""

    OPEN = auto()
    """It may become a JSON value."""
    WHOLE = auto()
    """The value is complete."""
    BROKEN = auto()
    """It cannot be one."""


class JsonScanner:
    """Follows one object or array. It knows strings and brackets, not the whole grammar: what it calls whole may still
    be refused by a decoder, and that is the decoder's to say."""

    __slots__ = ("_closing", "_is_escaped", "_is_in_string", "verdict")

    def __init__(self) -> None:
        self._closing: list[str] = []
        self._is_in_string = False
        self._is_escaped = False
        self.verdict = Verdict.OPEN

    def feed(self, character: str) -> Verdict:
        """Take the next character; after WHOLE or BROKEN none may follow."""
        if self._is_in_string:
            self._in_string(character)
        elif character == '"':
            self._is_in_string = bool(self._closing)
            if not self._closing:
                self.verdict = Verdict.BROKEN
        elif character in _OPENING:
            self._closing.append(_OPENING[character])
            if len(self._closing) > _MAX_DEPTH:
                self.verdict = Verdict.BROKEN
        elif character in "}]":
            self._close(character)
        elif not self._closing and character not in _WHITESPACE:
            self.verdict = Verdict.BROKEN
        return self.verdict

    def _in_string(self, character: str) -> None:
        if self._is_escaped:
            self._is_escaped = False
        elif character == "\\":
            self._is_escaped = True
        elif character == '"':
            self._is_in_string = False

    def _close(self, character: str) -> None:
        if not self._closing or self._closing.pop() != character:
            self.verdict = Verdict.BROKEN
        elif not self._closing:
            self.verdict = Verdict.WHOLE
