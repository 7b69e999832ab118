import asyncio
import json
import socket
from contextlib import aclosing

import pytest
from tests.client.scripted_api import DONE, USAGE, Drop, Hold, ScriptedApi, chunk, serving, whole

from mainstay.client import (
    AnswerCutOffError,
    Client,
    Finished,
    InProcess,
    Message,
    Options,
    Patience,
    Reasoning,
    ServerFailedError,
    Text,
    ToolCall,
    UnexpectedAnswerError,
)
from mainstay.kit.errors import (
    BodyTooLargeError,
    InvalidRequestError,
    MainstayError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    UnauthenticatedError,
    UnavailableError,
)
from mainstay.kit.http import ConnectRefused, TransportError

HELLO = [Message("user", "Hello")]


async def ask(app, **options):
    async with serving(app) as url, Client(url, "sk-test") as client:
        return await collect(client, **options)


async def collect(client, **options):
    async with aclosing(client.chat(HELLO, "scripted", **options)) as events:
        return [event async for event in events]


async def test_a_streamed_answer_comes_as_events_and_ends_with_its_usage():
    events = await ask(ScriptedApi(whole("Hel", "lo")))
    assert events[:2] == [Text("Hel"), Text("lo")]
    assert isinstance(events[2], Finished)
    assert (events[2].reason, events[2].model, events[2].usage.total_tokens) == ("stop", "scripted", 13)


async def test_the_request_carries_key_model_messages_and_only_the_options_that_were_set():
    app = ScriptedApi(whole("ok"))
    await ask(app, options=Options(temperature=0.0, max_tokens=5))
    assert app.authorizations == [b"Bearer sk-test"]
    assert app.asked == [
        {
            "model": "scripted",
            "messages": [{"role": "user", "content": "Hello"}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0.0,
            "max_tokens": 5,
        }
    ]


async def test_an_answer_in_one_piece_gives_the_same_events():
    body = {
        "model": "m",
        "choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "length"}],
        "usage": {"total_tokens": 2},
    }
    app = ScriptedApi([json.dumps(body).encode()], content_type="application/json")
    events = await ask(app, stream=False)
    assert events[0] == Text("Hi")
    assert (events[1].reason, events[1].usage.total_tokens) == ("length", 2)
    assert "stream" not in app.asked[0]


async def test_azure_prelude_reasoning_refusals_and_tool_calls_are_read():
    prelude = b'data: {"choices":[],"id":"","model":"","prompt_filter_results":[{"prompt_index":0}]}\n\n'
    first = chunk(tool_calls=[{"index": 0, "id": "call_1", "function": {"name": "f", "arguments": ""}}])
    second = chunk(tool_calls=[{"index": 0, "function": {"arguments": "{}"}}])
    script = [
        prelude,
        chunk(reasoning_content="hm"),
        chunk(refusal="No."),
        first,
        second,
        chunk(reason="tool_calls"),
        DONE,
    ]
    events = await ask(ScriptedApi(script))
    assert events[:4] == [Reasoning("hm"), Text("No."), ToolCall(0, "call_1", "f", ""), ToolCall(0, None, None, "{}")]
    assert events[4].reason == "tool_calls"


@pytest.mark.parametrize("cut", [1, 7, 50])
async def test_pieces_may_be_cut_anywhere(cut):
    stream = b"".join(whole("Grüße ", "an alle"))
    script = [stream[start : start + cut] for start in range(0, len(stream), cut)]
    events = await ask(ScriptedApi(script))
    assert "".join(event.text for event in events if isinstance(event, Text)) == "Grüße an alle"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError),
        (401, UnauthenticatedError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (413, BodyTooLargeError),
        (429, RateLimitedError),
        (500, ServerFailedError),
        (503, UnavailableError),
    ],
)
async def test_a_refusal_is_typed_and_keeps_the_servers_own_words(status, kind):
    body = {"error": {"message": "Because.", "type": "t", "code": "c", "param": "p"}}
    app = ScriptedApi([json.dumps(body).encode()], status=status, headers=[(b"retry-after-ms", b"1500")])
    with pytest.raises(kind) as raised:
        await ask(app)
    error = raised.value
    assert (error.message, error.type, error.code, error.param) == ("Because.", "t", "c", "p")
    assert (error.status, error.retry_after_seconds) == (status, 1.5)


