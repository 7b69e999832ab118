"""Finds tool calls in what a model writes, as it writes it.

Models are taught a form by their template, `<tool_call>{"name": …, "arguments": …}</tool_call>`; small ones often
write the same object bare, in a fence, as a list, or with `parameters` for `arguments`. Text is held back only while
it may still be a call; what turns out not to be one passes on byte for byte.
"""

import re
import secrets
from collections.abc import Collection
from enum import Enum, auto

import msgspec

from mainstay.platform.catalog.weights import ToolCallStyle
from mainstay.platform.engine.llama_cpp.json_scanner import JsonScanner, Verdict
from mainstay.platform.engine.llama_cpp.pieces import CallArguments, CallStart, Content, Piece

_TAG = "<tool_call>"
_END_TAG = "</tool_call>"
_FENCE = "```"
_FENCE_LINE = re.compile(r"```[ \t]*(json|tool_call|tool_code|)[ \t]*\r?\n", re.IGNORECASE)
_FENCE_LINE_START = re.compile(r"`{1,3}$|```[ \t]*[a-z_]{0,9}[ \t]*\r?$", re.IGNORECASE)
_DECODER = msgspec.json.Decoder()
_ENCODER = msgspec.json.Encoder()
_WHITESPACE = " \t\r\n"
_SEPARATORS = ",;" + _WHITESPACE
_FIRST_MEMBER = re.compile(
    r"""\s*(?:\[\s*)?\{\s*"(?P<key>[^"\\]*)"(?:\s*:\s*"(?P<value>[^"\\]*)")?""",
)
_CALL_KEYS = frozenset({"name", "arguments", "parameters", "function", "type", "id"})
MAX_CALLS = 128
"""In one answer; those beyond it are dropped."""


def new_call_id() -> str:
    """Return `call_` and 24 hexadecimal digits."""
    return "call_" + secrets.token_hex(12)


class _Wait(Enum):
    """What the held text may yet become."""

    NOTHING = auto()
    OPENER = auto()
    """The start of a tag, a fence, or an object."""
    VALUE = auto()
    """The JSON of a call."""
    PASSING = auto()
    """JSON that is no call: it goes through to its end, whatever stands inside."""
    CLOSER = auto()
    """The end tag or fence after the JSON."""


