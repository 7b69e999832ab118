"""Errors and headers as each vendor's clients expect them."""

import json

import pytest

from mainstay.api.dialects import AzureDialect, Dialect
from mainstay.api.scim.dialect import ScimDialect
from mainstay.inference import Failure, InferenceError
from mainstay.kit.database import DatabaseError
from mainstay.kit.database.interface import RowRefusedError
from mainstay.kit.errors import (
    InvalidRequestError,
    MainstayError,
    NotFoundError,
    RateLimitedError,
    UnauthenticatedError,
    UnavailableError,
)
from mainstay.platform.metering.budget_counters import Budget, BudgetReachedError
from mainstay.platform.metering.limiter import Allowance, Limiter, Remaining, Scope
from mainstay.platform.metering.periods import Period
from mainstay.testing.clock import StandingClock

OPENAI, AZURE = Dialect("site-1"), AzureDialect("site-1")


def body(dialect, error):
    return json.loads(dialect.error_body(error))["error"]


def test_openais_error_has_its_four_members_always():
    told = body(OPENAI, MainstayError("broken"))
    assert told == {"message": "broken", "type": "server_error", "param": None, "code": None}


@pytest.mark.parametrize("dialect", [OPENAI, AZURE, ScimDialect("site-1")], ids=["openai", "azure", "scim"])
@pytest.mark.parametrize("kind", [DatabaseError, RowRefusedError])
def test_where_the_database_is_and_what_it_said_are_no_callers_concern(dialect, kind):
    error = kind("The database at db.internal/mainstay failed: relation users_by_email.")
    told = dialect.error_body(error).decode()
    assert not [word for word in ("db.internal", "mainstay failed", "relation", "users_by") if word in told]
    assert "again" in told


def test_azures_request_faults_are_as_openais():
    error = InvalidRequestError("no", param="messages[0].role", code="invalid_value")
    assert body(AZURE, error) == body(OPENAI, error)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnauthenticatedError("no"), "401"),
        (NotFoundError("no", code="model_not_found"), "DeploymentNotFound"),
        (NotFoundError("no", code="404"), "404"),
        (RateLimitedError("no"), "429"),
        (UnavailableError("no"), "ServiceUnavailable"),
        (MainstayError("no"), "InternalServerError"),
        (MainstayError("no", status=410, code="api_retired"), "api_retired"),
    ],
)
def test_azures_codes(error, code):
    assert body(AZURE, error)["code"] == code


def test_what_a_vendor_says_beyond_the_four_members_is_passed_on():
    error = InferenceError("filtered", failure=Failure.INVALID_REQUEST, status=400, code="content_filter")
    error.body = b'{"message":"theirs","innererror":{"code":"ResponsibleAIPolicyViolation"}}'
    for dialect in (OPENAI, AZURE):
        told = body(dialect, error)
        assert told["innererror"] == {"code": "ResponsibleAIPolicyViolation"}
        assert told["message"] == "filtered"


def headers(dialect, error):
    return {name.decode(): value.decode() for name, value in dialect.error_headers(error)}


def test_retry_after_is_given_in_seconds_and_milliseconds():
    told = headers(OPENAI, RateLimitedError("slow down", retry_after_seconds=1.25))
    assert told == {"retry-after": "2", "retry-after-ms": "1250"}


@pytest.mark.parametrize("code", ["a\r\nset-cookie: b", "caf\xe9", "x" * 2000, None])
def test_a_vendors_code_that_is_no_word_stays_out_of_the_headers(code):
    error = InferenceError("no", failure=Failure.INVALID_REQUEST, status=400)
    error.code = code
    assert "x-ms-error-code" not in headers(AZURE, error)
    assert body(AZURE, error)["code"] == code


def test_a_vendors_code_is_in_the_headers_for_azures_callers():
    error = InferenceError("no", failure=Failure.INVALID_REQUEST, status=400, code="content_filter")
    assert headers(AZURE, error) == {"x-ms-error-code": "content_filter"}


def test_an_empty_quota_tells_the_sdk_not_to_try_again():
    assert headers(OPENAI, RateLimitedError("spent", code="insufficient_quota"))["x-should-retry"] == "false"


def test_used_up_budget_looks_as_a_used_up_quota_of_the_vendor():
    budget = Budget("budget_1", "user user_1", Period.DAY, tokens=10)
    limiter = Limiter(StandingClock())
    scopes = (Scope("user user_1", requests_per_minute=5, budgets=(budget,)),)
    limiter.reserve(scopes, tokens=10).settle(10)
    with pytest.raises(BudgetReachedError) as caught:
        limiter.reserve(scopes, tokens=1)
    told = body(OPENAI, caught.value)
    assert (told["type"], told["code"], told["param"]) == ("insufficient_quota", "insufficient_quota", None)
    assert told["message"].startswith("The daily budget of user user_1 is used up: 10 tokens.")
    for dialect in (OPENAI, AZURE):
        found = headers(dialect, caught.value)
        assert found["x-should-retry"] == "false"
        assert "retry-after" not in found


@pytest.mark.parametrize(
    ("seconds", "openai", "azure"), [(0, "0s", "0"), (0.12, "120ms", "1"), (8, "8s", "8"), (360, "6m0s", "360")]
)
def test_reset_times_are_written_as_each_vendor_writes_them(seconds, openai, azure):
    remaining = Remaining(requests=Allowance(limit=60, remaining=59, reset_seconds=seconds))
    name = b"x-ratelimit-reset-requests"
    assert dict(OPENAI.limit_headers(remaining))[name].decode() == openai
    assert dict(AZURE.limit_headers(remaining))[name].decode() == azure


def test_without_limits_there_are_no_limit_headers():
    assert OPENAI.limit_headers(Remaining()) == []


CHUNK = b'{"choices":[{"delta":{}}]}'
PRELUDE = b'{"choices":[],"prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"hate":{}}}]}'


def test_azures_callers_get_the_vendors_annotations_or_empty_ones():
    assert AZURE.first_chunks([PRELUDE, CHUNK]) == [PRELUDE, CHUNK]
    added, chunk = AZURE.first_chunks([CHUNK])
    assert json.loads(added)["prompt_filter_results"] == [{"prompt_index": 0, "content_filter_results": {}}]
    assert chunk == CHUNK


def test_annotations_may_come_with_null_in_place_of_choices():
    prelude = PRELUDE.replace(b"[],", b"null,", 1)
    assert AZURE.first_chunks([prelude, CHUNK]) == [prelude, CHUNK]
    assert OPENAI.first_chunks([prelude, CHUNK]) == [CHUNK]


def test_openais_callers_never_see_a_chunk_without_choices_first():
    assert OPENAI.first_chunks([PRELUDE, CHUNK]) == [CHUNK]
    assert OPENAI.first_chunks([PRELUDE]) == []
    assert OPENAI.first_chunks([CHUNK]) == [CHUNK]
    assert OPENAI.first_chunks([]) == []


def test_header_values_from_callers_are_echoed_as_they_are():
    request = {b"x-client-request-id": b"abc", b"x-ms-client-request-id": b"def"}
    assert (b"x-client-request-id", b"abc") in OPENAI.headers("req_1", request, 0.0)
    assert (b"x-ms-client-request-id", b"def") in AZURE.headers("req_1", request, 0.0)
