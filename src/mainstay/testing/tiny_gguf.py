"""A valid GGUF model of 490 KB with random weights: it loads in 15 ms and says nothing that makes sense.

For tests of what surrounds an engine (crashes, cancellation, draining, eviction), which need no real weights.
"""

from pathlib import Path

import numpy as np

_CONTEXT_TOKENS = 512
_EMBEDDING = 64
_FEED_FORWARD = 128
_BLOCKS = 2
_HEADS = 4
_UNKNOWN, _NORMAL, _CONTROL, _BYTE = 2, 1, 3, 6
"""Token types of the format: `enum llama_token_type` in llama.cpp's llama.h."""
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN"


def write_tiny_gguf(path: Path, *, context_tokens: int = _CONTEXT_TOKENS, seed: int = 7) -> Path:
    """Write the model to `path` and return it. The same seed gives the same bytes. Needs the package `gguf`."""
    import gguf

    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(context_tokens)
    writer.add_embedding_length(_EMBEDDING)
    writer.add_feed_forward_length(_FEED_FORWARD)
    writer.add_block_count(_BLOCKS)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_EMBEDDING // _HEADS)
    tokens, types = _vocabulary()
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    for name, tensor in _tensors(len(tokens), seed).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _vocabulary() -> tuple[list[bytes], list[int]]:
    special = [b"<unk>", b"<s>", b"</s>"]
    byte_tokens = [f"<0x{value:02X}>".encode() for value in range(256)]
    words = [f"\u2581{letter}".encode() for letter in _LETTERS]
    types = [_UNKNOWN, _CONTROL, _CONTROL] + [_BYTE] * len(byte_tokens) + [_NORMAL] * len(words)
    return special + byte_tokens + words, types


def _tensors(vocabulary_size: int, seed: int) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    generator = np.random.default_rng(seed)

    def noise(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return (generator.standard_normal(shape) * 0.05).astype(np.float32)

    def ones() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return np.ones(_EMBEDDING, dtype=np.float32)

    tensors = {"token_embd.weight": noise(vocabulary_size, _EMBEDDING)}
    for block in range(_BLOCKS):
        prefix = f"blk.{block}."
        tensors[prefix + "attn_norm.weight"] = ones()
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors[f"{prefix}{name}.weight"] = noise(_EMBEDDING, _EMBEDDING)
        tensors[prefix + "ffn_norm.weight"] = ones()
        tensors[prefix + "ffn_gate.weight"] = noise(_FEED_FORWARD, _EMBEDDING)
        tensors[prefix + "ffn_up.weight"] = noise(_FEED_FORWARD, _EMBEDDING)
        tensors[prefix + "ffn_down.weight"] = noise(_EMBEDDING, _FEED_FORWARD)
    tensors["output_norm.weight"] = ones()
    tensors["output.weight"] = noise(vocabulary_size, _EMBEDDING)
    return tensors
