"""An embedding model of a few KB in ONNX, with its tokenizer: a table that gives each of 27 words a random vector.

It has the inputs and the output of a sentence-transformers model, so that whatever runs those runs it. The file is
written field by field after onnx.proto (IR version 8), which saves a dependency on the package `onnx`.
"""

import json
import string
from pathlib import Path

import numpy as np

DIMENSIONS = 16
_WORDS = ("[UNK]", *string.ascii_lowercase)
_FLOAT, _INT64 = 1, 7
"""TensorProto.DataType."""
_VARINT, _BYTES = 0, 2
"""Wire types of protocol buffers."""


def write_tiny_embedder(directory: Path, *, seed: int = 7) -> tuple[Path, Path]:
    """Write `model.onnx` and `tokenizer.json` to the directory and return their paths."""
    model_path, tokenizer_path = directory / "model.onnx", directory / "tokenizer.json"
    model_path.write_bytes(_model(seed))
    tokenizer_path.write_text(json.dumps(_tokenizer()))
    return model_path, tokenizer_path


def _tokenizer() -> dict[str, object]:
    return {
        "version": "1.0",
        # As in published files: these cut and pad unless they are switched off.
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(_WORDS)}, "unk_token": "[UNK]"},
    }


def _model(seed: int) -> bytes:
    table = np.random.default_rng(seed).standard_normal((len(_WORDS), DIMENSIONS)).astype("<f4")
    initializer = (
        b"".join(_number(1, size) for size in table.shape)
        + _number(2, _FLOAT)
        + _text(8, "table")
        + _field(9, table.tobytes())
    )
    node = _text(1, "table") + _text(1, "input_ids") + _text(2, "last_hidden_state") + _text(4, "Gather")
    inputs = ("input_ids", "attention_mask", "token_type_ids")
    graph = (
        _field(1, node)
        + _text(2, "tiny")
        + _field(5, initializer)
        + b"".join(_field(11, _value(name, _INT64, "batch", "sequence")) for name in inputs)
        + _field(12, _value("last_hidden_state", _FLOAT, "batch", "sequence", DIMENSIONS))
    )
    return _number(1, 8) + _field(7, graph) + _field(8, _number(2, 17))


def _value(name: str, element_type: int, *shape: str | int) -> bytes:
    sizes = b"".join(_field(1, _number(1, size) if isinstance(size, int) else _text(2, size)) for size in shape)
    tensor_type = _number(1, element_type) + _field(2, sizes)
    return _text(1, name) + _field(2, _field(1, tensor_type))


def _text(number: int, value: str) -> bytes:
    return _field(number, value.encode())


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3 | _VARINT) + _varint(value)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
