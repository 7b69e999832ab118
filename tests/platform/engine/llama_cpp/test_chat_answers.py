"""The shapes of chat answers, over an engine that says what the test wants."""

import json
from typing import Any

import pytest
from tests.platform.engine.llama_cpp.fake_engine import (
    TOOL,
    Turn,
    chat,
    choice,
    collect,
    fake_engine,
    model_of,
    request,
    usage,
)

CALL = '{"name": "get_weather", "arguments": {"city": "Paris"}}'


def saying(*texts: str, reason: str = "stop") -> Any:
    async def script(turn: Turn) -> None:
        await turn.begin()
        await turn.say(*texts, reason=reason)
        await turn.end()

    return script


async def ask(*texts: str, reason: str = "stop", **more: Any) -> dict[str, Any]:
    async with fake_engine(saying(*texts, reason=reason)) as engine, model_of(engine) as model:
        return dict(json.loads((await model.answer(chat(**more))).body))


async def stream(*texts: str, reason: str = "stop", **more: Any) -> list[dict[str, Any]]:
    async with fake_engine(saying(*texts, reason=reason)) as engine, model_of(engine) as model:
        return await collect(model, chat(stream=True, **more))


def choices_of(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each["choices"][0] for each in chunks if each["choices"]]


async def test_whole_answer_has_exactly_the_vendors_shape() -> None:
    answer = await ask("Hel", "lo")
    assert answer.pop("id").startswith("chatcmpl-")
    assert isinstance(answer.pop("created"), int)
    assert answer == {
        "object": "chat.completion",
        "model": "coder",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 2,
            "total_tokens": 11,
            "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": "fp_0123456789",
    }


async def test_stream_begins_with_the_role_and_ends_with_the_reason() -> None:
    chunks = await stream("Hel", "lo", reason="length")
    assert [(each["delta"], each["finish_reason"]) for each in choices_of(chunks)] == [
        ({"role": "assistant", "content": "", "refusal": None}, None),
        ({"content": "Hel"}, None),
        ({"content": "lo"}, None),
        ({}, "length"),
    ]
    assert len({each["id"] for each in chunks}) == 1
    assert {each["object"] for each in chunks} == {"chat.completion.chunk"}
    assert all(each["logprobs"] is None for each in choices_of(chunks))
    assert all("usage" not in each for each in chunks)
    assert all("timings" not in each and "prompt_progress" not in each for each in chunks)


async def test_usage_chunk_comes_last_and_only_if_wanted() -> None:
    chunks = await stream("a", stream_options={"include_usage": True})
    assert [each["usage"] for each in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 10


async def test_stream_tells_its_usage_even_if_the_caller_did_not_ask() -> None:
    async with fake_engine(saying("a")) as engine, model_of(engine) as model:
        async with await model.stream(chat(stream=True)) as opened:
            async for _ in opened:
                pass
        assert opened.usage is not None
        assert (opened.usage.prompt_tokens, opened.usage.completion_tokens, opened.usage.cached_tokens) == (9, 1, 4)
        assert opened.model == "coder"


async def test_text_with_quotes_controls_and_emoji_comes_through() -> None:
    text = 'say "}}],\\n" \u0000\u001f \U0001f600 \u2028'
    assert (await ask(text))["choices"][0]["message"]["content"] == text
    assert "".join(each["delta"].get("content") or "" for each in choices_of(await stream(text))) == text


async def test_only_known_parameters_reach_the_engine() -> None:
    hostile = {
        "grammar": "root ::= " + "(" * 30_000,
        "json_schema": {"minItems": 10**8},
        "n_probs": 2**30,
        "id_slot": 9999,
        "n_keep": 2**31,
        "n_discard": -50,
        "lora": [{"id": 7}],
        "samplers": ["nonsense"],
        "chat_template_kwargs": {"messages": []},
        "reasoning_format": "nope",
        "stream_options": {"include_usage": True, "include_obfuscation": True},
    }
    ignored = {"user": "me", "metadata": {"a": "b"}, "store": True, "reasoning_effort": "high", "verbosity": "low"}
    async with fake_engine(saying("a")) as engine, model_of(engine) as model:
        await model.answer(chat(temperature=0.5, seed=7, stop="x", max_tokens=5000, **hostile, **ignored))
        assert engine.turns[0].path == "/v1/chat/completions"
        assert engine.turns[0].body == {
            "messages": [{"role": "user", "content": "Hello"}],
            "temperature": 0.5,
            "stop": ["x"],
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_progress": True,
            "cache_prompt": True,
            "max_tokens": 2048,
            "seed": 7,
        }


async def test_messages_are_rebuilt_for_the_template() -> None:
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]},
        {"role": "user", "content": "w?", "name": "ann", "audio": 5},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "not json"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "21 C"},
        {"role": "assistant", "content": None, "function_call": {"name": "g", "arguments": "{}"}},
        {"role": "function", "name": "g", "content": "ok"},
    ]
    async with fake_engine(saying("a")) as engine, model_of(engine) as model:
        await model.answer(request({"messages": messages}))
        assert engine.turns[0].body["messages"] == [
            {"role": "system", "content": "Be\nbrief."},
            {"role": "user", "content": "w?", "name": "ann"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '"not json"'}}],
            },
            {"role": "tool", "content": "21 C", "tool_call_id": "c1"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "g", "type": "function", "function": {"name": "g", "arguments": "{}"}}],
            },
            {"role": "tool", "content": "ok", "name": "g", "tool_call_id": "g"},
        ]


