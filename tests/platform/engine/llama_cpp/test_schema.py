"""Bounds of schemas: what would cost too much is refused, what people write passes."""

import time
from typing import Any

import pytest

from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.engine.llama_cpp.schema import SchemaLimits, any_of, check_schema


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]},
        {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 100}, "minItems": 1, "maxItems": 2000},
        {"type": "string", "pattern": "^[a-z]{1,50}(-[0-9]{2,4}){0,3}$", "maxLength": 200},
        {"$defs": {"n": {"properties": {"next": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"},
        {"anyOf": [{"type": "null"}, {"$ref": "#/definitions/a~1b"}], "definitions": {"a/b": {"const": 5}}},
        {"properties": {"minItems": {"type": "string"}, "pattern": {"type": "string"}, "enum": {"enum": ["x"]}}},
        {"enum": ["a", 1, None, {"any": "value"}]},
        {"additionalProperties": False, "properties": {"a": True}},
        nested(39),
    ],
)
def test_schema_of_ordinary_life_passes(schema: dict[str, Any]) -> None:
    assert check_schema(schema, "s", SchemaLimits()) is schema


@pytest.mark.parametrize(
    ("schema", "param"),
    [
        (5, "s"),
        ([], "s"),
        (nested(41), "s"),
        (nested(5_000), "s"),
        ({"minItems": 10**8}, "s.minItems"),
        ({"minItems": 10**30}, "s.minItems"),
        ({"minItems": -1}, "s.minItems"),
        ({"minItems": "5"}, "s.minItems"),
        ({"minLength": 10**9, "maxLength": 2 * 10**9}, "s.minLength"),
        ({"properties": {"a": {"maxLength": 2_001}}}, "s.properties.a.maxLength"),
        ({"properties": {"properties": {"minLength": 10**9}}}, "s.properties.properties.minLength"),
        ({"patternProperties": {"x": {"minLength": 10**9}}}, "s.patternProperties.x.minLength"),
        ({"unknown": {"hidden": {"minLength": 10**9}}}, "s.unknown.hidden.minLength"),
        ({"not": {"items": [{"minLength": 10**9}]}}, "s.not.items[0].minLength"),
        ({"anyOf": [{"maxItems": 2_000}] * 11}, "s"),
        ({"pattern": "(" * 20_000 + ")" * 20_000}, "s.pattern"),
        ({"pattern": "(" * 11 + ")" * 11}, "s.pattern"),
        ({"pattern": "[a-z]{1,10000000}"}, "s.pattern"),
        ({"pattern": "((((a{0,500}){0,500}){0,500}){0,500})"}, "s.pattern"),
        ({"pattern": 5}, "s.pattern"),
        ({"$ref": "#"}, "s.$ref"),
        ({"$ref": 5}, "s.$ref"),
        ({"$ref": "#/nope"}, "s.$ref"),
        ({"$ref": "http://169.254.169.254/schema"}, "s.$ref"),
        ({"$ref": "file:///etc/passwd"}, "s.$ref"),
        ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, None),
        ({"minimum": -(2**63), "maximum": 2**63 - 1}, "s.minimum"),
        ({"minimum": "low"}, "s.minimum"),
        ({"required": 5}, "s.required"),
        ({"enum": "abc"}, "s.enum"),
        ({"anyOf": {}}, "s.anyOf"),
        ({"properties": 5}, "s.properties"),
        ({"properties": {"a": 5}}, "s.properties.a"),
        ({"enum": list(range(4_001))}, "s"),
        ({"description": "x" * 70_000}, "s"),
    ],
)
def test_schema_that_would_hurt_is_refused(schema: object, param: str | None) -> None:
    begin = time.monotonic()
    with pytest.raises(InvalidRequestError) as caught:
        check_schema(schema, "s", SchemaLimits())
    assert caught.value.status == 400
    if param is not None:
        assert caught.value.param == param
    assert time.monotonic() - begin < 1


def test_union_of_schemas_keeps_each_ones_references() -> None:
    one = {"$defs": {"x": {"type": "null"}}, "$ref": "#/$defs/x"}
    union = any_of([one, {"type": "string"}])
    assert union["anyOf"] == [{"$ref": "#/$defs/s0"}, {"$ref": "#/$defs/s1"}]
    assert union["$defs"] == {
        "s0": {"$defs": {"x": {"type": "null"}}, "$ref": "#/$defs/s0/$defs/x"},
        "s1": {"type": "string"},
    }
    assert any_of([one]) is one
    check_schema(union, "s", SchemaLimits())
