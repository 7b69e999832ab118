"""Reading a caller's body: just enough to know where it goes and what it may cost.

Only the top-level members are split; values stay encoded until someone needs them. What a target cannot accept
is the target's to refuse.
"""

from collections.abc import Mapping
from typing import NamedTuple, TypeVar

import msgspec

from mainstay.inference import Operation, Request
from mainstay.kit.errors import InvalidRequestError

_SPLIT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MODEL_NAME_LIMIT = 256
_DEFAULT_COMPLETION_TOKENS = 256
"""What an answer is reckoned at when the caller sets no maximum; settled to the true number afterwards."""
_BYTES_PER_TOKEN = 4
_TOKENS_LIMIT = 100_000_000
_T = TypeVar("_T")


class StreamOptions(msgspec.Struct):
    """The caller's `stream_options`."""

    include_usage: bool | None = None


_BOOL: "msgspec.json.Decoder[bool | None]" = msgspec.json.Decoder(bool | None)
_TEXT: "msgspec.json.Decoder[str | None]" = msgspec.json.Decoder(str | None)
_INTEGER: "msgspec.json.Decoder[int | None]" = msgspec.json.Decoder(int | None)
_STREAM_OPTIONS: "msgspec.json.Decoder[StreamOptions | None]" = msgspec.json.Decoder(StreamOptions | None)
_REQUIRED = {Operation.CHAT: "messages", Operation.COMPLETIONS: "prompt", Operation.EMBEDDINGS: "input"}


def read_request(
    operation: Operation, body: bytes, *, request_id: str, deployment: str | None = None
) -> tuple[str, Request]:
    """Return the name of the deployment that is asked for, and the request.

    `deployment` is the name from the URL, where the dialect has one; it wins over the body's `model`.
    Raises InvalidRequestError with the JSON path of what is wrong.
    """
    fields = _split(body)
    name = deployment or _read_model(fields)
    if _REQUIRED[operation] not in fields:
        raise _missing(_REQUIRED[operation])
    is_stream = operation is not Operation.EMBEDDINGS and (_read(fields, "stream", _BOOL, "a boolean") or False)
    options = _read(fields, "stream_options", _STREAM_OPTIONS, "an object") if is_stream else None
    return name, Request(
        operation=operation,
        body=body,
        fields=fields,
        is_stream=is_stream,
        request_id=request_id,
        wants_usage=bool(options and options.include_usage),
    )


class Estimate(NamedTuple):
    """Tokens that a call may take."""

    prompt: int
    completion: int


def estimate_tokens(request: Request) -> Estimate:
    """Tokens to reserve before the call: the prompt by its bytes, and the most that the answers may take."""
    prompt = len(request.body) // _BYTES_PER_TOKEN + 1
    if request.operation is Operation.EMBEDDINGS:
        return Estimate(prompt, 0)
    fields = request.fields
    most = _read_count(fields, "max_completion_tokens")
    if most is None:
        most = _read_count(fields, "max_tokens")
    if most is None:
        most = _DEFAULT_COMPLETION_TOKENS
    choices = max(_read_count(fields, "n") or 1, _read_count(fields, "best_of") or 1)
    return Estimate(prompt, min(most * choices, _TOKENS_LIMIT))


def _split(body: bytes) -> Mapping[str, msgspec.Raw]:
    if not body:
        raise InvalidRequestError("The request has no body; send a JSON object.", code="missing_required_parameter")
    try:
        return _SPLIT.decode(body)
    except msgspec.ValidationError:
        raise InvalidRequestError("The body must be a JSON object.", code="invalid_type") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"The body is not valid JSON: {error}.", code="invalid_json") from None
    except RecursionError:
        raise InvalidRequestError("The body is nested too deep to be read.", code="invalid_json") from None


def _read_model(fields: Mapping[str, msgspec.Raw]) -> str:
    name = _read(fields, "model", _TEXT, "a string")
    if not name:
        raise _missing("model")
    if len(name) > _MODEL_NAME_LIMIT:
        raise InvalidRequestError(
            f"'model' is longer than {_MODEL_NAME_LIMIT} characters.", param="model", code="string_above_max_length"
        )
    return name


def _read(
    fields: Mapping[str, msgspec.Raw], name: str, decoder: "msgspec.json.Decoder[_T | None]", kind: str
) -> _T | None:
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequestError(f"'{name}' must be {kind}.", param=name, code="invalid_type") from None


def _read_count(fields: Mapping[str, msgspec.Raw], name: str) -> int | None:
    number = _read(fields, name, _INTEGER, "an integer")
    if number is not None and number < 0:
        raise InvalidRequestError(f"'{name}' must not be negative.", param=name, code="integer_below_min_value")
    return number


def _missing(name: str) -> InvalidRequestError:
    return InvalidRequestError(f"'{name}' is missing; it is required.", param=name, code="missing_required_parameter")
