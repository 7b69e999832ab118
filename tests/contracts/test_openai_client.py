"""The official `openai` client, unchanged but for base URL and key."""

import json

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

HELLO = [{"role": "user", "content": "Say hello."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
ASK_WEATHER = [{"role": "user", "content": "What is the weather in Paris? Use the tool."}]


@pytest.fixture(scope="module", params=["loose", "strict"])
def client(url, api_key, request):
    with OpenAI(
        base_url=f"{url}/v1",
        api_key=api_key,
        max_retries=0,
        timeout=120,
        _strict_response_validation=request.param == "strict",
    ) as made:
        yield made


@pytest.fixture(scope="module")
def loose(url, api_key):
    """For calls whose strict types the SDK breaks itself: vectors that it asks for in base64, chunks of completions."""
    with OpenAI(base_url=f"{url}/v1", api_key=api_key, max_retries=0, timeout=120) as made:
        yield made


@pytest.fixture
async def async_client(url, api_key):
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key=api_key, max_retries=0, timeout=120) as made:
        yield made


@pytest.mark.parametrize("model", ["chat", "upstream", "upstream-azure", "gpt-4o", "odd/name"])
def test_chat_answers_with_usage_and_a_request_id(client, model):
    answer = client.chat.completions.create(model=model, messages=HELLO, max_tokens=20)
    choice = answer.choices[0]
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason in {"stop", "length"}
    assert answer.object == "chat.completion"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert answer._request_id.startswith("req_")


@pytest.mark.parametrize("model", ["chat", "upstream", "upstream-azure"])
def test_a_stream_has_a_role_first_a_reason_last_and_no_usage_unasked(client, model):
    chunks = list(client.chat.completions.create(model=model, messages=HELLO, max_tokens=20, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(chunk.choices for chunk in chunks)
    assert all(chunk.usage is None for chunk in chunks)
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] in (["stop"], ["length"])
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert len({chunk.id for chunk in chunks}) == 1


@pytest.mark.parametrize("model", ["chat", "upstream"])
def test_a_stream_reports_usage_when_asked(client, model):
    chunks = list(
        client.chat.completions.create(
            model=model, messages=HELLO, max_tokens=20, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])


async def test_the_async_client_streams(async_client):
    text = ""
    async with await async_client.chat.completions.create(
        model="chat", messages=HELLO, max_tokens=20, stream=True
    ) as stream:
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
    assert text


async def test_the_async_stream_helper_accumulates(async_client):
    async with async_client.chat.completions.stream(model="chat", messages=HELLO, max_tokens=20) as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_completion()
    assert final.choices[0].message.content


def test_a_tool_call_is_parsed_from_a_small_model(client):
    answer = client.chat.completions.create(
        model="chat", messages=ASK_WEATHER, tools=[WEATHER], tool_choice="required", max_tokens=100, temperature=0
    )
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    call = choice.message.tool_calls[0]
    assert call.function.name == "get_weather"
    assert "city" in json.loads(call.function.arguments)
    assert call.id.startswith("call_")


def test_a_tool_call_by_the_models_own_choice_is_parsed_too(client):
    answer = client.chat.completions.create(
        model="chat", messages=ASK_WEATHER, tools=[WEATHER], max_tokens=100, temperature=0
    )
    assert answer.choices[0].finish_reason == "tool_calls", answer.choices[0].message.content
    assert json.loads(answer.choices[0].message.tool_calls[0].function.arguments)["city"].startswith("Paris")


def test_a_streamed_tool_call_is_accumulated_by_the_sdk(client):
    with client.chat.completions.stream(
        model="chat", messages=ASK_WEATHER, tools=[WEATHER], tool_choice="required", max_tokens=100, temperature=0
    ) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    call = final.choices[0].message.tool_calls[0]
    assert call.function.name == "get_weather"
    assert "city" in json.loads(call.function.arguments)


def test_a_tool_result_is_answered(client):
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}
    messages = [
        *ASK_WEATHER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "17 degrees, rain"},
    ]
    answer = client.chat.completions.create(model="chat", messages=messages, tools=[WEATHER], max_tokens=60)
    assert answer.choices[0].message.content or answer.choices[0].message.tool_calls


class Person(BaseModel):
    name: str
    age: int


def test_structured_output_is_parsed_into_the_callers_type(client):
    answer = client.chat.completions.parse(
        model="chat",
        messages=[{"role": "user", "content": "Anna is 31 years old. Extract the person."}],
        response_format=Person,
        max_tokens=80,
        temperature=0,
    )
    assert isinstance(answer.choices[0].message.parsed, Person)


