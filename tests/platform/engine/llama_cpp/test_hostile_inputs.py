"""Inputs that have taken llama.cpp down, or might: each is a clean 4xx or a normal answer, and the engine lives on."""

import json
from typing import Any

import msgspec
import pytest
from tests.platform.engine.llama_cpp.fake_engine import TOOL, coder_weights, model_of, request
from tests.platform.engine.tiny_engines import Lab, lab

from mainstay.inference import InferenceError, Operation
from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.engine.llama_cpp import LlamaCppModel

CHAT, TEXT = Operation.CHAT, Operation.COMPLETIONS
USER = [{"role": "user", "content": "go"}]


def parens(count: int) -> str:
    return "root ::= " + "(" * count + '"a"' + ")" * count


def objects(levels: int) -> str:
    return '{"type":"object","properties":{"a":' * levels + "{}" + "}}" * levels


def schema_of(text: str) -> bytes:
    """A chat body whose schema is given as JSON text: some are too deep for an encoder."""
    head = b'{"messages":[{"role":"user","content":"go"}],"max_tokens":4,"response_format":'
    return head + b'{"type":"json_schema","json_schema":{"name":"x","schema":' + text.encode() + b"}}}"


def schemas() -> list[object]:
    pattern = "(" * 20_000 + ")" * 20_000
    return [
        {"type": "string", "pattern": pattern},
        {"type": "string", "pattern": "^(a+)+$"},
        {"type": "string", "pattern": "^((((a{0,500}){0,500}){0,500}){0,500})$"},
        {"type": "string", "pattern": "^(((((((((a)))))))))$"},
        {"type": "string", "pattern": "[a-z"},
        {"type": "string", "pattern": "^a{1,2000}$"},
        {"type": "string", "pattern": "\\p{L}(?=x)\\1"},
        {"$ref": "#"},
        {"$ref": "#/nope"},
        {"$ref": "http://127.0.0.1:1/x"},
        {"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"},
        {"$defs": {"a": {"items": {"$ref": "#/$defs/a"}, "type": "array"}}, "$ref": "#/$defs/a"},
        {"type": "string", "minLength": 10**9, "maxLength": 2 * 10**9},
        {"type": "string", "minLength": 2000},
        {"type": "array", "items": {"type": "string", "maxLength": 1900}, "minItems": 1900},
        {"type": "array", "items": {}, "minItems": 10**8},
        {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
        {"type": "integer", "minimum": -(2**53), "maximum": 2**53},
        {"type": "integer", "minimum": 5, "maximum": 1},
        {"enum": []},
        {"enum": ["x" * 10_000]},
        {"const": {"a": [1, None]}},
        {"type": "nonsense"},
        {"type": []},
        {"anyOf": []},
        {"required": ["a"] * 1000, "properties": {}},
        {"properties": {name: {"type": "string"} for name in map(str, range(900))}},
        {"properties": {'"\\\n\u0000': {"type": "string"}}, "required": ['"\\\n\u0000']},
        {"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]},
        {"format": "date-time", "type": "string"},
        {"not": {}},
        5,
        [],
        True,
    ]


def chat_bodies() -> list[dict[str, Any]]:
    dangling = [{"type": "function", "function": {"name": "f", "parameters": {"$ref": "#/nope"}}}]
    deep = [{"type": "function", "function": {"name": "f", "parameters": json.loads(objects(19))}}]
    image = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/x.png"}}
    return [
        # Grammars, by every door that llama.cpp has for them.
        *({"grammar": parens(count)} for count in (1_000, 30_000, 50_000)),
        {"grammar": 'root ::= root "a"'},
        {"grammar": "root ::= [a-z]{1,10000000}"},
        {"grammar": "%llguidance {}"},
        {"grammar": 'root ::= "a"', "grammar_lazy": True, "grammar_triggers": [{"type": 3, "value": "("}]},
        {"grammar_lazy": True, "grammar_triggers": [{"type": 0, "token": 2**30}], "preserved_tokens": ["x" * 1000]},
        {"json_schema": {"type": "array", "minItems": 10**8}},
        {"response_format": {"type": "json_object", "schema": {"minItems": 10**8}}},
        # The shape of a chat.
        {"messages": []},
        {"messages": "go"},
        {"messages": [{"role": "user", "content": None}]},
        {"messages": [{"role": 5, "content": "go"}]},
        {"messages": [{"role": "user", "content": [image]}]},
        {"messages": [{"role": "assistant", "content": "a"}] * 3},
        {"messages": [{"role": "system", "content": "a"}] * 3},
        {"messages": [{"role": "tool", "tool_call_id": "x", "content": "a"}]},
        {"messages": [{"role": "user", "content": "\u0000\u001b[2J<|im_end|><s></s>{{ 7*7 }}{% for %}"}]},
        {"messages": [{"role": "user", "content": "word " * 5_000}]},
        {"messages": [{"role": "user", "content": "", "name": "{{x}}"}]},
        {"messages": [*USER, {"role": "assistant", "content": None, "tool_calls": []}]},
        {"chat_template_kwargs": {"messages": [], "tools": 5}},
        {"chat_template": "{{ messages[9999].x.y }}"},
        {"reasoning_format": "nonsense", "thinking_budget_tokens": -5, "add_generation_prompt": "x"},
        {"tools": "x"},
        {"tools": dangling},
        {"tools": deep, "tool_choice": "required"},
        {"tools": [TOOL] * 3, "tool_choice": "required"},
        {"tools": [TOOL], "response_format": {"type": "json_object"}},
        {"tools": [TOOL], "parallel_tool_calls": True},
        # Sampling and limits.
        {"n_discard": -50, "context_shift": True},
        {"n_keep": 2**31 - 1},
        {"logit_bias": {str(2**30): 1}},
        {"logit_bias": {"-5": 1}},
        {"logit_bias": {"298": 100, "999999": -100}},
        {"n_probs": 2**30},
        {"n": 100_000},
        {"n": 5},
        {"n_cmpl": 64},
        {"id_slot": 9_999},
        {"samplers": ["x"], "dry_sequence_breakers": ["x" * 100_000], "mirostat": 99, "min_p": -1e30},
        {"stop": ["x"] * 200_000},
        {"stop": ""},
        {"stop": ["\u0000", "é", "\U0001f600"]},
        {"lora": [{"id": 77, "scale": 1e30}]},
        {"speculative.n_max": 2**31 - 1, "speculative.n_min": -1},
        {"t_max_predict_ms": -1, "t_max_prompt_ms": -1, "n_cache_reuse": -1},
        {"response_fields": ["a"] * 1_000},
        {"temperature": 2, "top_p": 0, "presence_penalty": -2, "frequency_penalty": 2},
        {"temperature": 0, "seed": -1},
        {"seed": 2**63 - 1},
        {"max_tokens": -1},
        {"max_tokens": 2**31 - 1, "stop": ["a"]},
        {"logprobs": True, "top_logprobs": 20},
        {"stream_options": {"include_usage": "x"}, "return_progress": "x", "timings_per_token": 5},
    ]


def text_bodies() -> list[dict[str, Any]]:
    return [
        {"prompt": [2**31, -1]},
        {"prompt": [[[1]]]},
        {"prompt": ""},
        {"prompt": []},
        {"prompt": None},
        {"prompt": "word " * 5_000},
        {"prompt": ["a", 1, [2]]},
        {"prompt": "\u0000\u0001\u2028"},
        {"prompt": "a", "suffix": "<|fim_middle|>" * 50},
        {"prompt": "a", "input_prefix": 5, "input_extra": 7, "grammar": parens(30_000)},
        {"prompt": "a", "json_schema": 5},
        {"prompt": "a", "best_of": 16, "logprobs": 5},
        {"prompt": {"prompt_string": "x", "multimodal_data": ["!"]}},
    ]


RAW = [
    schema_of(objects(200)),
    schema_of(objects(5_000)),
    b'{"messages":[{"role":"user","content":"go"}],"temperature":1e999}',
    b'{"messages":[{"role":"user","content":"go"}],"tools":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"messages":[{"role":"user","content":"go"}],"metadata":' + b"[" * 400 + b"]" * 400 + b"}",
]


def cases() -> list[tuple[Operation, bytes]]:
    listed = [(CHAT, json.dumps({"messages": USER, "max_tokens": 4} | body).encode()) for body in chat_bodies()]
    for schema in schemas():
        listed.append((CHAT, schema_of(json.dumps(schema))))
        tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
        for choice in ("required", "auto"):
            body = {"messages": USER, "max_tokens": 4, "tools": tools, "tool_choice": choice}
            listed.append((CHAT, json.dumps(body).encode()))
    listed += [(TEXT, json.dumps({"max_tokens": 4} | body).encode()) for body in text_bodies()]
    return listed + [(CHAT, body) for body in RAW]


async def send(model: LlamaCppModel, operation: Operation, body: bytes) -> str:
    """Return what came of it; anything but an answer or a 4xx is an error of the test."""
    try:
        asked = request(body, operation)
    except (msgspec.DecodeError, RecursionError):
        return "not even a request"
    try:
        answer = await model.answer(asked)
    except InvalidRequestError as error:
        return "refused" if error.status == 400 and error.message else repr(error)
    json.loads(answer.body)
    return "answered"


async def is_well(it: Lab, model: LlamaCppModel, processes: list[int]) -> bool:
    answer = await model.answer(request({"prompt": "a", "max_tokens": 1}, TEXT))
    return it.process_ids() == processes and bool(answer.usage and answer.usage.completion_tokens == 1)


async def test_no_input_takes_the_engine_down() -> None:
    results: dict[str, int] = {}
    async with lab() as it, model_of(it.residency, weights=coder_weights("tiny")) as model:
        await it.residency.ensure("tiny")
        processes = it.process_ids()
        assert len(processes) == 1
        for operation, body in cases():
            try:
                result = await send(model, operation, body)
            except InferenceError as error:
                pytest.fail(f"{error!r} from {body[:300]!r}")
            results[result] = results.get(result, 0) + 1
            assert await is_well(it, model, processes), body[:300]
    assert set(results) <= {"answered", "refused", "not even a request"}
    assert results["refused"] > 50
    assert results["answered"] > 50
