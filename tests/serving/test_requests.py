"""Reading a caller's body."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.inference import Operation
from mainstay.kit.errors import InvalidRequestError
from mainstay.serving.requests import estimate_tokens, read_request


def read(body, operation=Operation.CHAT, deployment=None):
    encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return read_request(operation, encoded, request_id="req_1", deployment=deployment)


def refusal(body, **options):
    with pytest.raises(InvalidRequestError) as raised:
        read(body, **options)
    return raised.value


def test_the_model_in_the_url_wins_over_the_one_in_the_body():
    name, _ = read({"model": "body", "messages": []}, deployment="url")
    assert name == "url"


def test_values_stay_encoded_byte_for_byte():
    _, request = read(b'{"model":"m","messages":[ {"role" : "user"} ],"x":1.00}')
    assert bytes(request.fields["messages"]) == b'[ {"role" : "user"} ]'
    assert bytes(request.fields["x"]) == b"1.00"


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (b"", None, "missing_required_parameter"),
        (b"{", None, "invalid_json"),
        (b"[]", None, "invalid_type"),
        (b'"text"', None, "invalid_type"),
        (b"\xff\xfe", None, "invalid_json"),
        (b'{"model": 5, "messages": []}', "model", "invalid_type"),
        (b'{"messages": []}', "model", "missing_required_parameter"),
        (b'{"model": "", "messages": []}', "model", "missing_required_parameter"),
        (b'{"model": null, "messages": []}', "model", "missing_required_parameter"),
        (b'{"model": "m"}', "messages", "missing_required_parameter"),
        (b'{"model": "m", "messages": [], "stream": "yes"}', "stream", "invalid_type"),
        (b'{"model": "m", "messages": [], "stream": true, "stream_options": 3}', "stream_options", "invalid_type"),
        (b'{"model": "' + b"m" * 300 + b'", "messages": []}', "model", "string_above_max_length"),
    ],
)
def test_what_is_wrong_is_named(body, param, code):
    error = refusal(body)
    assert (error.param, error.code, error.status) == (param, code, 400)


def test_a_body_nested_without_end_is_refused_and_nothing_breaks():
    assert refusal(b'{"model":"m","messages":' + b"[" * 200_000).status == 400


def test_stream_and_stream_options_may_be_null():
    _, request = read({"model": "m", "messages": [], "stream": None, "stream_options": None})
    assert not request.is_stream
    assert not request.wants_usage


def test_usage_is_wanted_only_by_a_stream_that_asks():
    options = {"stream_options": {"include_usage": True}}
    assert read({"model": "m", "messages": [], "stream": True, **options})[1].wants_usage
    assert not read({"model": "m", "messages": [], **options})[1].wants_usage


def test_embeddings_never_stream():
    assert not read({"model": "m", "input": "x", "stream": True}, operation=Operation.EMBEDDINGS)[1].is_stream


def estimate(**fields):
    return sum(estimate_tokens(read({"model": "m", "messages": [], **fields})[1]))


def test_an_estimate_counts_the_most_that_may_come():
    assert estimate(max_tokens=1000) > 1000
    assert estimate(max_completion_tokens=2000, max_tokens=1) > 2000
    assert estimate(max_tokens=100, n=5) > 500
    assert estimate(max_tokens=10**15) <= 100_000_100


def test_a_negative_maximum_is_refused():
    with pytest.raises(InvalidRequestError) as raised:
        estimate(max_tokens=-5)
    assert raised.value.param == "max_tokens"


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(body):
    try:
        read(body)
    except InvalidRequestError as error:
        assert error.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["model", "messages", "stream", "stream_options", "n", "max_tokens"]), JSON))
def test_any_json_is_read_or_refused(body):
    try:
        _, request = read(body)
        estimate_tokens(request)
    except InvalidRequestError as error:
        assert error.param
