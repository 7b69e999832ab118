"""Writes small GGUF files, whole and wrong."""

import struct
from collections.abc import Mapping, Sequence


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def value_of(value: object) -> bytes:
    match value:
        case bool():
            return struct.pack("<IB", 7, value)
        case int():
            return struct.pack("<II", 4, value)
        case float():
            return struct.pack("<If", 6, value)
        case str():
            return struct.pack("<I", 8) + text(value)
        case list() if value and isinstance(value[0], str):
            return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
        case list():
            return struct.pack("<IIQ", 9, 5, len(value)) + struct.pack(f"<{len(value)}i", *value)
    raise TypeError(value)


METADATA: Mapping[str, object] = {
    "general.architecture": "qwen2",
    "general.name": "Tiny",
    "general.file_type": 2,
    "general.license": "mit",
    "qwen2.context_length": 512,
    "qwen2.block_count": 2,
    "qwen2.embedding_length": 64,
    "qwen2.attention.head_count": 4,
    "qwen2.attention.head_count_kv": 2,
    "qwen2.rope.freq_base": 10000.0,
    "tokenizer.ggml.add_bos_token": False,
    "tokenizer.ggml.tokens": ["a", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"],
    "tokenizer.ggml.token_type": [1, 3, 3, 3],
    "tokenizer.chat_template": "{% for m in messages %}{{ m }}<tool_call>{% endfor %}",
}


def gguf(
    metadata: Mapping[str, object] = METADATA,
    *,
    version: int = 3,
    magic: bytes = b"GGUF",
    tensors: Sequence[tuple[str, tuple[int, ...], int]] = (("w", (64, 4), 0),),
    keys: int | None = None,
    data_bytes: int = 1024,
    extra: bytes = b"",
) -> bytes:
    """Return a GGUF file of float tensors; `keys` lies about the number of metadata keys."""
    head = magic + struct.pack("<IQQ", version, len(tensors), len(metadata) if keys is None else keys)
    head += b"".join(text(key) + value_of(value) for key, value in metadata.items()) + extra
    for name, dimensions, kind in tensors:
        head += text(name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, kind, 0)
    return head + b"\0" * (-len(head) % 32) + b"\1" * data_bytes
