"""Bounds on the JSON schemas that callers send: an engine compiles them to a grammar, whose cost they decide.

llama.cpp checks what a schema means, and refuses what it cannot express. What is checked here is what would take it
down or hold up everybody else: depth, size, repetition, references.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import msgspec

from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.engine.llama_cpp.parameters import JsonObject, invalid, object_at, wrong_type

_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_SCHEMAS_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_SCHEMA_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_VALUES = ("enum", "const", "default", "examples", "required")
_LARGEST_INTEGER = 2**53
_REPETITION = re.compile(r"\{(\d{0,9}),?(\d{0,9})\}")


@dataclass(frozen=True, slots=True)
class SchemaLimits:
    """What one schema may hold."""

    size_bytes: int = 65_536
    depth: int = 40
    nodes: int = 4_000
    repetitions: int = 2_000
    """Of one item or character. llama.cpp's own grammar parser gives up above this number."""
    all_repetitions: int = 20_000
    pattern_length: int = 512
    pattern_depth: int = 10
    """Groups within groups: 30,000 of them in a grammar crash llama.cpp (xllamacpp 2026.10)."""
    pattern_repetitions: int = 2_000
    """The product of all counts of a pattern."""


def any_of(schemas: Sequence[JsonObject]) -> JsonObject:
    """Return the schema that is satisfied by whatever satisfies one of `schemas`; each keeps its own references."""
    if len(schemas) == 1:
        return schemas[0]
    definitions = {f"s{place}": _moved(schema, f"#/$defs/s{place}") for place, schema in enumerate(schemas)}
    return {"$defs": definitions, "anyOf": [{"$ref": f"#/$defs/{name}"} for name in definitions]}


def within(schema: JsonObject, steps: str) -> JsonObject:
    """Return `schema` as it reads inside a larger one, at the JSON pointer `steps`, e.g. `/properties/a`."""
    moved = _moved(schema, "#" + steps)
    return moved if isinstance(moved, dict) else schema


def _moved(node: object, prefix: str) -> object:
    if isinstance(node, dict):
        return {
            key: prefix + value[1:] if key == "$ref" and isinstance(value, str) else _moved(value, prefix)
            for key, value in node.items()
        }
    return [_moved(item, prefix) for item in node] if isinstance(node, list) else node


class _Role(Enum):
    """What a value within a schema is: a schema, schemas by name, a list of schemas, or just a value."""

    SCHEMA = auto()
    BY_NAME = auto()
    LIST = auto()
    VALUE = auto()


@dataclass(frozen=True, slots=True)
class _Node:
    value: object
    path: str
    depth: int
    role: _Role


def check_schema(schema: object, path: str, limits: SchemaLimits) -> JsonObject:
    """Return the schema, which must be an object within the limits. Raises InvalidRequestError."""
    root = object_at(schema, path)
    repetitions = 0
    for nodes, node in enumerate(_walk(root, path, limits), start=1):
        if nodes > limits.nodes:
            raise _refused(path, f"has more than {limits.nodes} parts")
        if node.role is _Role.SCHEMA and isinstance(node.value, dict):
            repetitions += _check_keywords(node.value, node.path, limits)
            _check_reference(node.value, node.path, root)
        if repetitions > limits.all_repetitions:
            raise _refused(path, f"repeats more than {limits.all_repetitions} items or characters altogether")
    # Only now, since encoding recurses.
    size_bytes = len(msgspec.json.encode(root))
    if size_bytes > limits.size_bytes:
        raise _refused(path, f"has {size_bytes} bytes; at most {limits.size_bytes} are allowed")
    return root


def _walk(root: JsonObject, path: str, limits: SchemaLimits) -> Iterator[_Node]:
    """Every value within the schema, without recursion: the depth is the caller's choice."""
    stack = [_Node(root, path, 1, _Role.SCHEMA)]
    while stack:
        node = stack.pop()
        if node.depth > limits.depth:
            raise _refused(path, f"is nested more than {limits.depth} deep")
        yield node
        stack.extend(_children(node))


