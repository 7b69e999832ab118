"""Reading a caller's parameters: each by name, typed and bounded, with the vendor's error codes.

What is not asked for by name here never reaches an engine: grammars, slots, samplers and adapters are its own affair.
"""

from collections.abc import Mapping

import msgspec

from mainstay.kit.errors import InvalidRequestError

Fields = Mapping[str, msgspec.Raw]
JsonObject = dict[str, object]

_DECODER = msgspec.json.Decoder()


def decode(raw: msgspec.Raw, param: str) -> object:
    """Return the value of a field; null counts as absent."""
    try:
        return _DECODER.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise InvalidRequestError(
            f"'{param}' is not valid JSON, or nested too deep: {error}.", param=param, code="invalid_value"
        ) from error


def read(fields: Fields, name: str) -> object:
    """Return the decoded value of a top-level field, None if absent or null."""
    raw = fields.get(name)
    return None if raw is None else decode(raw, name)


def read_boolean(fields: Fields, name: str) -> bool | None:
    """Return a boolean or None."""
    value = read(fields, name)
    if value is not None and not isinstance(value, bool):
        raise wrong_type(name, "a boolean", value)
    return value


def read_integer(fields: Fields, name: str, low: int, high: int) -> int | None:
    """Return an integer within the bounds, or None."""
    value = read(fields, name)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(name, "an integer", value)
    _check_bounds(name, value, low, high, kind="integer")
    return value


def read_number(fields: Fields, name: str, low: float, high: float) -> float | None:
    """Return a number within the bounds, or None."""
    value = read(fields, name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(name, "a number", value)
    _check_bounds(name, value, low, high, kind="decimal")
    return float(value)


def read_stop(fields: Fields, *, max_count: int, max_length: int) -> list[str]:
    """Return the stop sequences: a string, or up to `max_count` of them."""
    value = read(fields, "stop")
    if value is None:
        return []
    if isinstance(value, str):
        items: list[object] = [value]
    elif isinstance(value, list):
        items = value
    else:
        raise wrong_type("stop", "a string or an array of strings", value)
    if len(items) > max_count:
        raise too_long("stop", len(items), max_count)
    return [_stop_sequence(item, place, max_length) for place, item in enumerate(items)]


def read_logit_bias(fields: Fields, *, max_count: int, highest_id: int) -> dict[str, float] | None:
    """Return the biases by token id.

    The ids are the local model's own: those of another vocabulary would name other words. Ids beyond the model's
    vocabulary have no effect.
    """
    value = read(fields, "logit_bias")
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wrong_type("logit_bias", "an object", value)
    if len(value) > max_count:
        raise too_long("logit_bias", len(value), max_count)
    biases = {}
    for token, bias in value.items():
        path = f"logit_bias.{token[:32]}"
        if not (token.isascii() and token.isdigit() and len(token) <= 10 and int(token) <= highest_id):
            raise invalid(path, f"'{token[:32]}' is not a token id; keys of 'logit_bias' are 0 to {highest_id}.")
        if isinstance(bias, bool) or not isinstance(bias, int | float):
            raise wrong_type(path, "a number", bias)
        _check_bounds(path, bias, -100, 100, kind="decimal")
        biases[token] = float(bias)
    return biases or None


def object_at(value: object, path: str) -> JsonObject:
    """Return `value`, which must be an object."""
    if not isinstance(value, dict):
        raise wrong_type(path, "an object", value)
    return value


def string_at(value: object, path: str) -> str:
    """Return `value`, which must be a string."""
    if value is None:
        raise missing(path)
    if not isinstance(value, str):
        raise wrong_type(path, "a string", value)
    return value


def list_at(value: object, path: str, *, max_count: int) -> list[object]:
    """Return `value`, which must be a list that is neither empty nor too long."""
    if not isinstance(value, list):
        raise wrong_type(path, "an array", value)
    if not value:
        raise InvalidRequestError(f"'{path}' is empty; it needs at least one item.", param=path, code="empty_array")
    if len(value) > max_count:
        raise too_long(path, len(value), max_count)
    return value


def invalid(path: str, message: str) -> InvalidRequestError:
    """The value is of the right type and still cannot be used."""
    return InvalidRequestError(message, param=path, code="invalid_value")


def unsupported(path: str, message: str) -> InvalidRequestError:
    """The parameter asks for what this model cannot do."""
    return InvalidRequestError(message, param=path, code="unsupported_parameter")


def missing(path: str) -> InvalidRequestError:
    """A parameter that must be there is not."""
    return InvalidRequestError(f"'{path}' is required.", param=path, code="missing_required_parameter")


def too_long(path: str, count: int, limit: int) -> InvalidRequestError:
    """An array or object has too many items."""
    return InvalidRequestError(
        f"'{path}' has {count} items; at most {limit} are allowed.", param=path, code="array_above_max_length"
    )


def wrong_type(path: str, wanted: str, value: object) -> InvalidRequestError:
    """The value is of another JSON type."""
    return InvalidRequestError(f"'{path}' must be {wanted}, not {_named(value)}.", param=path, code="invalid_type")


def _stop_sequence(item: object, place: int, max_length: int) -> str:
    path = f"stop[{place}]"
    text = string_at(item, path)
    if not text:
        raise invalid(path, "A stop sequence cannot be empty.")
    if len(text) > max_length:
        raise InvalidRequestError(
            f"'{path}' has {len(text)} characters; at most {max_length} are allowed.",
            param=path,
            code="string_above_max_length",
        )
    return text


def _check_bounds(name: str, value: float, low: float, high: float, *, kind: str) -> None:
    if low <= value <= high:
        return
    side, bound = ("below_min", low) if value < low else ("above_max", high)
    word = "at least" if value < low else "at most"
    raise InvalidRequestError(
        f"'{name}' is {value}; it must be {word} {bound}.", param=name, code=f"{kind}_{side}_value"
    )


def _named(value: object) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "an array"}
    return "null" if value is None else names.get(type(value), "an object")
