"""PATCH: operations on a document (RFC 7644, 3.5.2), also as Entra ID and Okta write them.

They write operations in any case, leave the path out and put paths into the value instead, send booleans as texts,
remove by a list of values, and replace what does not exist yet.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from mainstay.platform.identity.scim.documents import VALUES_MAX, clean_members, clean_one, clean_value, without_empty
from mainstay.platform.identity.scim.errors import (
    InvalidPathError,
    InvalidSyntaxError,
    InvalidValueError,
    MutabilityError,
    NoTargetError,
)
from mainstay.platform.identity.scim.matching import equalities, matches
from mainstay.platform.identity.scim.vocabulary import Attribute, Json, Kind, Place, parse_path

if TYPE_CHECKING:
    from scim2_models.path import FilterNode

OPERATIONS_MAX = 1000
PATHS_LENGTH_MAX = 128 * 1024
"""Of all operations together: to read a long path takes milliseconds."""
_IGNORED = frozenset({"schemas", "id", "meta"})


class Verb(StrEnum):
    """What an operation does."""

    ADD = "add"
    REPLACE = "replace"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation at one place; `where` chooses some of a multi-valued attribute's values."""

    verb: Verb
    place: Place
    where: "FilterNode | None"
    value: Any  # JSON, as it was sent


def read_operations(kind: Kind, body: object) -> list[Operation]:
    """Return the operations of a PATCH body, those without a path taken apart. Raises InvalidSyntaxError and others."""
    given = _member(body, "operations") if isinstance(body, dict) else None
    if not isinstance(given, list) or not given:
        raise InvalidSyntaxError("The body must hold 'Operations', a list of at least one.")
    if len(given) > OPERATIONS_MAX:
        raise InvalidSyntaxError(f"There are {len(given)} operations; {OPERATIONS_MAX} are possible at once.")
    if sum(_length(one) for one in given) > PATHS_LENGTH_MAX:
        raise InvalidPathError(f"The paths have more than {PATHS_LENGTH_MAX} characters together.", param="path")
    return [operation for one in given for operation in _read_operation(kind, one)]


def apply(document: Json, operations: list[Operation]) -> Json:
    """Return the document after the operations, in their order. Raises NoTargetError and others."""
    for operation in operations:
        document = without_empty(_apply(document, operation))
    return document


def _read_operation(kind: Kind, one: object) -> Iterator[Operation]:
    verb_text = _member(one, "op") if isinstance(one, dict) else None
    try:
        verb = Verb(str(verb_text).lower())
    except ValueError:
        raise InvalidSyntaxError("Every operation must have an 'op': add, replace or remove.") from None
    path, value = _member(one, "path"), _member(one, "value")
    if path is not None and not isinstance(path, str):
        raise InvalidPathError("A path must be a text.", param="path")
    if path:
        yield _at(kind, verb, path, value)
        return
    if verb is Verb.REMOVE:
        raise NoTargetError("To remove, an operation must have a path.", param="path")
    if not isinstance(value, dict):
        raise InvalidValueError("An operation without a path must have an object as its value.", param="value")
    for name, member in value.items():
        if name.lower() not in _IGNORED:
            yield from _without_path(kind, verb, name, member)


def _without_path(kind: Kind, verb: Verb, name: str, member: object) -> Iterator[Operation]:
    """A member of the value of an operation without a path; its name is a path, or something that is unknown here."""
    try:
        operation = _at(kind, verb, name, member)
    except (InvalidPathError, MutabilityError):
        return  # ignored as in a whole resource (RFC 7644, 3.3)
    yield operation


def _at(kind: Kind, verb: Verb, path: str, value: object) -> Operation:
    from scim2_models.path import AttrPath, ValuePath

    node = parse_path(path)
    where = None
    if isinstance(node, ValuePath):
        where = node.val_filter
        place = kind.find(AttrPath(node.attr_path.attr, node.sub_attr, node.attr_path.uri))
    elif isinstance(node, AttrPath):
        place = kind.find(node)
    else:
        place = None
    if place is None:
        raise InvalidPathError(f"A {kind.name} has no attribute '{path[:200]}'.", param="path")
    for attribute in (place.attribute, place.child):
        if attribute is not None and attribute.is_read_only:
            raise MutabilityError(f"'{attribute.name}' is for reading only.", param="path")
    if where is not None and (place.attribute is None or not place.attribute.is_multi_valued):
        raise InvalidPathError(f"'{path[:200]}' has one value; there is nothing to choose from.", param="path")
    if verb is Verb.ADD and value is None:
        raise InvalidValueError("To add, an operation must have a value.", param="value")
    if place.attribute is None:
        value = clean_members(kind.extensions[str(place.extension).lower()][1], value, str(place.extension))
    return Operation(verb, place, where, value)


