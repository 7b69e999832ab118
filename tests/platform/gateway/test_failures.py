"""Statuses and error objects of vendors, classified."""

import msgspec
import pytest

from mainstay.inference import Failure
from mainstay.kit import http
from mainstay.platform.gateway import Provider, ProviderKind, failures
from mainstay.platform.gateway.vendor_error import VendorError

KEY = "sk-vendor-secret-0123456789"
PROVIDER = Provider("acme", ProviderKind.OPENAI, "https://acme.example/v1", api_key=KEY)


def classify(status, body=b"", headers=None, now=0.0):
    if isinstance(body, dict):
        body = msgspec.json.encode({"error": body})
    return failures.from_status(status, headers or {}, VendorError.parse(body), provider=PROVIDER, now=now)


CASES = [
    (
        400,
        {"message": "bad", "code": "unknown_parameter", "param": "x"},
        Failure.INVALID_REQUEST,
        400,
        "unknown_parameter",
    ),
    (422, {"message": "bad"}, Failure.INVALID_REQUEST, 422, None),
    (413, b"<html>", Failure.INVALID_REQUEST, 413, "request_too_large"),
    (400, {"message": "gone", "code": "model_not_found"}, Failure.MODEL_GONE, 502, "upstream_model_unavailable"),
    (400, {"message": "gone", "param": "model"}, Failure.MODEL_GONE, 502, "upstream_model_unavailable"),
    (404, {"message": "x", "code": "DeploymentNotFound"}, Failure.MODEL_GONE, 502, "upstream_model_unavailable"),
    (404, b"", Failure.MODEL_GONE, 502, "upstream_model_unavailable"),
    (410, b"gone", Failure.MODEL_GONE, 502, "upstream_model_unavailable"),
    (401, {"message": KEY}, Failure.CREDENTIALS_REFUSED, 502, "upstream_credentials_refused"),
    (402, {}, Failure.CREDENTIALS_REFUSED, 502, "upstream_credentials_refused"),
    (403, {"message": "no"}, Failure.ENTITLEMENT_LOST, 502, "upstream_entitlement_lost"),
    (408, b"", Failure.TOTAL_TIMEOUT, 504, "upstream_timeout"),
    (409, {"message": "busy"}, Failure.SERVER_ERROR, 503, "upstream_error"),
    (429, {"message": "slow", "type": "tokens"}, Failure.RATE_LIMITED, 429, "rate_limit_exceeded"),
    (429, {"code": "429", "message": "slow"}, Failure.RATE_LIMITED, 429, "rate_limit_exceeded"),
    (429, {"code": "insufficient_quota"}, Failure.QUOTA_EXHAUSTED, 429, "insufficient_quota"),
    (429, {"type": "insufficient_quota", "code": None}, Failure.QUOTA_EXHAUSTED, 429, "insufficient_quota"),
    (500, {"message": "oops"}, Failure.SERVER_ERROR, 502, "upstream_error"),
    (502, b"<html>", Failure.SERVER_ERROR, 502, "upstream_error"),
    (503, {"message": "full"}, Failure.OVERLOADED, 503, "upstream_overloaded"),
    (529, {"message": "full"}, Failure.OVERLOADED, 503, "upstream_overloaded"),
    (504, b"", Failure.SERVER_ERROR, 504, "upstream_timeout"),
    (418, b"", Failure.SERVER_ERROR, 502, "upstream_error"),
    (302, b"", Failure.MALFORMED, 502, "upstream_malformed_response"),
    (204, b"", Failure.MALFORMED, 502, "upstream_malformed_response"),
]


@pytest.mark.parametrize(("status", "body", "failure", "shown", "code"), CASES)
def test_every_status_has_its_cause_and_its_face(status, body, failure, shown, code):
    error = classify(status, body)
    assert (error.failure, error.status, error.code, error.target_status) == (failure, shown, code, status)
    assert KEY not in error.message
    final = {"invalid_request", "credentials_refused", "entitlement_lost", "model_gone", "quota_exhausted"}
    assert error.can_retry == (failure not in final)


