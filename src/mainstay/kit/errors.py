"""The root of every error that Mainstay raises on purpose.

An error knows its HTTP status, its wire code and whether trying again can help, so that any edge (HTTP
dialects, the CLI, a log line) can render it without knowing where it came from.
"""


class MainstayError(Exception):
    """Something went wrong that a caller or an operator can act on.

    The message says what happened, to what, and what to do. Class attributes are the defaults; an instance
    may override any of them by keyword.
    """

    status: int = 500
    code: str | None = None
    type: str = "server_error"
    can_retry: bool = False

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        status: int | None = None,
        code: str | None = None,
        type: str | None = None,
        can_retry: bool | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_seconds = retry_after_seconds
        if status is not None:
            self.status = status
        if code is not None:
            self.code = code
        if type is not None:
            self.type = type
        if can_retry is not None:
            self.can_retry = can_retry

    @property
    def told(self) -> str:
        """What callers are told: the message, unless it is meant for the operator alone."""
        return self.message


class InvalidRequestError(MainstayError):
    """The caller sent something that cannot be served; `param` is the JSON path, e.g. `messages[0].content`."""

    status = 400
    type = "invalid_request_error"


class BodyTooLargeError(InvalidRequestError):
    """The request body is larger than the server accepts."""

    status = 413
    code = "request_too_large"


class UnauthenticatedError(MainstayError):
    """No credential, or one that is unknown, expired or revoked."""

    status = 401
    code = "invalid_api_key"
    type = "invalid_request_error"


class PermissionDeniedError(MainstayError):
    """The caller is known and may not do this."""

    status = 403
    code = "permission_denied"
    type = "permission_error"
    is_noted = False
    """Whether the audit log tells of it already, by an event of its own."""


class NotFoundError(MainstayError):
    """The thing does not exist, or not for this caller."""

    status = 404
    type = "invalid_request_error"


class ConflictError(MainstayError):
    """The thing was changed or exists already."""

    status = 409
    type = "invalid_request_error"


class VersionMismatchError(MainstayError):
    """The thing has changed since the caller read it."""

    status = 412
    code = "version_mismatch"
    type = "invalid_request_error"


class RateLimitedError(MainstayError):
    """A limit is used up; `retry_after_seconds` says when it refills. `type` is `requests` or `tokens`."""

    status = 429
    code = "rate_limit_exceeded"
    type = "requests"
    can_retry = True


class UnavailableError(MainstayError):
    """The service cannot answer now, through no fault of the caller."""

    status = 503
    code = "service_unavailable"
    type = "server_error"
    can_retry = True


class ConfigurationError(MainstayError):
    """What the operator configured is wrong; the message names the file, the line and the remedy."""

    code = "invalid_configuration"
