"""Says in words what a key of the settings may hold; error messages and the reference page share these words."""

import types
from pathlib import Path
from typing import Annotated, Literal, Union, get_args, get_origin

import msgspec

from mainstay.kit.secret_text import Secret

_PLAIN_WORDS: dict[object, str] = {
    bool: "true or false",
    str: "text",
    Path: "a path",
    Secret: "text",
}


def unwrap(hint: object) -> tuple[object, list[msgspec.Meta]]:
    """Take a type hint apart: the plain type, without None, and everything that is said about it."""
    metas: list[msgspec.Meta] = []
    while True:
        origin = get_origin(hint)
        if origin is Annotated:
            hint, *extra = get_args(hint)
            metas += [meta for meta in extra if isinstance(meta, msgspec.Meta)]
        elif origin in (Union, types.UnionType):
            hint = next(choice for choice in get_args(hint) if choice is not types.NoneType)
        else:
            return hint, metas


def is_optional(hint: object) -> bool:
    """Tell whether None is a value, that is, whether a key may be absent without a default."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return types.NoneType in get_args(hint)


def description(hint: object) -> str:
    """Return what the tree says about a key."""
    return next((meta.description for meta in reversed(unwrap(hint)[1]) if meta.description), "")


def expectation(hint: object) -> str:
    """Return what a value must be, to follow the words "must be"."""
    plain, metas = unwrap(hint)
    for meta in metas:
        if meta.extra and "expected" in meta.extra:
            return str(meta.extra["expected"])
    if get_origin(plain) is Literal:
        return "one of " + ", ".join(f'"{word}"' for word in get_args(plain))
    if plain is int or plain is float:
        return ("a whole number" if plain is int else "a number") + _range(metas)
    if get_origin(plain) is tuple:
        return f"an array{_length(metas, 'elements')}"
    if get_origin(plain) is dict or (isinstance(plain, type) and issubclass(plain, msgspec.Struct)):
        return f"a table{_length(metas, 'entries')}"
    if plain is str:
        return "text" + _length(metas, "characters")
    return _PLAIN_WORDS[plain]


def _range(metas: list[msgspec.Meta]) -> str:
    text = ""
    for meta in metas:
        if meta.ge is not None:
            text += f" from {meta.ge:g}"
        if meta.gt is not None:
            text += f" above {meta.gt:g},"
        if meta.le is not None:
            text += f" to {meta.le}" if meta.ge is not None else f" up to {meta.le}"
    return text


def _length(metas: list[msgspec.Meta], units: str) -> str:
    least = max((meta.min_length or 0 for meta in metas), default=0)
    most = min((meta.max_length for meta in metas if meta.max_length is not None), default=None)
    if most is None:
        return " that is not empty" if least else ""
    return f" of {least} to {most} {units}" if least else f" of at most {most} {units}"