def test_the_callers_mistake_is_told_in_the_vendors_words_without_our_key():
    error = classify(400, {"message": f"key {KEY} says no", "type": "t", "param": "messages[0]", "code": "c", "x": KEY})
    assert error.message == "key [removed] says no"
    assert (error.type, error.param, error.code) == ("t", "messages[0]", "c")
    assert KEY.encode() not in error.body


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({b"retry-after-ms": b"250", b"retry-after": b"9"}, 0.25),
        ({b"retry-after": b"1.5"}, 1.5),
        ({b"retry-after": b"Thu, 01 Jan 1970 00:02:00 GMT"}, 20.0),
        ({b"retry-after": b"Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({b"retry-after": b"-5"}, 0.0),
        ({b"retry-after": b"nan"}, None),
        ({b"retry-after": b"1e999"}, None),
        ({b"retry-after": b"1e9"}, 86_400.0),
        ({b"retry-after": b"soon"}, None),
        ({b"retry-after-ms": b"x", b"retry-after": b"2"}, 2.0),
        ({}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_read_in_every_form(headers, seconds, status):
    assert classify(status, headers=headers, now=100.0).retry_after_seconds == seconds


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b'{"error":null}',
        b'{"error":[1]}',
        b'{"error":"plain words"}',
        b'{"error":{"message":{"a":1},"code":[],"type":3}}',
        b'{"statusCode":401,"message":"Unauthorized."}',
        b'{"detail":"Not Found"}',
        b"\xff\xfe",
        b'{"error":' + b"[" * 100_000,
        b'{"error":{"message":"' + b"x" * 100_000 + b'"}}',
    ],
)
def test_whatever_a_vendor_sends_with_an_error_status_is_survived(body):
    assert len(classify(500, body).message) < 3_000


@pytest.mark.parametrize(
    ("raw", "failure", "status"),
    [
        (b'{"message":"x","type":"server_error"}', Failure.ERROR_IN_STREAM, 502),
        (b'"words"', Failure.ERROR_IN_STREAM, 502),
        (b'{"message":"x","code":"rate_limit_exceeded"}', Failure.RATE_LIMITED, 429),
        (b'{"message":"x","type":"overloaded_error"}', Failure.OVERLOADED, 503),
        (b'{"message":"x","code":"insufficient_quota"}', Failure.QUOTA_EXHAUSTED, 429),
        (b'{"message":"x","code":"content_filter"}', Failure.INVALID_REQUEST, 400),
        (b'{"message":"x","code":"context_length_exceeded"}', Failure.INVALID_REQUEST, 400),
        (b'{"message":"x","code":429}', Failure.RATE_LIMITED, 429),
        (b'{"message":"x","code":"401"}', Failure.CREDENTIALS_REFUSED, 502),
    ],
)
def test_an_error_inside_a_200_is_classified_by_its_words(raw, failure, status):
    error = failures.from_error_object(msgspec.Raw(raw), PROVIDER)
    assert (error.failure, error.status, error.target_status) == (failure, status, 200)


def test_every_transport_error_has_a_cause():
    def leaves(kind):
        return [kind] if not kind.__subclasses__() else [leaf for sub in kind.__subclasses__() for leaf in leaves(sub)]

    for kind in leaves(http.TransportError):
        error = failures.from_transport(kind("x happened."), PROVIDER)
        assert error.status in (502, 503, 504)
        assert error.can_retry == (kind is not http.ForbiddenAddressError)


def test_secrets_are_not_shown_by_a_provider():
    provider = Provider(
        "p", ProviderKind.OPENAI, "http://h", api_key=KEY, headers=(("x", KEY),), proxy=f"http://u:{KEY}@p"
    )
    assert KEY not in repr(provider)