class ToolCallParser:
    """Turns the text of one choice into content and calls. The same text gives the same in sum, however it is cut."""

    def __init__(self, names: Collection[str], style: ToolCallStyle, *, max_calls: int = MAX_CALLS) -> None:
        self._names = names
        self._is_lenient = style is ToolCallStyle.HERMES_OR_JSON
        self._max_calls = max_calls
        self._held = ""
        self._wait = _Wait.NOTHING
        self._scanner = JsonScanner()
        self._value_start = self._value_end = self._scanned = 0
        self._is_named = False
        self._closer = ""
        self._is_line_start = True
        self._is_after_call = False
        self._leading: str | None = ""
        self._out: list[str] = []
        self._pieces: list[Piece] = []
        self.calls = 0
        """How many calls were found; the index of the next."""

    def feed(self, text: str) -> list[Piece]:
        """Take more text; return what is certain by now."""
        self._held += text
        while self._held and self._step():
            pass
        return self._taken()

    def finish(self) -> list[Piece]:
        """Take the end of the text: what is held back has become nothing else."""
        if self._wait is _Wait.CLOSER:
            self._accept(self._value_end)
        self._pass_on(len(self._held))
        if self._leading and not self.calls:
            self._out.append(self._leading)
        return self._taken()

    def _taken(self) -> list[Piece]:
        self._flush()
        pieces, self._pieces = self._pieces, []
        return pieces

    def _step(self) -> bool:
        """Go on by one decision; False if more text is needed."""
        match self._wait:
            case _Wait.NOTHING:
                return self._find_opener()
            case _Wait.OPENER:
                return self._read_opener()
            case _Wait.CLOSER:
                return self._read_closer()
            case _:
                return self._read_value()

    def _find_opener(self) -> bool:
        """Pass on text up to the next place where a call may start."""
        is_after_call = self._is_after_call
        for place, character in enumerate(self._held):
            if self._may_open(character):
                self._pass_on(place)
                self._wait = _Wait.OPENER
                return True
            is_after_call = is_after_call and character in _SEPARATORS
            is_blank = is_after_call or character in _WHITESPACE
            self._is_line_start = character == "\n" or (self._is_line_start and is_blank)
        self._pass_on(len(self._held))
        return False

    def _may_open(self, character: str) -> bool:
        return character == "<" or (self._is_lenient and self._is_line_start and character in "`{[")

    def _read_opener(self) -> bool:
        held = self._held
        if held[0] in "{[":
            return self._expect_value(0, "")
        if held[0] == "<":
            if held.startswith(_TAG):
                return self._expect_value(len(_TAG), _END_TAG)
            return False if _TAG.startswith(held) else self._reject(1)
        line = _FENCE_LINE.match(held)
        if line is not None:
            return self._expect_value(line.end(), _FENCE)
        return False if _FENCE_LINE_START.match(held) else self._reject(1)

    def _expect_value(self, start: int, closer: str) -> bool:
        self._wait = _Wait.VALUE
        self._scanner = JsonScanner()
        self._value_start = self._scanned = start
        self._is_named = False
        self._closer = closer
        return True

    def _read_value(self) -> bool:
        """Follow the JSON to its end; pass it on from where it is clear that it is no call."""
        for place in range(self._scanned, len(self._held)):
            verdict = self._scanner.feed(self._held[place])
            if verdict is Verdict.BROKEN:
                return self._reject(place + 1)
            if verdict is Verdict.WHOLE:
                return self._judge(place + 1)
        self._scanned = len(self._held)
        if self._wait is _Wait.VALUE and not self._is_named and not self._may_be_call():
            self._wait = _Wait.PASSING
        if self._wait is _Wait.PASSING:
            self._pass_on(len(self._held))
            self._scanned = 0
        return False

    def _may_be_call(self) -> bool:
        """Look at the first member: a call starts with one of a few names."""
        first = _FIRST_MEMBER.match(self._held, self._value_start)
        if first is None:
            return True
        if first["key"] not in _CALL_KEYS:
            return False
        if first["key"] == "name" and first["value"] is not None:
            self._is_named = first["value"] in self._names
            return self._is_named
        return True

    def _judge(self, end: int) -> bool:
        """The value is whole: is it a call?"""
        value = self._held[self._value_start : end]
        if self._wait is _Wait.PASSING or not self._may_be_call() or not read_calls(value, self._names):
            return self._reject(end)
        self._value_end = end
        if self._closer:
            self._wait = _Wait.CLOSER
        else:
            self._accept(end)
        return True

    def _read_closer(self) -> bool:
        """After the value: what separates and closes belongs to the call. Without the closer, so be it."""
        stripped = self._held[self._value_end :].lstrip(_SEPARATORS)
        if stripped.startswith(self._closer):
            self._accept(len(self._held) - len(stripped) + len(self._closer))
            return True
        if self._closer.startswith(stripped):
            return False
        self._accept(self._value_end)
        if stripped[0] in "{[":
            # Several objects may stand in one fence or between one pair of tags.
            self._held = stripped
            return self._expect_value(0, self._closer)
        return True

    def _accept(self, end: int) -> None:
        """Turn the value into calls; what is held up to `end` belongs to them."""
        for name, arguments in read_calls(self._held[self._value_start : self._value_end or end], self._names):
            if self.calls < self._max_calls:
                self._flush()
                self._pieces.append(CallStart(self.calls, new_call_id(), name))
                self._pieces.append(CallArguments(self.calls, arguments))
                self.calls += 1
        self._held = self._held[end:]
        self._wait = _Wait.NOTHING
        self._value_end = 0
        self._is_line_start = self._is_after_call = True
        self._leading = None

    def _reject(self, end: int) -> bool:
        """It is no call: pass it on."""
        self._wait = _Wait.NOTHING
        self._is_line_start = self._held[end - 1] == "\n"
        self._pass_on(end)
        return True

    def _pass_on(self, count: int) -> None:
        text, self._held = self._held[:count], self._held[count:]
        if self._is_after_call:
            # Between calls there is only what separates them.
            text = text.lstrip(_SEPARATORS)
        if self._leading is not None:
            # Whitespace before the first call is nothing that was said.
            text = self._leading + text
            self._leading = text if not text.strip(_WHITESPACE) else None
        if text and self._leading is None:
            self._is_after_call = False
            self._out.append(text)

    def _flush(self) -> None:
        if self._out:
            self._pieces.append(Content("".join(self._out)))
            self._out.clear()


def read_calls(text: str, names: Collection[str]) -> list[tuple[str, str]]:
    """Return name and arguments (JSON text) of the calls that `text` is; none if it is anything else."""
    try:
        value = _DECODER.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return []
    items = value if isinstance(value, list) else [value]
    calls = [_read_call(item, names) for item in items]
    return [call for call in calls if call is not None] if calls and None not in calls else []


def _read_call(value: object, names: Collection[str]) -> tuple[str, str] | None:
    if not isinstance(value, dict):
        return None
    inner = value.get("function")
    if isinstance(inner, dict) and "name" not in value:
        value = inner
    name = value.get("name")
    if not isinstance(name, str) or name not in names:
        return None
    arguments = value["arguments"] if "arguments" in value else value.get("parameters")
    if isinstance(arguments, str):
        return (name, arguments) if _is_object(arguments) else None
    if arguments is None and set(value) <= {"name", "arguments", "parameters", "type"}:
        return name, "{}"
    return (name, _ENCODER.encode(arguments).decode()) if isinstance(arguments, dict) else None


def _is_object(text: str) -> bool:
    try:
        return isinstance(_DECODER.decode(text), dict)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return False
