"""What callers get wrong: each is refused with 400, the path of the fault and the vendor's code, engine unasked."""

from typing import Any

import pytest
from tests.platform.engine.llama_cpp.fake_engine import TOOL, Turn, coder_weights, fake_engine, model_of, request

from mainstay.inference import Operation
from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.catalog.weights import Ability, Weights

USER = [{"role": "user", "content": "hi"}]


async def refusal(
    body: dict[str, Any] | bytes, operation: Operation = Operation.CHAT, weights: Weights | None = None
) -> InvalidRequestError:
    async def script(turn: Turn) -> None:
        raise AssertionError("the engine was asked")

    async with fake_engine(script) as engine, model_of(engine, weights=weights) as model:
        with pytest.raises(InvalidRequestError) as caught:
            await model.answer(request(body, operation))
        assert engine.turns == []
    assert caught.value.status == 400
    return caught.value


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def formatted(schema: object) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}


def tool(parameters: object, name: object = "f") -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": name, "parameters": parameters}}]}


def assistant(**message: Any) -> dict[str, Any]:
    return {"messages": [{"role": "assistant", **message}]}


SCHEMA = "response_format.json_schema.schema"


@pytest.mark.parametrize(
    ("more", "param", "code"),
    [
        ({"messages": None}, "messages", "missing_required_parameter"),
        ({"messages": []}, "messages", "empty_array"),
        ({"messages": "hi"}, "messages", "invalid_type"),
        ({"messages": USER * 2049}, "messages", "array_above_max_length"),
        ({"messages": ["hi"]}, "messages[0]", "invalid_type"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "missing_required_parameter"),
        ({"messages": [{"role": 5, "content": "x"}]}, "messages[0].role", "invalid_type"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [*USER, {"role": "user"}]}, "messages[1].content", "missing_required_parameter"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "missing_required_parameter"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "invalid_type"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content", "empty_array"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc"}}]}]},
            "messages[0].content[0]",
            "unsupported_parameter",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "input_audio"}]}]},
            "messages[0].content[1]",
            "unsupported_parameter",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id", "missing_required_parameter"),
        (assistant(content=None), "messages[0].content", "missing_required_parameter"),
        (assistant(tool_calls=5), "messages[0].tool_calls", "invalid_type"),
        (assistant(tool_calls=[{}]), "messages[0].tool_calls[0].id", "missing_required_parameter"),
        (
            assistant(tool_calls=[{"id": "a", "type": "function", "function": {"name": "f", "arguments": {}}}]),
            "messages[0].tool_calls[0].function.arguments",
            "invalid_type",
        ),
        ({"n": 10_000}, "n", "integer_above_max_value"),
        ({"n": 0}, "n", "integer_below_min_value"),
        ({"n": 1.5}, "n", "invalid_type"),
        ({"n": True}, "n", "invalid_type"),
        ({"temperature": 2.1}, "temperature", "decimal_above_max_value"),
        ({"temperature": -0.1}, "temperature", "decimal_below_min_value"),
        ({"temperature": "hot"}, "temperature", "invalid_type"),
        ({"top_p": 1.01}, "top_p", "decimal_above_max_value"),
        ({"presence_penalty": -2.5}, "presence_penalty", "decimal_below_min_value"),
        ({"frequency_penalty": 3}, "frequency_penalty", "decimal_above_max_value"),
        ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
        ({"max_completion_tokens": -1}, "max_completion_tokens", "integer_below_min_value"),
        ({"max_tokens": 2**40}, "max_tokens", "integer_above_max_value"),
        ({"seed": "x"}, "seed", "invalid_type"),
        ({"seed": 2**70}, "seed", "integer_above_max_value"),
        ({"stop": ["a"] * 5}, "stop", "array_above_max_length"),
        ({"stop": ["a"] * 200_000}, "stop", "array_above_max_length"),
        ({"stop": [""]}, "stop[0]", "invalid_value"),
        ({"stop": ["a", 5]}, "stop[1]", "invalid_type"),
        ({"stop": "x" * 300}, "stop[0]", "string_above_max_length"),
        ({"top_logprobs": 2}, "top_logprobs", "invalid_value"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "integer_above_max_value"),
        ({"logprobs": 1}, "logprobs", "invalid_type"),
        ({"logit_bias": []}, "logit_bias", "invalid_type"),
        ({"logit_bias": {"-5": 1}}, "logit_bias.-5", "invalid_value"),
        ({"logit_bias": {str(2**30): 1}}, f"logit_bias.{2**30}", "invalid_value"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5", "decimal_above_max_value"),
        ({"logit_bias": {"5": "x"}}, "logit_bias.5", "invalid_type"),
        ({"logit_bias": {str(key): 1 for key in range(1025)}}, "logit_bias", "array_above_max_length"),
        ({"modalities": ["text", "audio"]}, "modalities", "unsupported_parameter"),
        ({"audio": {"voice": "x"}}, "audio", "unsupported_parameter"),
        ({"web_search_options": {}}, "web_search_options", "unsupported_parameter"),
        ({"response_format": "json"}, "response_format", "invalid_type"),
        ({"response_format": {}}, "response_format.type", "missing_required_parameter"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "invalid_type"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "no spaces"}}},
            "response_format.json_schema.name",
            "invalid_value",
        ),
        (formatted(5), SCHEMA, "invalid_type"),
        (formatted([]), SCHEMA, "invalid_type"),
        (formatted(deep(200)), SCHEMA, "invalid_value"),
        (formatted({"type": "array", "items": {}, "minItems": 10**8}), f"{SCHEMA}.minItems", "integer_above_max_value"),
        ({"tools": "x"}, "tools", "invalid_type"),
        ({"tools": [TOOL] * 129}, "tools", "array_above_max_length"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type", "unsupported_parameter"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "unsupported_parameter"),
        (tool({}, name="no spaces"), "tools[0].function.name", "invalid_value"),
        (tool({}, name=None), "tools[0].function.name", "missing_required_parameter"),
        (tool(5), "tools[0].function.parameters", "invalid_type"),
        (tool({"$ref": "#/nope"}), "tools[0].function.parameters.$ref", "invalid_value"),
        (tool({"$ref": "http://x/y"}), "tools[0].function.parameters.$ref", "invalid_value"),
        ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
        ({"tools": [TOOL], "tool_choice": "always"}, "tool_choice", "invalid_value"),
        ({"tools": [TOOL], "tool_choice": 5}, "tool_choice", "invalid_type"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
            "tool_choice",
            "invalid_value",
        ),
        ({"tools": [TOOL], "tool_choice": {"type": "custom"}}, "tool_choice.type", "unsupported_parameter"),
        ({"functions": []}, "functions", "empty_array"),
        ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "tool_choice", "invalid_value"),
    ],
)
async def test_chat_parameter_is_refused(more: dict[str, Any], param: str, code: str) -> None:
    error = await refusal({"messages": USER} | more)
    assert (error.param, error.code) == (param, code)


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[{"role":"user","content":"\xff\xfe"}]}',
        b'{"messages":[{"role":"user","content":"a"}],"temperature":1e999}',
        b'{"messages":[{"role":"user","content":"a"}],"seed":' + b"9" * 5000 + b"}",
    ],
)
async def test_value_that_no_engine_should_see_is_refused(body: bytes) -> None:
    assert (await refusal(body)).code in ("invalid_value", "invalid_type", "integer_above_max_value")


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"prompt": None}, "prompt", "missing_required_parameter"),
        ({"prompt": []}, "prompt", "empty_array"),
        ({"prompt": {}}, "prompt", "invalid_type"),
        ({"prompt": ["a", 5]}, "prompt[1]", "invalid_type"),
        ({"prompt": [5, "a"]}, "prompt[1]", "invalid_type"),
        ({"prompt": [[[1]]]}, "prompt[0][0]", "invalid_type"),
        ({"prompt": [1, -1]}, "prompt[1]", "invalid_value"),
        ({"prompt": [[1], [10**6]]}, "prompt[1][0]", "invalid_value"),
        ({"prompt": ["a"] * 129}, "prompt", "array_above_max_length"),
        ({"prompt": "a", "logprobs": 6}, "logprobs", "integer_above_max_value"),
        ({"prompt": "a", "logprobs": 1, "echo": True}, "logprobs", "unsupported_parameter"),
        ({"prompt": "a", "n": 3, "best_of": 2}, "best_of", "integer_below_min_value"),
        ({"prompt": "a", "best_of": 10_000}, "best_of", "integer_above_max_value"),
        ({"prompt": "a", "best_of": 2, "stream": True}, "best_of", "invalid_value"),
        ({"prompt": "a", "suffix": 5}, "suffix", "invalid_type"),
        ({"prompt": "a", "echo": "yes"}, "echo", "invalid_type"),
    ],
)
async def test_completion_parameter_is_refused(body: dict[str, Any], param: str, code: str) -> None:
    error = await refusal(body, Operation.COMPLETIONS)
    assert (error.param, error.code) == (param, code)


async def test_suffix_is_refused_by_a_model_without_tokens_for_it() -> None:
    weights = coder_weights()
    plain = type(weights)(**{name: getattr(weights, name) for name in weights.__struct_fields__ if name != "profile"})
    error = await refusal({"prompt": "a", "suffix": "b"}, Operation.COMPLETIONS, plain)
    assert (error.param, error.code) == ("suffix", "unsupported_parameter")


async def test_tools_are_refused_by_a_model_that_cannot_call_them() -> None:
    weights = coder_weights(abilities=frozenset({Ability.CHAT}))
    error = await refusal({"messages": USER, "tools": [TOOL]}, weights=weights)
    assert (error.param, error.code) == ("tools", "unsupported_parameter")


@pytest.mark.parametrize(
    ("operation", "abilities"),
    [(Operation.EMBEDDINGS, {Ability.CHAT}), (Operation.CHAT, {Ability.EMBEDDINGS})],
)
async def test_operation_of_another_kind_of_model_is_refused(operation: Operation, abilities: set[Ability]) -> None:
    weights = coder_weights(abilities=frozenset(abilities))
    error = await refusal({"messages": USER, "input": "x"}, operation, weights)
    assert (error.param, error.code) == ("model", "operation_not_supported")
