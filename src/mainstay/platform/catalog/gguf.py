"""Reads the header of a GGUF file without trusting it: every count and length is checked before it is used.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

from mainstay.platform.catalog.errors import GgufError

_MAX_KEYS = 8192
_MAX_KEY_BYTES = 1024
_MAX_TENSORS = 65_536
_MAX_DIMENSIONS = 4
_MAX_KEPT_STRING_BYTES = 1 << 20
_MAX_ARRAY_ITEMS = 4_000_000
_MAX_HEADER_BYTES = 256 << 20
_TOKENS_KEY = "tokenizer.ggml.tokens"

Value = int | float | bool | str


class _Type(IntEnum):
    BOOL = 7
    STRING = 8
    ARRAY = 9


_SCALARS: Mapping[int, struct.Struct] = {
    number: struct.Struct("<" + code)
    for number, code in {
        0: "B",
        1: "b",
        2: "H",
        3: "h",
        4: "I",
        5: "i",
        6: "f",
        7: "B",
        10: "Q",
        11: "q",
        12: "d",
    }.items()
}

# Elements and bytes of a block, by tensor type; a type that is not here is newer than this table or not stored.
_BLOCKS: Mapping[int, tuple[int, int]] = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74),
    18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2),
    26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file says of itself. `values` holds the metadata but arrays."""

    version: int
    values: Mapping[str, Value]
    parameters: int
    known_tokens: frozenset[str] = field(default=frozenset())

    @property
    def architecture(self) -> str:
        """The name of the network, e.g. `qwen2`."""
        return self.text("general.architecture")

    @property
    def chat_template(self) -> str:
        """The Jinja template of a conversation; "" if there is none."""
        return self.text("tokenizer.chat_template")

    def text(self, key: str) -> str:
        """Return a string; "" if it is absent or something else."""
        value = self.values.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> int:
        """Return a whole number; 0 if it is absent or something else. `{arch}` stands for the architecture."""
        value = self.values.get(key.replace("{arch}", self.architecture))
        return value if isinstance(value, int) and not isinstance(value, bool) else 0


def read_header(path: Path, *, wanted_tokens: frozenset[str] = frozenset()) -> GgufHeader:
    """Read and check the header; `known_tokens` of the result are those of `wanted_tokens` in the vocabulary.

    Raises GgufError if the file is not a whole, single GGUF model.
    """
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            return _Reader(file, size_bytes, wanted_tokens).header()
    except OSError as error:
        raise GgufError(f"{path} cannot be read: {error.strerror}.") from error
    except _MalformedError as error:
        raise GgufError(f"{path} is not a GGUF model that can be served: {error}.") from error


class _MalformedError(Exception):
    """Where a header stops making sense."""


class _Reader:
    def __init__(self, file: BinaryIO, size_bytes: int, wanted_tokens: frozenset[str]) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self._limit = min(size_bytes, _MAX_HEADER_BYTES)
        self._position = 0
        self._wanted = {token.encode() for token in wanted_tokens}
        self._known: set[str] = set()

    def header(self) -> GgufHeader:
        if self._take(4) != b"GGUF":
            raise _MalformedError("it does not begin with 'GGUF'")
        version = self._integer("<I")
        if version not in (2, 3):
            raise _MalformedError(f"its version is {version}; versions 2 and 3 (little-endian) are read")
        tensors = self._count("<Q", "tensors", _MAX_TENSORS)
        keys = self._count("<Q", "metadata keys", _MAX_KEYS)
        values = self._values(keys)
        if values.get("split.count", 1) not in (0, 1):
            raise _MalformedError("it is one part of several; merge them with llama-gguf-split first")
        parameters, needed_bytes = self._tensors(tensors)
        self._check_data(values, needed_bytes)
        header = GgufHeader(version, values, parameters, frozenset(self._known))
        if not header.architecture:
            raise _MalformedError("it names no architecture")
        return header

    def _values(self, count: int) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for _ in range(count):
            key = self._string(_MAX_KEY_BYTES).decode("utf-8", "replace")
            value = self._value(self._integer("<I"), key)
            if value is not None:
                values[key] = value
        return values

    def _value(self, kind: int, key: str) -> Value | None:
        if kind == _Type.STRING:
            return self._string(_MAX_KEPT_STRING_BYTES).decode("utf-8", "replace")
        if kind == _Type.ARRAY:
            self._skip_array(key)
            return None
        if kind not in _SCALARS:
            raise _MalformedError(f"'{key[:80]}' has the unknown type {kind}")
        value: int | float = _SCALARS[kind].unpack(self._take(_SCALARS[kind].size))[0]
        return bool(value) if kind == _Type.BOOL else value

    def _skip_array(self, key: str) -> None:
        kind = self._integer("<I")
        count = self._count("<Q", f"items of '{key[:80]}'", _MAX_ARRAY_ITEMS)
        if kind == _Type.STRING:
            for _ in range(count):
                text = self._string(_MAX_KEPT_STRING_BYTES)
                if key == _TOKENS_KEY and text in self._wanted:
                    self._known.add(text.decode())
        elif kind in _SCALARS:
            self._skip(count * _SCALARS[kind].size)
        else:
            raise _MalformedError(f"'{key[:80]}' is an array of the unsupported type {kind}")

    def _tensors(self, count: int) -> tuple[int, int]:
        """Return the number of weights, and the bytes that the data must have."""
        if count == 0:
            raise _MalformedError("it has no tensors")
        parameters = needed_bytes = 0
        for _ in range(count):
            self._string(_MAX_KEY_BYTES)
            dimensions = self._count("<I", "dimensions", _MAX_DIMENSIONS)
            elements = 1
            for _ in range(dimensions):
                elements *= self._integer("<Q")
            kind, offset = self._integer("<I"), self._integer("<Q")
            block_elements, block_bytes = _BLOCKS.get(kind, (1, 0))
            needed_bytes = max(needed_bytes, offset + elements // block_elements * block_bytes)
            parameters += elements
        return parameters, needed_bytes

    def _check_data(self, values: Mapping[str, Value], needed_bytes: int) -> None:
        alignment = values.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20:
            raise _MalformedError("its alignment makes no sense")
        start = -(-self._position // alignment) * alignment
        if start + needed_bytes > self._size_bytes:
            raise _MalformedError(
                f"its tensors need {start + needed_bytes:,} bytes, the file has {self._size_bytes:,}; it is cut off"
            )

    def _count(self, form: str, what: str, at_most: int) -> int:
        count = self._integer(form)
        if count > at_most:
            raise _MalformedError(f"it claims {count:,} {what}; at most {at_most:,} are read")
        return count

    def _string(self, at_most: int) -> bytes:
        return self._take(self._count("<Q", "bytes in a text", at_most))

    def _integer(self, form: str) -> int:
        value: int = struct.unpack(form, self._take(struct.calcsize(form)))[0]
        return value

    def _take(self, count: int) -> bytes:
        self._advance(count)
        taken = self._file.read(count)
        if len(taken) != count:
            raise _MalformedError("it is cut off in the header")
        return taken

    def _skip(self, count: int) -> None:
        self._advance(count)
        self._file.seek(count, 1)

    def _advance(self, count: int) -> None:
        self._position += count
        if self._position > self._limit:
            raise _MalformedError("it is cut off in the header, or its header is too long")