@pytest.mark.parametrize("form", [CALL, f"```json\n{CALL}\n```", f"<tool_call>\n{CALL}\n</tool_call>", f"[{CALL}]"])
async def test_call_in_any_form_becomes_a_tool_call(form: str) -> None:
    answer = await ask(*form, tools=[TOOL])
    message = answer["choices"][0]["message"]
    assert message["content"] is None
    (call,) = message["tool_calls"]
    assert call["type"] == "function"
    assert call["id"].startswith("call_")
    assert len(call["id"]) == 29
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}
    assert answer["choices"][0]["finish_reason"] == "tool_calls"


async def test_streamed_call_names_itself_once_and_then_gives_arguments() -> None:
    deltas = [each["delta"] for each in choices_of(await stream(*CALL, tools=[TOOL]))]
    start = deltas[1]["tool_calls"][0]
    assert start["index"] == 0
    assert start["type"] == "function"
    assert start["function"] == {"name": "get_weather", "arguments": ""}
    rest = [delta["tool_calls"][0] for delta in deltas[2:-1]]
    assert all(set(each) == {"index", "function"} and set(each["function"]) == {"arguments"} for each in rest)
    assert json.loads("".join(each["function"]["arguments"] for each in rest)) == {"city": "Paris"}
    assert all("content" not in delta for delta in deltas[1:])


