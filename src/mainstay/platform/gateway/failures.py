"""The one place where what went wrong at a vendor becomes an InferenceError: its cause, and what the caller sees."""

import email.utils
import math
from collections.abc import Mapping

import msgspec

from mainstay.inference import Failure, InferenceError
from mainstay.kit import http
from mainstay.platform.gateway.provider import Provider
from mainstay.platform.gateway.vendor_error import VendorError

TIMED_OUT = 504, "upstream_timeout"
UNREACHABLE = 502, "upstream_unreachable"
INTERRUPTED = 502, "upstream_interrupted"
UNUSABLE = 502, "upstream_malformed_response"
OVERLOADED = 503, "upstream_overloaded"

TRANSPORT: Mapping[type[http.TransportError], tuple[Failure, tuple[int, str]]] = {
    http.ConnectRefused: (Failure.CONNECT_REFUSED, (503, "upstream_unreachable")),
    http.DnsFailure: (Failure.DNS, UNREACHABLE),
    http.TlsFailure: (Failure.TLS, UNREACHABLE),
    http.ForbiddenAddressError: (Failure.FORBIDDEN_ADDRESS, UNREACHABLE),
    http.ConnectTimeout: (Failure.CONNECT_TIMEOUT, TIMED_OUT),
    http.FirstByteTimeout: (Failure.FIRST_BYTE_TIMEOUT, TIMED_OUT),
    http.IdleTimeout: (Failure.IDLE_TIMEOUT, TIMED_OUT),
    http.DeadlineExceeded: (Failure.TOTAL_TIMEOUT, TIMED_OUT),
    http.ConnectionReset: (Failure.RESET, INTERRUPTED),
    http.Truncated: (Failure.TRUNCATED, INTERRUPTED),
    http.MalformedResponse: (Failure.MALFORMED, UNUSABLE),
    http.PoolExhausted: (Failure.OVERLOADED, OVERLOADED),
}

MODEL_GONE_CODES = frozenset(
    {
        "model_not_found",
        "deploymentnotfound",
        "model_not_available",
        "model_retired",
        "model_deprecated",
        "invalid_model",
    }
)
QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "quota_exceeded"})
STATUS_OF_CODE: Mapping[str, int] = {
    "rate_limit_exceeded": 429,
    "ratelimitreached": 429,
    "rate_limit_error": 429,
    "insufficient_quota": 429,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "content_filter": 400,
    "model_not_found": 404,
    "overloaded_error": 529,
    "overloaded": 529,
    "service_unavailable": 503,
    "serviceunavailable": 503,
}
"""For errors inside a 200, whose status can only be known by their words."""

MAX_RETRY_AFTER_SECONDS = 86_400.0


def from_transport(error: http.TransportError, provider: Provider) -> InferenceError:
    """Return the failure of a call whose answer did not arrive, or not whole."""
    failure, (status, code) = TRANSPORT[type(error)]
    message = f"Provider '{provider.name}' failed: {error.message}"
    return InferenceError(message, failure=failure, status=status, code=code)


def unusable(provider: Provider, what: str, *, failure: Failure = Failure.MALFORMED) -> InferenceError:
    """Return the failure of a call whose answer arrived and is no answer: `what` completes 'Provider x ...'."""
    status, code = INTERRUPTED if failure is Failure.TRUNCATED else UNUSABLE
    return InferenceError(f"Provider '{provider.name}' {what}.", failure=failure, status=status, code=code)


def from_error_object(raw: msgspec.Raw, provider: Provider) -> InferenceError:
    """Return the failure that a vendor reports inside a 200, classified as if it had come with its own status."""
    said = VendorError.of(raw)
    words = [word.lower() for word in (said.code, said.type) if word]
    status = next((STATUS_OF_CODE[word] for word in words if word in STATUS_OF_CODE), said.status)
    if status is not None and status not in (500, 502):
        error = from_status(status, {}, said, provider=provider, now=0.0)
        error.target_status = 200
        return error
    message = f"Provider '{provider.name}' reported an error inside its answer: {_quoted(said, provider)}"
    return InferenceError(message, failure=Failure.ERROR_IN_STREAM, target_status=200)


def from_status(
    status: int, headers: Mapping[bytes, bytes], said: VendorError, *, provider: Provider, now: float
) -> InferenceError:
    """Return the failure of a call that the vendor answered with an error status.

    `now` is the wall clock, for a Retry-After that is a date.
    """
    error = _classified(status, said, provider)
    error.target_status = status
    if error.status in (429, 503):
        error.retry_after_seconds = retry_after_seconds(headers, now)
    return error


