"""The server's errors as typed errors of ours, with the server's own message."""

from collections.abc import Mapping

import msgspec

from mainstay.kit.errors import (
    BodyTooLargeError,
    ConflictError,
    InvalidRequestError,
    MainstayError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    UnauthenticatedError,
    UnavailableError,
    VersionMismatchError,
)
from mainstay.protocol.answers import ErrorAnswer, ErrorDetail

_EXCERPT_CHARACTERS = 200


class ServerFailedError(MainstayError):
    """The server says that it failed, for no reason that has an error of its own."""

    can_retry = True


class AnswerCutOffError(MainstayError):
    """An answer had begun and ended before it was complete: the server said so, or simply stopped."""

    code = "answer_cut_off"
    can_retry = True


class UnexpectedAnswerError(MainstayError):
    """What answered does not speak the OpenAI dialect."""

    code = "unexpected_answer"


_BY_STATUS: Mapping[int, type[MainstayError]] = {
    400: InvalidRequestError,
    401: UnauthenticatedError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    412: VersionMismatchError,
    413: BodyTooLargeError,
    422: InvalidRequestError,
    429: RateLimitedError,
    503: UnavailableError,
}


def refusal(status: int, headers: Mapping[bytes, bytes], body: bytes) -> MainstayError:
    """Return the error that an answer with this status, these headers and this body stands for."""
    kind = _BY_STATUS.get(status, ServerFailedError if status >= 500 else UnexpectedAnswerError)
    detail = _detail(body)
    if detail is None:
        return kind(f"The server answered {status} without an error of the API: {_excerpt(body)}", status=status)
    return kind(
        detail.message or f"The server answered {status} and gave no reason.",
        param=detail.param,
        status=status,
        code=None if detail.code is None else str(detail.code),
        type=detail.type,
        retry_after_seconds=_retry_after_seconds(headers),
    )


def cut_off(error: bytes) -> AnswerCutOffError:
    """Return the error that an `error` member in the middle of a stream stands for; `error` is its JSON text."""
    try:
        detail = msgspec.json.decode(error, type=ErrorDetail)
    except msgspec.MsgspecError:
        detail = ErrorDetail(message=_excerpt(error))
    return AnswerCutOffError(
        detail.message or "The server ended the answer with an error and gave no reason.",
        param=detail.param,
        code=None if detail.code is None else str(detail.code),
        type=detail.type,
    )


def _detail(body: bytes) -> ErrorDetail | None:
    try:
        return msgspec.json.decode(body, type=ErrorAnswer).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _excerpt(body: bytes) -> str:
    text = " ".join(body[: 4 * _EXCERPT_CHARACTERS].decode(errors="replace").split())
    return (text[:_EXCERPT_CHARACTERS] + "…" if len(text) > _EXCERPT_CHARACTERS else text) or "(empty body)"


def _retry_after_seconds(headers: Mapping[bytes, bytes]) -> float | None:
    """Read `retry-after-ms`, then `retry-after` in seconds; the date form is not used by servers of this API."""
    for name, unit_seconds in ((b"retry-after-ms", 0.001), (b"retry-after", 1.0)):
        try:
            return float(headers[name]) * unit_seconds
        except (KeyError, ValueError):
            continue
    return None