def test_json_object_mode_gives_json(client):
    answer = client.chat.completions.create(
        model="chat",
        messages=[{"role": "user", "content": "Give a JSON object with the key colour."}],
        response_format={"type": "json_object"},
        max_tokens=120,
        temperature=0,
    )
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


def test_n_answers_with_logprobs_and_a_seed(client):
    answer = client.chat.completions.create(
        model="small", messages=HELLO, max_tokens=5, n=2, seed=7, logprobs=True, top_logprobs=2
    )
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert all(len(choice.logprobs.content[0].top_logprobs) == 2 for choice in answer.choices)
    assert answer.usage.completion_tokens > 5


def test_the_same_seed_gives_the_same_answer(client):
    def ask():
        return (
            client.chat.completions.create(model="small", messages=HELLO, max_tokens=12, seed=42, temperature=1)
            .choices[0]
            .message.content
        )

    assert ask() == ask()


def test_stop_ends_before_the_stop_text(client):
    answer = client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "Count: 1, 2, 3, 4, 5"}], stop=["4"], max_tokens=40
    )
    assert "4" not in answer.choices[0].message.content


def test_a_repeated_prompt_reports_cached_tokens(client):
    messages = [{"role": "user", "content": "Remember this. " * 60}]
    client.chat.completions.create(model="small", messages=messages, max_tokens=1)
    again = client.chat.completions.create(model="small", messages=messages, max_tokens=1)
    assert again.usage.prompt_tokens_details.cached_tokens > 100


def test_completions_continue_a_text(client):
    answer = client.completions.create(model="chat", prompt="def add(a, b):\n    return", max_tokens=8, temperature=0)
    assert "a + b" in answer.choices[0].text
    assert answer.object == "text_completion"


def test_strict_types_accept_vectors_of_floats(client):
    answer = client.embeddings.create(model="embeddings", input="x", encoding_format="float")
    assert len(answer.data[0].embedding) == 384


def test_a_suffix_is_filled_in_the_middle(client):
    answer = client.completions.create(
        model="chat",
        prompt="def fibonacci(n):\n    if n < 2:\n        return n\n    ",
        suffix="\n\nprint(fibonacci(10))\n",
        max_tokens=24,
        temperature=0,
    )
    assert "fibonacci(n" in answer.choices[0].text


def test_completions_stream(loose):
    chunks = list(loose.completions.create(model="small", prompt="Once upon", max_tokens=8, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
    assert chunks[-1].choices[0].finish_reason in {"stop", "length"}


def test_embeddings_are_the_same_in_base64_and_float_and_near_for_what_is_alike(loose):
    texts = ["a cat sat on the mat", "a kitten lay on the rug", "quarterly revenue grew by ten percent"]
    decoded = loose.embeddings.create(model="embeddings", input=texts)
    plain = loose.embeddings.create(model="embeddings", input=texts, encoding_format="float")
    first, second, third = (item.embedding for item in decoded.data)
    assert len(first) == 384
    assert max(abs(a - b) for a, b in zip(first, plain.data[0].embedding, strict=True)) < 1e-5

    def cosine(left, right):
        return sum(a * b for a, b in zip(left, right, strict=True))

    assert cosine(first, second) > cosine(first, third) + 0.2
    assert decoded.usage.prompt_tokens > 0


def test_embedding_dimensions_are_cut_and_renormalised(loose):
    vector = loose.embeddings.create(model="embeddings", input="x", dimensions=64).data[0].embedding
    assert len(vector) == 64
    assert abs(sum(x * x for x in vector) - 1) < 1e-3


def test_token_arrays_are_read_as_cl100k(loose):
    as_tokens = loose.embeddings.create(model="embeddings", input=[15339, 1917]).data[0].embedding
    as_text = loose.embeddings.create(model="embeddings", input="hello world").data[0].embedding
    assert max(abs(a - b) for a, b in zip(as_tokens, as_text, strict=True)) < 1e-6


def test_models_are_the_deployments_and_aliases(client):
    names = [model.id for model in client.models.list()]
    assert {"chat", "upstream", "gpt-4o", "embeddings"} <= set(names)
    assert client.models.retrieve("chat").id == "chat"
    assert client.models.retrieve("odd/name").id == "odd/name"


def test_rate_limit_headers_are_as_the_sdk_reads_them(url, server):
    key = server.create_key("--rpm", "600", "--tpm", "100000")
    with OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(model="upstream", messages=HELLO)
    assert raw.headers["x-ratelimit-limit-requests"] == "600"
    assert int(raw.headers["x-ratelimit-remaining-requests"]) == 599
    assert raw.headers["x-ratelimit-limit-tokens"] == "100000"
    assert raw.headers["x-ratelimit-reset-requests"].endswith("s")


# Each error class of the SDK is raised by the right cause.


def test_a_missing_message_is_a_bad_request_with_its_param(client):
    with pytest.raises(openai.BadRequestError) as raised:
        client.post("/chat/completions", body={"model": "chat"}, cast_to=object)
    assert raised.value.param == "messages"
    assert raised.value.type == "invalid_request_error"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"temperature": 9}, "temperature"),
        ({"n": 10_000}, "n"),
        ({"top_logprobs": 50, "logprobs": True}, "top_logprobs"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "messages[0].role"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"stop": ["a"] * 9}, "stop"),
    ],
)
def test_an_invalid_value_is_a_bad_request_that_names_it(client, changes, param):
    with pytest.raises(openai.BadRequestError) as raised:
        client.post("/chat/completions", body={"model": "chat", "messages": HELLO, **changes}, cast_to=object)
    assert raised.value.param.startswith(param)