def _apply(document: Json, operation: Operation) -> Json:
    place = operation.place
    if place.attribute is None:
        key = str(place.extension)
        if operation.verb is Verb.REMOVE:
            return {name: value for name, value in document.items() if name != key}
        return document | {key: {**document.get(key, {}), **(operation.value or {})}}
    if place.extension is not None:
        inside = document.get(place.extension, {})
        return document | {place.extension: _changed(inside, operation, place.attribute)}
    return _changed(document, operation, place.attribute)


def _changed(holder: Json, operation: Operation, attribute: Attribute) -> Json:
    """Return `holder`, the document or an extension of it, with `attribute` changed."""
    before = holder.get(attribute.name)
    if attribute.is_multi_valued:
        values = _many(before or [], operation, attribute)
        return without_empty(holder | {attribute.name: values})
    if operation.place.child is not None:
        child = operation.place.child
        value = None if operation.verb is Verb.REMOVE else clean_value(child, operation.value)
        return without_empty(holder | {attribute.name: without_empty({**(before or {}), child.name: value})})
    if operation.verb is Verb.REMOVE:
        value = None
    else:
        value = clean_one(attribute, operation.value)
        if attribute.type == "complex" and value is not None:
            value = {**(before or {}), **value}
    return without_empty(holder | {attribute.name: value})


def _many(before: list[Any], operation: Operation, attribute: Attribute) -> list[Any]:  # Any: JSON values
    """Return the values of a multi-valued attribute after the operation."""
    if operation.where is not None or operation.place.child is not None:
        after = _chosen(before, operation, attribute)
    elif operation.verb is Verb.REMOVE:
        after = _without(before, operation.value, attribute)
    else:
        given = clean_value(attribute, operation.value) or []
        after = given if operation.verb is Verb.REPLACE else [*before, *(one for one in given if one not in before)]
    if len(after) > max(VALUES_MAX, len(before)):
        raise InvalidValueError(f"{attribute.name} would have {len(after)} values; {VALUES_MAX} are possible.")
    return _with_one_primary(before, after)


def _without(before: list[Any], value: object, attribute: Attribute) -> list[Any]:
    """Remove all values, or only those that are listed, as Entra ID does for members."""
    if value is None:
        return []
    listed = clean_value(attribute, value) or []
    keys = [one.get("value", one) if isinstance(one, dict) else one for one in listed]
    return [one for one in before if (one.get("value", one) if isinstance(one, dict) else one) not in keys]


def _chosen(before: list[Any], operation: Operation, attribute: Attribute) -> list[Any]:
    """Change the values that the filter chooses, or all, or their members."""
    where = operation.where
    is_chosen = [where is None or matches(where, one, attribute) for one in before]
    if operation.verb is Verb.REMOVE:
        if where is not None and not any(is_chosen):
            return before  # what is gone already need not be removed
        return [
            kept
            for one, chosen in zip(before, is_chosen, strict=True)
            if (kept := _reduced(one, operation.place.child) if chosen else one)
        ]
    if any(is_chosen):
        return [
            _raised(one, operation, attribute) if chosen else one for one, chosen in zip(before, is_chosen, strict=True)
        ]
    known = {} if where is None else equalities(where, attribute)
    if known is None:
        raise NoTargetError(f"No value of '{attribute.name}' is chosen by the path.", param="path")
    # RFC 7644 has `replace` fail here; Entra ID relies on the value being made.
    made = clean_one(attribute, known) or {}
    return [*before, _raised(made, operation, attribute, is_new=True)]


def _reduced(item: Any, child: Attribute | None) -> Any:  # Any: a JSON value
    return None if child is None else {name: value for name, value in item.items() if name != child.name}


def _raised(item: Any, operation: Operation, attribute: Attribute, *, is_new: bool = False) -> Any:  # Any: JSON
    child = operation.place.child
    if child is not None:
        return without_empty({**item, child.name: clean_value(child, operation.value)})
    given = clean_one(attribute, operation.value)
    if not isinstance(given, dict):
        raise InvalidValueError(f"'{attribute.name}' takes an object here.", param="value")
    return {**item, **given} if is_new or operation.verb is Verb.ADD else given


def _with_one_primary(before: list[Any], after: list[Any]) -> list[Any]:
    """A value that becomes the primary one takes that from the one before (RFC 7644, 3.5.2)."""
    primary = [one for one in after if isinstance(one, dict) and one.get("primary") is True]
    if len(primary) < 2:
        return after
    newest = next((one for one in reversed(primary) if one not in before), primary[-1])
    return [
        {**one, "primary": False} if isinstance(one, dict) and one.get("primary") is True and one is not newest else one
        for one in after
    ]


def _length(operation: object) -> int:
    """The characters of an operation's path, or of the paths in its value."""
    if not isinstance(operation, dict):
        return 0
    path, value = _member(operation, "path"), _member(operation, "value")
    return len(path) if isinstance(path, str) else sum(map(len, value)) if isinstance(value, dict) else 0


def _member(value: object, name: str) -> Any:  # Any: JSON, as it was sent
    """A member of an object, whatever the case of its name."""
    assert isinstance(value, dict)  # noqa: S101 - the callers have looked
    return next((member for key, member in value.items() if key.lower() == name), None)