def retry_after_seconds(headers: Mapping[bytes, bytes], now: float) -> float | None:
    """Read `retry-after-ms`, or `retry-after` as seconds or as a date (RFC 9110, 10.2.3)."""
    milliseconds = _number(headers.get(b"retry-after-ms"))
    if milliseconds is not None:
        return _bounded(milliseconds / 1000)
    value = headers.get(b"retry-after")
    seconds = _number(value)
    if seconds is None and value is not None:
        try:
            seconds = email.utils.parsedate_to_datetime(value.decode("latin-1")).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return None if seconds is None else _bounded(seconds)


def _classified(status: int, said: VendorError, provider: Provider) -> InferenceError:
    match status:
        case 404 | 410:
            return _model_gone(said, provider)
        case 400 | 422 if _is_about_model(said):
            return _model_gone(said, provider)
        case 400 | 413 | 422:
            return _callers_fault(status, said, provider)
        case 401 | 402:
            what = "refused our credentials" if status == 401 else "wants to be paid"
            return _operators_fault(what, Failure.CREDENTIALS_REFUSED, "upstream_credentials_refused", provider)
        case 403:
            what = "does not allow us to use this model"
            return _operators_fault(what, Failure.ENTITLEMENT_LOST, "upstream_entitlement_lost", provider)
        case 408 | 504:
            failure = Failure.TOTAL_TIMEOUT if status == 408 else Failure.SERVER_ERROR
            return _vendors_fault(status, said, provider, failure=failure, shown=TIMED_OUT)
        case 429:
            return _too_many(said, provider)
        case 503 | 529:
            return _vendors_fault(status, said, provider, failure=Failure.OVERLOADED, shown=OVERLOADED)
        case _ if status < 400:
            return unusable(provider, f"answered with status {status}; check its base_url")
        case _:
            shown = (503 if status == 409 else 502, "upstream_error")
            return _vendors_fault(status, said, provider, failure=Failure.SERVER_ERROR, shown=shown)


def _callers_fault(status: int, said: VendorError, provider: Provider) -> InferenceError:
    """The vendor's own words: the caller can mend the request only by them."""
    error = InferenceError(
        _quoted(said, provider),
        failure=Failure.INVALID_REQUEST,
        status=status,
        type=said.type or "invalid_request_error",
        param=said.param,
    )
    error.code = said.code or ("request_too_large" if status == 413 else None)
    if said.body is not None:
        error.body = provider.without_secrets(said.body.decode("utf-8", "replace")).encode()
    return error


def _operators_fault(what: str, failure: Failure, code: str, provider: Provider) -> InferenceError:
    """Nothing that the vendor says is passed on: it speaks about our account, and may quote our key."""
    message = f"Provider '{provider.name}' {what}. The operator must check its account and its key."
    return InferenceError(message, failure=failure, status=502, code=code)


def _vendors_fault(
    status: int, said: VendorError, provider: Provider, *, failure: Failure, shown: tuple[int, str]
) -> InferenceError:
    message = f"Provider '{provider.name}' failed with status {status}: {_quoted(said, provider)}"
    return InferenceError(message, failure=failure, status=shown[0], code=shown[1])


def _model_gone(said: VendorError, provider: Provider) -> InferenceError:
    message = f"Provider '{provider.name}' does not have the model behind this deployment: {_quoted(said, provider)}"
    return InferenceError(message, failure=Failure.MODEL_GONE, status=502, code="upstream_model_unavailable")


def _too_many(said: VendorError, provider: Provider) -> InferenceError:
    if QUOTA_CODES & {(said.code or "").lower(), (said.type or "").lower()}:
        message = f"The quota of provider '{provider.name}' is used up. The operator must raise it."
        code = "insufficient_quota"
        return InferenceError(message, failure=Failure.QUOTA_EXHAUSTED, status=429, code=code, type=code)
    return InferenceError(
        f"Provider '{provider.name}' is limiting our rate: {_quoted(said, provider)}",
        failure=Failure.RATE_LIMITED,
        status=429,
        code="rate_limit_exceeded",
        type=said.type if said.type in ("requests", "tokens") else "requests",
    )


def _is_about_model(said: VendorError) -> bool:
    """The model's name is ours, not the caller's: a complaint about it is no fault of the request."""
    return (said.code or "").lower() in MODEL_GONE_CODES or said.param == "model"


def _quoted(said: VendorError, provider: Provider) -> str:
    return provider.without_secrets(said.message) if said.message else "it gave no reason."


def _number(value: bytes | None) -> float | None:
    try:
        number = float(value) if value is not None else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)