def test_a_prompt_over_the_context_is_context_length_exceeded(client):
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="small", messages=[{"role": "user", "content": "word " * 20_000}])
    assert raised.value.code == "context_length_exceeded"
    assert "maximum context length is" in str(raised.value)


@pytest.mark.parametrize("key", ["wrong", "sk-" + "a" * 43, ""])
def test_an_unknown_key_is_an_authentication_error(url, key):
    with (
        OpenAI(base_url=f"{url}/v1", api_key=key or "x", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()


def test_a_key_without_the_scope_is_a_permission_error(url, server):
    key = server.create_key("--scopes", "admin")
    with (
        OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client,
        pytest.raises(openai.PermissionDeniedError),
    ):
        client.chat.completions.create(model="upstream", messages=HELLO)


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="gpt-99", messages=HELLO)
    assert raised.value.code == "model_not_found"


def test_a_deployment_that_the_key_may_not_use_is_not_found_and_not_listed(url, server):
    key = server.create_key("--deployments", "upstream")
    with OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["upstream"]
        assert client.chat.completions.create(model="upstream", messages=HELLO).choices
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="chat", messages=HELLO)
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("chat")


def test_a_used_up_limit_is_a_rate_limit_error_with_the_time_to_wait(url, server):
    key = server.create_key("--rpm", "1")
    with OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        client.chat.completions.create(model="upstream", messages=HELLO)
        with pytest.raises(openai.RateLimitError) as raised:
            client.chat.completions.create(model="upstream", messages=HELLO)
    assert raised.value.type == "requests"
    assert 0 < int(raised.value.response.headers["retry-after-ms"]) <= 60_000
    assert raised.value.response.headers["x-ratelimit-remaining-requests"] == "0"


def test_the_vendors_limit_is_a_rate_limit_error(client):
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="limited", messages=HELLO)


@pytest.mark.parametrize(
    "model",
    ["broken", "overloaded", "retired", "unauthorized", "refusing", "unreachable", "html", "empty", "wrong-json"],
)
def test_the_vendors_fault_is_a_server_error_and_never_the_callers(client, model):
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model=model, messages=HELLO)
    assert raised.value.status_code in {502, 503, 504}
    assert "vendor-key" not in str(raised.value)


@pytest.mark.parametrize("model", ["silent"])
def test_a_vendor_that_never_answers_is_a_server_error_in_time(client, model):
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model=model, messages=HELLO)
    assert raised.value.status_code == 504


@pytest.mark.parametrize("model", ["cut", "reset", "malformed", "error-event", "stalled", "no-done"])
def test_a_stream_that_is_cut_is_never_passed_off_as_complete(client, model):
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model=model, messages=HELLO, stream=True))


@pytest.mark.parametrize("path", ["/assistants", "/threads/thread_1/runs", "/videos"])
def test_a_retired_api_says_so(client, path):
    with pytest.raises(openai.APIStatusError) as raised:
        client.post(path, body={}, cast_to=object)
    assert raised.value.status_code == 410
    assert "retired" in str(raised.value) or "shut down" in str(raised.value)


def test_an_unknown_path_is_not_found_in_the_error_shape(client):
    with pytest.raises(openai.NotFoundError) as raised:
        client.post("/no/such/path", body={}, cast_to=object)
    assert raised.value.code == "unknown_url"


def test_unknown_fields_are_accepted(client):
    answer = client.chat.completions.create(
        model="chat", messages=HELLO, max_tokens=4, extra_body={"a_field_of_2031": {"x": [1]}}
    )
    assert answer.choices
