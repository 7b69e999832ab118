"""A secret text shows itself to nobody who does not ask for it by name."""

import copy
import json
import pickle

import msgspec
import pytest

from mainstay.kit.secret_text import Secret


def test_secret_hides_itself_and_reveals_on_demand():
    secret = Secret("sk-hidden")
    assert secret.reveal() == "sk-hidden"
    for text in (repr(secret), str(secret), f"{secret}", f"{[secret]}", f"{secret!r:>20}"):
        assert "hidden" not in text
        assert "Secret(****)" in text


@pytest.mark.parametrize("encode", [json.dumps, msgspec.json.encode, msgspec.to_builtins, pickle.dumps, copy.deepcopy])
def test_secret_is_never_serialised(encode):
    with pytest.raises(TypeError):
        encode(Secret("sk-hidden"))


def test_secrets_compare_by_their_text_and_with_nothing_else():
    assert Secret("a") == Secret("a")
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert Secret("a") != "a"
    assert not Secret("")
