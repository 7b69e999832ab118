"""Requests that are wrong, huge or hostile, against a real engine: a clean refusal, and nobody else is harmed."""

import http.client
import json
import os
import signal
from pathlib import Path

import pytest
from openai import APIError, APIStatusError, OpenAI
from tests.e2e.observing import SMALL, descendants, is_alive, until

from mainstay.testing.installation import Installation

HELLO = [{"role": "user", "content": "Say hello."}]
DEEP = "root ::= " + "(" * 30_000 + '"a"' + ")" * 30_000


@pytest.fixture(scope="module")
def server():
    with Installation(f'[models]\ndefault = "{SMALL}"\nslots = 2\n[server]\nmax_body_bytes = 67108864\n') as made:
        yield made


@pytest.fixture(scope="module")
def client(server):
    with OpenAI(base_url=f"{server.url}/v1", api_key=server.create_key(), max_retries=0, timeout=60) as made:
        yield made


def engine_of(server):
    children = descendants(server.supervisor_id)
    (engine,) = [one for one in children if b"llama_cpp_process" in Path(f"/proc/{one}/cmdline").read_bytes()]
    return engine


def array_of(minimum):
    return {"type": "array", "items": {"type": "integer"}, "minItems": minimum}


@pytest.mark.parametrize(
    "extra",
    [
        {"n": 10_000},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": array_of(100_000_000)}}},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": array_of(100_000_000)}}]},
        {"logit_bias": {"-5": 1}},
        {"stop": ["x"] * 200_000},
        {"messages": "text"},
        {"messages": []},
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}
            ]
        },
    ],
    ids=lambda extra: next(iter(extra)),
)
def test_it_is_refused_with_400_and_the_engine_lives(server, client, extra):
    engine = engine_of(server)
    with pytest.raises(APIStatusError) as raised:
        client.post("/chat/completions", body={"model": "chat", "messages": HELLO, **extra}, cast_to=object)
    assert raised.value.status_code == 400
    assert client.chat.completions.create(model="chat", messages=HELLO, max_tokens=2).choices
    assert engine_of(server) == engine


@pytest.mark.parametrize("field", ["grammar", "json_schema", "n_probs", "id_slot", "lora", "samplers", "n_discard"])
def test_the_engines_own_parameters_do_not_reach_it(server, client, field):
    engine = engine_of(server)
    value = {"grammar": DEEP, "json_schema": array_of(10**8)}.get(field, 2**30)
    answer = client.chat.completions.create(model="chat", messages=HELLO, max_tokens=2, extra_body={field: value})
    assert answer.choices
    assert engine_of(server) == engine


def post_raw(server, key, body, headers=()):
    host, _, port = server.url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    try:
        sent = {"authorization": f"Bearer {key}", "content-type": "application/json", **dict(headers)}
        connection.request("POST", "/v1/chat/completions", body=body, headers=sent)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_a_body_of_100_mb_is_413_and_nobody_else_is_harmed(server, client):
    status, told = post_raw(server, client.api_key, b"x" * 100_000_000)
    assert status == 413
    assert told["error"]["code"] == "request_too_large"
    assert client.chat.completions.create(model="chat", messages=HELLO, max_tokens=2).choices


def test_json_nested_without_end_is_400(server, client):
    status, _ = post_raw(server, client.api_key, b'{"model":"chat","messages":' + b"[" * 1_000_000)
    assert status == 400


def test_a_compressed_body_is_said_to_be_unreadable(server, client):
    status, told = post_raw(server, client.api_key, b"\x1f\x8b", [("content-encoding", "gzip")])
    assert status == 415
    assert told["error"]["code"] == "unsupported_content_encoding"


def test_an_engine_that_is_killed_costs_open_streams_an_error_and_the_next_call_works(server, client):
    stream = client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "Tell a very long story."}], stream=True, max_tokens=1500
    )
    next(stream)
    engine = engine_of(server)
    os.kill(engine, signal.SIGKILL)
    with pytest.raises(APIError):
        for _ in stream:
            pass
    assert client.chat.completions.create(model="chat", messages=HELLO, max_tokens=2).choices
    assert engine_of(server) != engine


def test_an_engine_that_is_stopped_dead_is_replaced(server, client):
    engine = engine_of(server)
    os.kill(engine, signal.SIGSTOP)
    assert until(lambda: not is_alive(engine), 40)
    assert client.chat.completions.create(model="chat", messages=HELLO, max_tokens=2).choices
