"""What only a model that understands can show: calls, schemas, filling in. Qwen2.5-Coder-0.5B, greedy."""

import json
import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.platform.engine.llama_cpp.fake_engine import TOOL, chat, collect, model_of, request
from tests.platform.engine.llama_cpp.test_cancellation import installed
from tests.platform.engine.tiny_engines import lab, tiny_spec

from mainstay.inference import Operation
from mainstay.platform.catalog import Catalog
from mainstay.platform.engine.llama_cpp import LlamaCppModel

MODEL = "qwen2.5-coder-0.5b-instruct"
QUESTION = "What is the weather in Paris?"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncIterator[LlamaCppModel]:
    async with (
        lab(wait_timeout_seconds=120.0, silence_limit_seconds=60.0) as it,
        model_of(it.residency, weights=Catalog.load().get(MODEL)) as opened,
    ):
        spec = tiny_spec(installed(MODEL), MODEL, context_tokens=1024)
        it.specs[MODEL] = type(spec)(
            **{name: getattr(spec, name) for name in spec.__slots__} | {"threads": len(os.sched_getaffinity(0))}
        )
        yield opened


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_question_about_the_weather_becomes_a_call(model: LlamaCppModel) -> None:
    body = json.loads((await model.answer(chat(QUESTION, tools=[TOOL], temperature=0, max_tokens=80))).body)
    (call,) = body["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}
    assert body["choices"][0]["finish_reason"] == "tool_calls"


async def test_call_that_must_be_made_is_made_whatever_is_said(model: LlamaCppModel) -> None:
    asked = chat("Tell me a joke.", tools=[TOOL], tool_choice="required", temperature=0, max_tokens=80, stream=True)
    chunks = await collect(model, asked)
    deltas = [each["choices"][0]["delta"] for each in chunks]
    pieces = [call for delta in deltas for call in delta.get("tool_calls", [])]
    assert pieces[0]["function"]["name"] == "get_weather"
    arguments = json.loads("".join(piece["function"]["arguments"] for piece in pieces))
    assert isinstance(arguments["city"], str)
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_answer_keeps_to_its_schema(model: LlamaCppModel) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}}
    body = json.loads((await model.answer(chat("Invent a person.", response_format=form, max_tokens=80))).body)
    person = json.loads(body["choices"][0]["message"]["content"])
    assert set(person) == {"name", "age"}
    assert isinstance(person["age"], int)


async def test_middle_is_filled_in_between_prefix_and_suffix(model: LlamaCppModel) -> None:
    body = {
        "prompt": "def add(a, b):\n    return ",
        "suffix": "\n\nprint(add(1, 2))\n",
        "temperature": 0,
        "max_tokens": 8,
    }
    answer = json.loads((await model.answer(request(body, Operation.COMPLETIONS))).body)
    assert answer["choices"][0]["text"].startswith("a + b")


async def test_two_choices_differ_by_seed_and_share_the_prompt(model: LlamaCppModel) -> None:
    asked = chat("Write one word.", n=2, seed=1, temperature=2, max_tokens=8, logprobs=True, top_logprobs=2)
    answer = await model.answer(asked)
    choices = json.loads(answer.body)["choices"]
    assert [each["index"] for each in choices] == [0, 1]
    assert all(len(each["logprobs"]["content"][0]["top_logprobs"]) == 2 for each in choices)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens < 60
    assert answer.usage.completion_tokens <= 16
