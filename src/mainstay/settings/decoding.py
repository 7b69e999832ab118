"""From a TOML document to the settings tree, finding everything that does not fit it, not only the first thing."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from mainstay.kit.secret_text import Secret
from mainstay.settings.expectations import expectation, unwrap
from mainstay.settings.problems import quote, suggest
from mainstay.settings.toml_lines import KeyPath
from mainstay.settings.tree import Table, Tree

Fault = tuple[KeyPath, str]
"""Where something is wrong, and what."""

Item = TypeVar("Item")


class _Broken:
    """Stands for a value that does not fit."""


BROKEN: Final = _Broken()

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and what an environment variable that is not UTF-8 is read as."""


class Decoder:
    """Builds the tree; what does not fit is left out of it and noted in `faults`."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self._kept: dict[KeyPath, list[int]] = {}

    def tree(self, document: Mapping[str, Any]) -> Tree:  # Any: whatever an operator wrote
        """Build the whole tree."""
        found = self._table(Tree, document, ())
        return found if isinstance(found, Tree) else Tree()

    def elements(self, array: KeyPath, items: Sequence[Item]) -> Iterator[tuple[KeyPath, Item]]:
        """Pair the decoded items of an array with their places in the document."""
        for index, item in zip(self._kept.get(array, ()), items, strict=False):
            yield (*array, index), item

    def is_kept(self, array: KeyPath, index: int) -> bool:
        """Tell whether an element of an array is in the tree; what does not fit is not."""
        return index in self._kept.get(array, ())

    def _table(self, kind: type[Table], value: object, path: KeyPath) -> Table | _Broken:
        if not isinstance(value, dict):
            return self._mismatch(kind, value, path)
        hints = get_type_hints(kind, include_extras=True)
        for key in value.keys() - hints.keys():
            self.faults.append(((*path, key), f"Unknown key {quote(key)} {_within(path)}.{suggest(key, hints)}"))
        members: dict[str, object] = {}
        is_whole = True
        for field in msgspec.structs.fields(kind):
            if field.name in value:
                member = self._value(hints[field.name], value[field.name], (*path, field.name))
                if member is not BROKEN:
                    members[field.name] = member
                    continue
            elif field.required:
                self.faults.append((path, f"{_name(path)} has no {quote(field.name)}; add it."))
            is_whole = is_whole and not field.required
        return kind(**members) if is_whole else BROKEN

    def _value(self, hint: object, value: object, path: KeyPath) -> object:
        plain, _ = unwrap(hint)
        if isinstance(plain, type) and issubclass(plain, Table):
            return self._table(plain, value, path)
        if get_origin(plain) is tuple:
            return self._array(hint, value, path)
        if get_origin(plain) is dict:
            return self._mapping(hint, value, path)
        return self._leaf(hint, value, path)

    def _array(self, hint: object, value: object, path: KeyPath) -> object:
        plain, metas = unwrap(hint)
        if not isinstance(value, list) or not _has_length(value, metas):
            return self._mismatch(hint, value, path)
        element_hint = get_args(plain)[0]
        decoded = [(index, self._value(element_hint, element, (*path, index))) for index, element in enumerate(value)]
        kept = [(index, element) for index, element in decoded if element is not BROKEN]
        self._kept[path] = [index for index, _ in kept]
        return tuple(element for _, element in kept)

    def _mapping(self, hint: object, value: object, path: KeyPath) -> object:
        plain, metas = unwrap(hint)
        if not isinstance(value, dict) or not _has_length(value, metas):
            return self._mismatch(hint, value, path)
        key_hint, value_hint = get_args(plain)
        decoded = {
            key: self._value(value_hint, inner, (*path, key))
            for key, inner in value.items()
            if self._value(key_hint, key, (*path, key)) is not BROKEN
        }
        return {key: inner for key, inner in decoded.items() if inner is not BROKEN}

    def _leaf(self, hint: object, value: object, path: KeyPath) -> object:
        plain, _ = unwrap(hint)
        if isinstance(value, str) and _UNPRINTABLE.search(value):
            self.faults.append((path, f"{_name(path)} holds a line break or another control character; remove it."))
            return BROKEN
        if plain is Secret or plain is Path:
            return plain(value) if isinstance(value, str) and value else self._mismatch(hint, value, path)
        try:
            return msgspec.convert(value, hint)
        except msgspec.ValidationError:
            return self._mismatch(hint, value, path)

    def _mismatch(self, hint: object, value: object, path: KeyPath) -> _Broken:
        # A secret that is in the wrong place, or of the wrong type, is a secret still.
        got = "something else" if unwrap(hint)[0] is Secret else "an empty one" if value == [] else quote(value)
        self.faults.append((path, f"{_name(path)} must be {expectation(hint)}, not {got}.{_perhaps(hint, value)}"))
        return BROKEN


def _has_length(value: Sequence[object] | Mapping[object, object], metas: Sequence[msgspec.Meta]) -> bool:
    return all(
        (meta.min_length or 0) <= len(value) and (meta.max_length is None or len(value) <= meta.max_length)
        for meta in metas
    )


def _perhaps(hint: object, value: object) -> str:
    """Return a hint at the nearest of a closed set of words."""
    words = [word for word in get_args(unwrap(hint)[0]) if isinstance(word, str)]
    nearest = suggest(value, words) if isinstance(value, str) and words else ""
    return nearest if nearest.startswith(" Did") else ""


def _name(path: KeyPath) -> str:
    """Write a path as one would in TOML, elements counted from 1: `deployments[2].name`."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if part.isidentifier() else f".{quote(part)}"
    return text.removeprefix(".") or "The document"


def _within(path: KeyPath) -> str:
    return f"in {_name(path)}" if path else "at the top"
