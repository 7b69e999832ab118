"""Streams as vendors really write them, byte for byte, and as they should not."""

import contextlib

import pytest
from tests.kit.http.servers import saying, serving
from tests.platform.gateway.conftest import PATIENT, make_request, read

from mainstay.inference import Failure, InferenceError, Usage
from mainstay.platform.gateway import OpenAIModel, Provider, ProviderKind, open_pools

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
CHUNK = b'{"id":"1","model":"m-1","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}],"usage":null}'
SPACED = (
    b'{"model": "m-1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 2}}'
)
STOP = b'{"model":"m-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
OTHER_STOP = STOP.replace(b'"index":0', b'"index":1')
DONE = b"data: [DONE]\n\n"


def events(*chunks):
    return b"".join(b"data: " + chunk + b"\n\n" for chunk in chunks)


@contextlib.asynccontextmanager
async def streaming(body, head=HEAD, **fields):
    async with serving(saying(head + body)) as origin:
        provider = Provider("acme", ProviderKind.OPENAI, str(origin), timeouts=PATIENT)
        pools = open_pools([provider], kept={})
        try:
            async with await OpenAIModel(provider, "m", pools[provider]).stream(
                make_request(stream=True, **fields)
            ) as stream:
                yield stream
        finally:
            await pools[provider].aclose()


WHOLE = {
    "plain": (events(CHUNK, STOP) + DONE, [CHUNK, STOP]),
    "carriage returns": ((events(CHUNK, STOP) + DONE).replace(b"\n", b"\r\n"), [CHUNK, STOP]),
    "comments and names": (b": ping\n\nevent: x\n" + events(CHUNK) + b":\n\n" + events(STOP) + DONE, [CHUNK, STOP]),
    "byte order mark": (b"\xef\xbb\xbf" + events(CHUNK) + DONE, [CHUNK]),
    "spaces around JSON": (events(b" " + CHUNK + b" ") + DONE, None),
    "text after the end": (events(CHUNK) + DONE + b"data: {broken\n\n<html>", [CHUNK]),
    "end without a blank line": (events(CHUNK) + b"data: [DONE]", [CHUNK]),
    "end with one line feed": (events(CHUNK) + b"data: [DONE]\n", [CHUNK]),
    "finished without an end": (events(CHUNK, STOP), [CHUNK, STOP]),
    "finished in spaced JSON": (events(CHUNK, SPACED), [CHUNK, SPACED]),
    "an error that is none": (events(b'{"error":null,"choices":[]}', STOP) + DONE, None),
}


@pytest.mark.parametrize("name", WHOLE)
async def test_every_way_to_write_a_whole_stream_is_read(name):
    body, chunks = WHOLE[name]
    async with streaming(body) as stream:
        got = await read(stream)
    assert got
    assert chunks is None or got == chunks


BROKEN = {
    "nothing": (b"", Failure.TRUNCATED),
    "only an end": (DONE, Failure.MALFORMED),
    "no JSON": (events(b"hello") + DONE, Failure.MALFORMED),
    "half a chunk": (events(CHUNK, CHUNK[:-5]) + DONE, Failure.MALFORMED),
    "a list": (events(b"[1]") + DONE, Failure.MALFORMED),
    "broken first chunk": (events(b'{"choices":[}') + DONE, Failure.MALFORMED),
    "broken end of text": (events(CHUNK) + b"data: [DON", Failure.TRUNCATED),
    "unfinished": (events(CHUNK), Failure.TRUNCATED),
    "cut before the blank line": (events(CHUNK) + b"data: " + STOP + b"\n", Failure.TRUNCATED),
    "an error later": (events(CHUNK, b'{"error":{"message":"x"}}') + DONE, Failure.ERROR_IN_STREAM),
    "an error in words": (events(CHUNK, b'{"error":"x"}') + DONE, Failure.ERROR_IN_STREAM),
    "a limit later": (events(CHUNK, b'{"error":{"code":"rate_limit_exceeded"}}') + DONE, Failure.RATE_LIMITED),
    "an error event": (b'event: error\ndata: {"error": {"message": "x"}}\n\n' + DONE, Failure.ERROR_IN_STREAM),
    "usage of the wrong type": (events(CHUNK, b'{"usage":[1]}') + DONE, Failure.MALFORMED),
    "nesting": (events(b'{"choices":' + b"[" * 100_000 + b"}") + DONE, Failure.MALFORMED),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_no_broken_stream_looks_complete(name):
    body, failure = BROKEN[name]
    async with streaming(body) as stream:
        with pytest.raises(InferenceError) as caught:
            await read(stream)
    assert caught.value.failure is failure


@pytest.mark.parametrize(
    ("body", "fields", "is_whole"),
    [
        (events(CHUNK, STOP, OTHER_STOP), {"n": 2}, True),
        (events(CHUNK, STOP, STOP), {"n": 2}, False),
        (events(STOP, OTHER_STOP), {"prompt": ["a", "b"]}, True),
        (events(STOP), {"prompt": ["a", "b"]}, False),
        (events(STOP), {"prompt": [1, 2, 3]}, True),
        (events(STOP), {"prompt": [[1], [2]]}, False),
        (events(STOP), {"n": "two"}, True),
    ],
)
async def test_a_stream_without_end_is_whole_when_every_choice_has_finished(body, fields, is_whole):
    async with streaming(body, **fields) as stream:
        with contextlib.nullcontext() if is_whole else pytest.raises(InferenceError):
            await read(stream)


async def test_usage_and_model_are_known_after_the_end():
    async with streaming(events(CHUNK, SPACED) + DONE) as stream:
        await read(stream)
        assert (stream.usage, stream.model) == (Usage(prompt_tokens=2), "m-1")


@pytest.mark.parametrize(
    ("content_type", "body", "failure"),
    [
        (b"application/json", b'{"error":{"message":"x","code":"rate_limit_exceeded"}}', Failure.RATE_LIMITED),
        (b"application/json", b'{"choices":[]}', Failure.MALFORMED),
        (b"application/json", b"", Failure.MALFORMED),
        (b"text/html", b"<html>", Failure.MALFORMED),
    ],
)
async def test_what_is_no_stream_is_classified(content_type, body, failure):
    head = b"HTTP/1.1 200 OK\r\ncontent-type: " + content_type + b"\r\n\r\n"
    with pytest.raises(InferenceError) as caught:
        async with streaming(body, head):
            pass
    assert caught.value.failure is failure


async def test_a_stream_without_a_content_type_is_judged_by_its_events():
    async with streaming(events(CHUNK) + DONE, b"HTTP/1.1 200 OK\r\n\r\n") as stream:
        assert await read(stream) == [CHUNK]