async def test_a_page_that_is_not_of_the_api_is_called_by_its_name():
    app = ScriptedApi([b"<html>Bad gateway</html>"], status=502, content_type="text/html")
    with pytest.raises(ServerFailedError, match="502 without an error of the API: <html>Bad gateway"):
        await ask(app)
    with pytest.raises(UnexpectedAnswerError, match="no chat completion"):
        await ask(ScriptedApi([b"<html>Hello</html>"], content_type="text/html"))


@pytest.mark.parametrize(
    ("script", "kind", "message"),
    [
        ([chunk("Half"), b'data: {"error":{"message":"The engine died."}}\n\n'], AnswerCutOffError, "The engine died"),
        ([chunk("Half"), b'data: {"error":"plain words"}\n\n'], AnswerCutOffError, "plain words"),
        ([chunk("Half")], AnswerCutOffError, "before it was complete"),
        ([chunk("Half"), b"data: {not json\n\n", DONE], AnswerCutOffError, "cannot be read"),
        ([chunk("Half"), b'data: {"choices":"\xff"}\n\n', DONE], AnswerCutOffError, "cannot be read"),
        ([chunk("Half"), Drop()], TransportError, None),
    ],
)
async def test_an_answer_that_breaks_off_gives_what_came_and_then_raises(script, kind, message):
    async with serving(ScriptedApi(script)) as url, Client(url, "k") as client:
        events = []

        async def read():
            async with aclosing(client.chat(HELLO, "m")) as stream:
                async for event in stream:
                    events.append(event)  # noqa: PERF401 - what came before the error counts

        with pytest.raises(kind, match=message):
            await read()
    assert events == [Text("Half")]


async def test_leaving_early_closes_the_connection():
    app = ScriptedApi([chunk("Once"), Hold()])
    async with serving(app) as url, Client(url, "k") as client:
        async with aclosing(client.chat(HELLO, "m")) as events:
            assert await anext(events) == Text("Once")
        await asyncio.wait_for(app.client_left.wait(), 5)


async def test_cancelling_the_caller_closes_the_connection():
    app = ScriptedApi([chunk("Once"), Hold()])
    async with serving(app) as url, Client(url, "k") as client:
        asking = asyncio.create_task(collect(client))
        await asyncio.wait_for(app.holding.wait(), 5)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.wait_for(app.client_left.wait(), 5)


async def test_a_silent_server_is_given_up():
    app = ScriptedApi([chunk("Once"), Hold()])
    async with serving(app) as url, Client(url, "k", patience=Patience(5, 0.05)) as client:
        with pytest.raises(MainstayError, match=r"came within|stopped|idle|No "):
            await collect(client)


async def test_a_whole_stream_leaves_its_connection_for_the_next_question():
    async with serving(ScriptedApi(whole("ok"))) as url, Client(url, "k") as client:
        for _ in range(3):
            await collect(client)
        assert client._transport.open_connections == 1


async def test_nobody_listening_is_a_refused_connection():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        async with Client(f"http://127.0.0.1:{free.getsockname()[1]}", "k") as client:
            with pytest.raises(ConnectRefused):
                await client.models()


async def test_models_are_listed():
    async with serving(ScriptedApi([])) as url, Client(url + "/v1", "k") as client:
        assert [card.id for card in await client.models()] == ["scripted", "other"]


async def test_a_list_of_models_that_is_none_is_refused():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'{"models":1}'})

    async with Client("http://app", "", transport=InProcess(app)) as client:
        with pytest.raises(UnexpectedAnswerError, match="no list of models"):
            await client.models()


async def test_an_endless_body_is_bounded():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b" " * 1_000_000, "more_body": True})

    async with Client("http://app", "", transport=InProcess(app)) as client:
        with pytest.raises(UnexpectedAnswerError, match="is over"):
            await client.models()


def test_a_key_with_a_line_break_is_refused_before_it_is_sent():
    with pytest.raises(InvalidRequestError, match="copy it again"):
        Client("http://127.0.0.1:1", "sk-a\r\nx: y")


async def test_usage_after_the_last_choice_is_kept_when_done_is_missing():
    events = await ask(ScriptedApi([chunk("a"), chunk(reason="stop"), USAGE]))
    assert events[-1].usage.completion_tokens == 3
