"""How a model call fails: one class of error, and a closed set of causes.

The cause decides what may follow: try here again, go elsewhere, or tell the caller.
"""

from enum import StrEnum

from mainstay.kit.errors import MainstayError


class Failure(StrEnum):
    """Why a target did not answer. The values are stable: they are written to usage records."""

    CONNECT_REFUSED = "connect_refused"
    DNS = "dns"
    TLS = "tls"
    FORBIDDEN_ADDRESS = "forbidden_address"
    CONNECT_TIMEOUT = "connect_timeout"
    FIRST_BYTE_TIMEOUT = "first_byte_timeout"
    IDLE_TIMEOUT = "idle_timeout"
    TOTAL_TIMEOUT = "total_timeout"
    RESET = "reset"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    ERROR_IN_STREAM = "error_in_stream"
    MISCONFIGURED = "misconfigured"
    INVALID_REQUEST = "invalid_request"
    CREDENTIALS_REFUSED = "credentials_refused"
    ENTITLEMENT_LOST = "entitlement_lost"
    MODEL_GONE = "model_gone"
    RATE_LIMITED = "rate_limited"
    QUOTA_EXHAUSTED = "quota_exhausted"
    SERVER_ERROR = "server_error"
    OVERLOADED = "overloaded"
    ENGINE_DIED = "engine_died"
    ENGINE_BUSY = "engine_busy"
    ENGINE_UNAVAILABLE = "engine_unavailable"


FINAL_FAILURES = frozenset(
    {
        Failure.FORBIDDEN_ADDRESS,
        Failure.MISCONFIGURED,
        Failure.INVALID_REQUEST,
        Failure.CREDENTIALS_REFUSED,
        Failure.ENTITLEMENT_LOST,
        Failure.MODEL_GONE,
        Failure.QUOTA_EXHAUSTED,
    }
)
"""Causes that the same call to the same target will meet again."""


class InferenceError(MainstayError):
    """A target failed to answer a call.

    `status`, `code`, `type` and `param` are what the *caller* may see; the target's own status is in
    `target_status`. A target's 401 or 403 is never the caller's: it becomes 502. `body` is the target's own
    error object as JSON where the caller may see more of it than message, type, param and code (Azure's
    `innererror`, for one).
    """

    status = 502
    code: str | None = "upstream_error"
    type = "server_error"

    def __init__(
        self,
        message: str,
        *,
        failure: Failure,
        target_status: int | None = None,
        param: str | None = None,
        status: int | None = None,
        code: str | None = None,
        type: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(
            message,
            param=param,
            status=status,
            code=code,
            type=type,
            retry_after_seconds=retry_after_seconds,
            can_retry=failure not in FINAL_FAILURES,
        )
        self.failure = failure
        self.target_status = target_status
        self.body: bytes | None = None
