"""What can go wrong between us and an engine, as InferenceError: the one place where its errors become ours."""

import msgspec

from mainstay.inference import Failure, InferenceError
from mainstay.kit.errors import InvalidRequestError, MainstayError, NotFoundError
from mainstay.kit.http.errors import (
    ConnectRefused,
    ConnectTimeout,
    DeadlineExceeded,
    FirstByteTimeout,
    IdleTimeout,
    MalformedResponse,
    PoolExhausted,
    TransportError,
)
from mainstay.platform.engine.llama_cpp.events import EngineError

_TEMPLATE_WORDS = ("jinja", "chat template", "failed to parse tool call")
_CONTEXT_OVERFLOW = "exceed_context_size_error"


class _Refusal(msgspec.Struct):
    error: EngineError = msgspec.field(default_factory=EngineError)


_REFUSAL = msgspec.json.Decoder(_Refusal)


def is_death(error: TransportError) -> bool:
    """Say whether the engine went away, so that its successor could be asked instead."""
    timeouts = (FirstByteTimeout, IdleTimeout, DeadlineExceeded, ConnectTimeout)
    return not isinstance(error, (*timeouts, PoolExhausted, MalformedResponse))


def is_engines(error: TransportError) -> bool:
    """Say whether the engine may be at fault: not for a caller's short deadline, nor for our own full pool."""
    return not isinstance(error, DeadlineExceeded | PoolExhausted)


def from_transport(error: TransportError, model: str) -> InferenceError:
    """Translate a broken exchange."""
    if isinstance(error, DeadlineExceeded):
        return failed(f"Model '{model}' did not answer in the time that the call had.", Failure.TOTAL_TIMEOUT, 504)
    if isinstance(error, FirstByteTimeout):
        return failed(f"Model '{model}' did not begin to answer in time.", Failure.FIRST_BYTE_TIMEOUT, 504)
    if isinstance(error, IdleTimeout):
        return failed(f"Model '{model}' fell silent while it answered.", Failure.IDLE_TIMEOUT, 504)
    if isinstance(error, PoolExhausted):
        return failed(f"Model '{model}' is busy; retry later.", Failure.OVERLOADED, 503)
    if isinstance(error, ConnectTimeout):
        return failed(f"The engine of model '{model}' cannot be reached.", Failure.ENGINE_UNAVAILABLE, 503)
    if isinstance(error, MalformedResponse):
        return failed(f"The engine of model '{model}' sent what cannot be read: {error}", Failure.MALFORMED, 502)
    if isinstance(error, ConnectRefused):
        return failed(f"The engine of model '{model}' is not running; retry.", Failure.ENGINE_DIED, 503)
    return died(model)


def died(model: str) -> InferenceError:
    """The engine ended while it worked on the call."""
    return failed(
        f"The engine of model '{model}' stopped before its answer was whole; retry.", Failure.ENGINE_DIED, 503
    )


def from_unready(error: MainstayError, model: str) -> InferenceError:
    """Translate why a model cannot be made ready."""
    failure = Failure.MODEL_GONE if isinstance(error, NotFoundError) else Failure.ENGINE_UNAVAILABLE
    status = error.status if error.status in (404, 429, 503, 507) else 503
    translated = failed(f"Model '{model}' is not ready: {error.message}", failure, status)
    translated.code = error.code
    translated.retry_after_seconds = error.retry_after_seconds
    translated.can_retry = error.can_retry
    return translated


def from_refusal(status: int, body: bytes, *, model: str, param: str) -> MainstayError:
    """Translate an answer with an error status; `param` is where the prompt stands in the request."""
    try:
        refusal = _REFUSAL.decode(body).error
    except (msgspec.DecodeError, UnicodeError):
        refusal = EngineError()
    return from_error(status, refusal, model=model, param=param)


def from_error(status: int, error: EngineError, *, model: str, param: str) -> MainstayError:
    """Translate the engine's own words."""
    if error.type == _CONTEXT_OVERFLOW:
        return InvalidRequestError(
            f"This model's maximum context length is {error.n_ctx} tokens. However, your request has "
            f"{error.n_prompt_tokens} tokens. Shorten it.",
            param=param,
            code="context_length_exceeded",
        )
    if status in (400, 413, 422) or _is_about_the_conversation(error):
        code = error.code if isinstance(error.code, str) else None
        return InvalidRequestError(
            f"Model '{model}' cannot serve this request: {error.message[:500]}", param=error.param, code=code
        )
    if status == 503:
        return failed(
            f"Model '{model}' is still loading; retry.", Failure.ENGINE_UNAVAILABLE, 503, target_status=status
        )
    words = error.message[:500] or f"status {status}"
    return failed(f"The engine of model '{model}' failed: {words}", Failure.SERVER_ERROR, 502, target_status=status)


def _is_about_the_conversation(error: EngineError) -> bool:
    """llama.cpp answers 500 also when its chat template refuses what was said (roles that must alternate, say)."""
    return error.type == "server_error" and any(word in error.message.lower() for word in _TEMPLATE_WORDS)


def failed(message: str, failure: Failure, status: int, *, target_status: int | None = None) -> InferenceError:
    """Build the error; what is not the caller's fault may be tried again."""
    error = InferenceError(
        message,
        failure=failure,
        status=status,
        target_status=target_status,
        code={503: "service_unavailable", 504: "timeout"}.get(status, "engine_error"),
    )
    error.can_retry = True
    return error