def _children(node: _Node) -> Iterator[_Node]:
    if isinstance(node.value, dict):
        for key, value in node.value.items():
            role = _Role.SCHEMA if node.role is _Role.BY_NAME else _role_of(key, value, node.role)
            path = f"{node.path}.{key[:64]}"
            if node.role is _Role.BY_NAME and not isinstance(value, dict | bool):
                raise wrong_type(path, "a schema", value)
            yield _Node(value, path, node.depth + 1, role)
    elif isinstance(node.value, list):
        role = _Role.VALUE if node.role is _Role.VALUE else _Role.SCHEMA
        for number, value in enumerate(node.value):
            yield _Node(value, f"{node.path}[{number}]", node.depth + 1, role)


def _role_of(key: str, value: object, parent: _Role) -> _Role:
    """An unknown keyword may hold a schema, too: a reference can point anywhere."""
    if key in _SCHEMAS_BY_NAME and parent is _Role.SCHEMA:
        return _Role.BY_NAME
    if isinstance(value, list):
        return _Role.VALUE if key in _VALUES else _Role.LIST
    return _Role.SCHEMA


def _check_keywords(schema: JsonObject, path: str, limits: SchemaLimits) -> int:
    """Check one schema, without those within it; return how much it repeats."""
    repetitions = 0
    for key in _COUNTS:
        if key in schema:
            repetitions += _check_count(schema[key], f"{path}.{key}", limits.repetitions)
    for key in _BOUNDS:
        if key in schema:
            _check_bound(schema[key], f"{path}.{key}")
    for key in (*_SCHEMA_LISTS, "required", "enum"):
        if not isinstance(schema.get(key, []), list):
            raise wrong_type(f"{path}.{key}", "an array", schema[key])
    for key in _SCHEMAS_BY_NAME:
        if not isinstance(schema.get(key, {}), dict):
            raise wrong_type(f"{path}.{key}", "an object", schema[key])
    if "pattern" in schema:
        _check_pattern(schema["pattern"], f"{path}.pattern", limits)
    return repetitions


def _check_count(count: object, path: str, limit: int) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise wrong_type(path, "a non-negative integer", count)
    if count > limit:
        raise InvalidRequestError(
            f"'{path}' is above {limit}, the most that is allowed.", param=path, code="integer_above_max_value"
        )
    return count


def _check_bound(value: object, path: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(path, "a number", value)
    if abs(value) > _LARGEST_INTEGER:
        raise invalid(path, f"'{path}' is beyond ±2^53, where JSON numbers are no longer exact.")


def _check_pattern(pattern: object, path: str, limits: SchemaLimits) -> None:
    if not isinstance(pattern, str):
        raise wrong_type(path, "a string", pattern)
    if len(pattern) > limits.pattern_length:
        raise invalid(path, f"'{path}' has {len(pattern)} characters; at most {limits.pattern_length} are allowed.")
    depth = deepest = 0
    for character in pattern:
        depth += (character in "([") - (character in ")]")
        deepest = max(deepest, depth)
    if deepest > limits.pattern_depth:
        raise invalid(path, f"'{path}' is nested {deepest} deep; at most {limits.pattern_depth} is allowed.")
    product = 1
    for counts in _REPETITION.findall(pattern):
        product *= max([1, *(int(count) for count in counts if count)])
    if product > limits.pattern_repetitions:
        raise invalid(path, f"The repetitions in '{path}' multiply to more than {limits.pattern_repetitions}.")


def _check_reference(schema: JsonObject, path: str, root: JsonObject) -> None:
    """Follow a `$ref` until it ends at a schema: it must be local, exist, and not only lead round to itself."""
    seen = set()
    target: object = schema
    while isinstance(target, dict) and "$ref" in target:
        reference = target["$ref"]
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise invalid(f"{path}.$ref", f"'{path}.$ref' must point into the schema itself, e.g. '#/$defs/name'.")
        if reference in seen:
            raise invalid(f"{path}.$ref", f"'{path}.$ref' leads only back to itself.")
        seen.add(reference)
        target = _resolve(root, reference, path)


def _resolve(root: JsonObject, reference: str, path: str) -> object:
    target: object = root
    for step in reference.removeprefix("#").split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(target, dict) and name in target:
            target = target[name]
        elif isinstance(target, list) and name.isdecimal() and len(name) < 10 and int(name) < len(target):
            target = target[int(name)]
        else:
            raise invalid(f"{path}.$ref", f"'{path}.$ref' points to '{reference[:100]}', which is not there.")
    return target


def _refused(path: str, why: str) -> InvalidRequestError:
    return invalid(path, f"The schema '{path}' {why}; simplify it.")
