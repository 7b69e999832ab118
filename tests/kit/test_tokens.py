"""cl100k_base back into text, against the package's own encoder."""

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.kit.errors import InvalidRequestError
from mainstay.kit.tokens import TokenReader, read_vocabulary


@pytest.fixture(scope="module")
def reader() -> TokenReader:
    return TokenReader()


@pytest.fixture(scope="module")
def encoding():  # type: ignore[no-untyped-def]
    with warnings.catch_warnings():
        # bpe_openai 0.1.4 opens its data by a deprecated function of importlib.resources.
        warnings.simplefilter("ignore", DeprecationWarning)
        import bpe_openai
    return bpe_openai.get_encoding("cl100k_base")


def test_known_tokens_become_their_text(reader: TokenReader) -> None:
    assert reader.text([15339, 1917], "prompt") == "hello world"
    assert reader.text([], "prompt") == ""
    assert reader.text([100257], "prompt") == "<|endoftext|>"


@settings(max_examples=100, deadline=None)
@given(text=st.text())
def test_any_text_survives_the_round_trip(text: str, reader: TokenReader, encoding) -> None:  # type: ignore[no-untyped-def]
    assert reader.text(encoding.encode(text), "prompt") == text


def test_half_a_character_becomes_a_replacement(reader: TokenReader) -> None:
    assert reader.text([104], "prompt") == "\ufffd"


@pytest.mark.parametrize("token", [-1, 100256, 100261, 100275, 100277, 2**40])
def test_unknown_id_is_refused_with_its_place(reader: TokenReader, token: int) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        reader.text([15339, token], "input[3]")
    assert caught.value.status == 400
    assert caught.value.param == "input[3][1]"


async def test_vocabulary_is_loaded_only_for_fields_that_may_hold_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = 0

    def counted() -> dict[int, bytes]:
        nonlocal loads
        loads += 1
        return {1: b"a"}

    monkeypatch.setattr("mainstay.kit.tokens.read_vocabulary", counted)
    reader = TokenReader()
    for field in (b'"text [1]"', b'["a", "b"]', b"[]", b"5", b""):
        await reader.prepare(field)
    assert loads == 0
    for field in (b" [ 1]", b"[[1]]", b'["a",[1]]'):
        await reader.prepare(field)
    assert loads == 1
    assert reader.text([1], "p") == "a"


def test_every_token_of_the_encoding_is_there() -> None:
    assert len(read_vocabulary()) == 100_256 + 5
