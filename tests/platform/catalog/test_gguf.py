import random
import struct
from pathlib import Path

import gguf as reference
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.platform.catalog.gguf_files import METADATA, gguf, text

from mainstay.platform.catalog.errors import GgufError
from mainstay.platform.catalog.gguf import _BLOCKS, read_header


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    return path


def test_a_header_tells_what_a_model_is(tmp_path: Path):
    header = read_header(write(tmp_path, gguf()), wanted_tokens=frozenset({"<|fim_prefix|>", "<fim_prefix>"}))
    assert header.architecture == "qwen2"
    assert header.number("{arch}.context_length") == 512
    assert header.parameters == 256
    assert "messages" in header.chat_template
    assert header.known_tokens == {"<|fim_prefix|>"}
    assert header.values["qwen2.rope.freq_base"] == 10000.0
    assert header.values["tokenizer.ggml.add_bos_token"] is False
    assert "tokenizer.ggml.tokens" not in header.values


def test_the_block_sizes_are_those_of_the_reference():
    known = {int(kind): sizes for kind, sizes in reference.GGML_QUANT_SIZES.items()}
    assert {kind: known[kind] for kind in _BLOCKS} == dict(_BLOCKS)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cut off in the header"),
        (b"GG", "cut off in the header"),
        (b"PK\3\4" + b"\0" * 100, "does not begin with 'GGUF'"),
        (gguf(magic=b"ggml"), "does not begin with 'GGUF'"),
        (gguf(version=1), "version is 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 1, 1) + b"\0" * 100, "little-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 63, 1), "claims 9,223,372,036,854,775,808 tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 1 << 63), "metadata keys"),
        (gguf(keys=1000), "is not a GGUF model"),
        (gguf(keys=1), "is not a GGUF model"),
        (gguf(tensors=()), "no tensors"),
        (gguf({k: v for k, v in METADATA.items() if k != "general.architecture"}), "names no architecture"),
        (gguf({**METADATA, "general.architecture": 5}), "names no architecture"),
        (gguf({**METADATA, "general.alignment": 0}), "alignment"),
        (gguf({**METADATA, "general.alignment": "many"}), "alignment"),
        (gguf({**METADATA, "split.count": 3}), "one part of several"),
        (gguf(data_bytes=1000), "it is cut off"),
        (gguf(tensors=(("w", (1 << 40, 1 << 40), 0),)), "it is cut off"),
        (gguf(tensors=(("w", (1,) * 5, 0),)), "claims 5 dimensions"),
        (gguf(keys=len(METADATA) + 1, extra=text("k") + struct.pack("<I", 99)), "unknown type 99"),
        (gguf(keys=len(METADATA) + 1, extra=text("k") + struct.pack("<IQ", 8, 1 << 62)), "bytes in a text"),
        (gguf(keys=len(METADATA) + 1, extra=struct.pack("<Q", 1 << 40)), "bytes in a text"),
        (gguf(keys=len(METADATA) + 1, extra=text("k") + struct.pack("<IIQ", 9, 8, 1 << 40)), "items of 'k'"),
        (
            gguf(keys=len(METADATA) + 1, extra=text("k") + struct.pack("<IIQ", 9, 10, 3_000_000)),
            "cut off in the header",
        ),
        (gguf(keys=len(METADATA) + 1, extra=text("k") + struct.pack("<IIQ", 9, 9, 2)), "unsupported type 9"),
    ],
)
def test_a_hostile_or_broken_header_is_refused_with_its_reason(tmp_path: Path, content: bytes, reason: str):
    with pytest.raises(GgufError) as caught:
        read_header(write(tmp_path, content))
    assert reason in caught.value.message
    assert len(caught.value.message) < 500


def test_every_truncation_is_refused(tmp_path: Path):
    whole = gguf()
    for length in range(len(whole)):
        with pytest.raises(GgufError):
            read_header(write(tmp_path, whole[:length]))


def test_many_mutations_end_in_a_header_or_a_clear_error(tmp_path: Path):
    generator = random.Random(11)
    whole = gguf()
    path = tmp_path / "model.gguf"
    for _ in range(2_000):
        spoiled = bytearray(whole)
        for _ in range(generator.randint(1, 8)):
            spoiled[generator.randrange(len(whole) - 1024)] = generator.choice(
                (0, 1, 0x7F, 0x80, 0xFF, generator.randrange(256))
            )
        path.write_bytes(spoiled)
        try:
            read_header(path)
        except GgufError:
            continue


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tail=st.binary(max_size=400))
def test_noise_after_the_magic_ends_in_a_clear_error(tmp_path: Path, tail: bytes):
    with pytest.raises(GgufError):
        read_header(write(tmp_path, b"GGUF" + struct.pack("<IQQ", 3, 1, 2) + tail))


@pytest.mark.parametrize("make", [lambda path: path, lambda path: path / "missing.gguf"])
def test_what_cannot_be_read_is_a_clear_error(tmp_path: Path, make):
    with pytest.raises(GgufError, match="cannot be read"):
        read_header(make(tmp_path))