async def test_call_that_the_engine_itself_recognised_keeps_its_order() -> None:
    async def script(turn: Turn) -> None:
        await turn.begin()
        pieces = [{"index": 0, "id": "x", "type": "function", "function": {"name": "get_weather", "arguments": ""}}]
        await turn.send({"choices": [choice(0, tool_calls=pieces)]})
        for piece in ('{"city"', ':"Rome"}'):
            await turn.send({"choices": [choice(0, tool_calls=[{"index": 0, "function": {"arguments": piece}}])]})
        await turn.send({"choices": [choice(0, reason="tool_calls")]}, {"choices": [], "usage": usage()})
        await turn.end()

    async with fake_engine(script) as engine, model_of(engine) as model:
        body = json.loads((await model.answer(chat(tools=[TOOL]))).body)
    (call,) = body["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {"name": "get_weather", "arguments": '{"city":"Rome"}'}


async def test_json_that_is_no_call_comes_through_byte_for_byte() -> None:
    text = '```json\n{"city": "Paris",\n "list": [\n' + CALL + "\n]}\n``` done"
    answer = await ask(*text, tools=[TOOL])
    assert answer["choices"][0]["message"]["content"] == text
    assert answer["choices"][0]["finish_reason"] == "stop"
    streamed = choices_of(await stream(*text, tools=[TOOL]))
    assert "".join(each["delta"].get("content") or "" for each in streamed) == text


async def test_without_tools_or_with_choice_none_nothing_is_a_call() -> None:
    assert (await ask(CALL))["choices"][0]["message"]["content"] == CALL
    async with fake_engine(saying(CALL)) as engine, model_of(engine) as model:
        answer = json.loads((await model.answer(chat(tools=[TOOL], tool_choice="none"))).body)
        assert "tools" not in engine.turns[0].body
    assert answer["choices"][0]["message"]["content"] == CALL


async def test_second_call_is_dropped_when_calls_may_not_be_parallel() -> None:
    answer = await ask(f"[{CALL},{CALL}]", tools=[TOOL], parallel_tool_calls=False)
    assert len(answer["choices"][0]["message"]["tool_calls"]) == 1


@pytest.mark.parametrize(
    "chosen",
    [
        "required",
        {"type": "function", "function": {"name": "get_weather"}},
        {
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "required",
                "tools": [{"type": "function", "function": {"name": "get_weather"}}],
            },
        },
    ],
)
async def test_call_that_must_be_made_is_asked_for_by_schema(chosen: object) -> None:
    other = {"type": "function", "function": {"name": "other"}}
    tools = [TOOL] if chosen == "required" else [other, TOOL]
    async with fake_engine(saying(CALL)) as engine, model_of(engine) as model:
        answer = json.loads((await model.answer(chat(tools=tools, tool_choice=chosen))).body)
        sent = engine.turns[0].body
    assert sent["tool_choice"] == "none"
    assert sent["response_format"]["json_schema"]["schema"] == {
        "type": "object",
        "properties": {"name": {"const": "get_weather"}, "arguments": TOOL["function"]["parameters"]},  # type: ignore[index]
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
    assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "get_weather"


async def test_references_of_a_tools_schema_still_lead_home_inside_ours() -> None:
    parameters = {
        "type": "object",
        "properties": {"node": {"$ref": "#/$defs/node"}},
        "$defs": {"node": {"type": "object"}},
    }
    tools = [{"type": "function", "function": {"name": name, "parameters": parameters}} for name in ("a", "b")]
    async with fake_engine(saying("x")) as engine, model_of(engine) as model:
        await model.answer(chat(tools=tools, tool_choice="required"))
        schema = engine.turns[0].body["response_format"]["json_schema"]["schema"]
    assert schema["anyOf"] == [{"$ref": "#/$defs/s0"}, {"$ref": "#/$defs/s1"}]
    reference = schema["$defs"]["s1"]["properties"]["arguments"]["properties"]["node"]["$ref"]
    target = schema
    for step in reference.split("/")[1:]:
        target = target[step]
    assert target == {"type": "object"}


async def test_functions_are_answered_in_their_own_old_form() -> None:
    functions = [TOOL["function"]]
    answer = await ask(CALL, functions=functions)
    message = answer["choices"][0]["message"]
    assert message["function_call"] == {"name": "get_weather", "arguments": '{"city":"Paris"}'}
    assert "tool_calls" not in message
    assert answer["choices"][0]["finish_reason"] == "function_call"
    deltas = [each["delta"] for each in choices_of(await stream(CALL, functions=functions))]
    assert deltas[1:3] == [
        {"function_call": {"name": "get_weather", "arguments": ""}},
        {"function_call": {"arguments": '{"city":"Paris"}'}},
    ]


def many(reason: str = "stop") -> Any:
    """Answer `n` choices in turn, each saying the seed of its request and its own number."""

    async def script(turn: Turn) -> None:
        await turn.begin()
        for index in range(turn.body.get("n", 1)):
            await turn.say(f"{turn.body.get('seed')}+{index}", reason=reason, index=index)
        await turn.end()

    return script


async def test_choices_beyond_the_slots_follow_in_further_requests() -> None:
    async with fake_engine(many(), slots=2) as engine, model_of(engine) as model:
        answer = await model.answer(chat(n=5, seed=10))
        assert [turn.body.get("n", 1) for turn in engine.turns] == [2, 2, 1]
    body = json.loads(answer.body)
    assert [(each["index"], each["message"]["content"]) for each in body["choices"]] == [
        (0, "10+0"), (1, "10+1"), (2, "12+0"), (3, "12+1"), (4, "14+0"),
    ]  # fmt: skip
    assert body["usage"]["prompt_tokens"] == 9
    assert body["usage"]["completion_tokens"] == 5


async def test_streamed_choices_are_numbered_through_with_one_usage_chunk() -> None:
    async with fake_engine(many(), slots=2) as engine, model_of(engine) as model:
        chunks = await collect(model, chat(n=3, stream=True, stream_options={"include_usage": True}))
    finished = [
        each["choices"][0]["index"] for each in chunks if each["choices"] and choices_of([each])[0]["finish_reason"]
    ]
    assert finished == [0, 1, 2]
    assert [each["usage"]["completion_tokens"] for each in chunks if each["usage"]] == [3]


async def test_logprobs_lose_the_engines_ids_and_what_was_not_asked_for() -> None:
    token = {"id": 5, "token": "a", "bytes": [97], "logprob": -0.5}
    logprobs = {"content": [token | {"top_logprobs": [token, token | {"token": "b"}]}]}

    async def script(turn: Turn) -> None:
        await turn.begin()
        await turn.send({"choices": [choice(0, content="a", logprobs=logprobs)]})
        await turn.send({"choices": [choice(0, reason="stop")]}, {"choices": [], "usage": usage()})
        await turn.end()

    expected = {"token": "a", "bytes": [97], "logprob": -0.5}
    async with fake_engine(script) as engine, model_of(engine) as model:
        none = json.loads((await model.answer(chat(logprobs=True))).body)
        one = json.loads((await model.answer(chat(logprobs=True, top_logprobs=1))).body)
        streamed = choices_of(await collect(model, chat(logprobs=True, top_logprobs=1, stream=True)))
        assert engine.turns[0].body["top_logprobs"] == 1
    assert none["choices"][0]["logprobs"] == {"content": [expected | {"top_logprobs": []}], "refusal": None}
    assert one["choices"][0]["logprobs"]["content"] == [expected | {"top_logprobs": [expected]}]
    assert streamed[1]["logprobs"] == one["choices"][0]["logprobs"]


async def test_reasoning_is_told_apart_from_content() -> None:
    async def script(turn: Turn) -> None:
        await turn.begin()
        await turn.send({"choices": [choice(0, reasoning_content="hm")]}, {"choices": [choice(0, content="yes")]})
        await turn.send({"choices": [choice(0, reason="stop")]}, {"choices": [], "usage": usage()})
        await turn.end()

    async with fake_engine(script) as engine, model_of(engine) as model:
        message = json.loads((await model.answer(chat())).body)["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("hm", "yes")


async def test_connections_are_used_again() -> None:
    async with fake_engine(saying("a")) as engine, model_of(engine) as model:
        for _ in range(3):
            await model.answer(chat())
        assert len({id(turn.writer) for turn in engine.turns}) == 1
