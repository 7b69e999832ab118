"""The embeddings child, driven as residency runs it."""

import asyncio
import base64
import contextlib
import json
import math
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.platform.engine.tiny_engines import MEBIBYTE, Lab, lab, post

from mainstay.kit.errors import ConfigurationError
from mainstay.platform.engine.embeddings_process import batches
from mainstay.platform.engine.endpoint import Endpoint, EngineKind
from mainstay.platform.engine.spec import EngineSpec
from mainstay.testing.tiny_onnx import DIMENSIONS, write_tiny_embedder

_URL = "/v1/embeddings"
_CONTEXT_TOKENS = 16


@contextlib.asynccontextmanager
async def _embedder() -> AsyncIterator[tuple[Lab, Endpoint]]:
    async with lab() as it:
        it.specs["embedder"] = _spec(*write_tiny_embedder(it.directory))
        yield it, await it.residency.ensure("embedder")


def _spec(model_path: Path, tokenizer_path: Path) -> EngineSpec:
    return EngineSpec(
        model_id="embedder",
        kind=EngineKind.ONNX,
        model_path=model_path,
        tokenizer_path=tokenizer_path,
        context_tokens=_CONTEXT_TOKENS,
        slots=1,
        threads=1,
        memory_bytes=50 * MEBIBYTE,
    )


async def _embed(endpoint: Endpoint, texts: object, **more: object) -> list[list[float]]:
    status, body = await post(endpoint.socket_path, _URL, {"input": texts, **more})
    assert status == 200, body
    return [item["embedding"] for item in json.loads(body)["data"]]


async def test_answer_has_the_vendors_shape_and_unit_vectors() -> None:
    async with _embedder() as (_, endpoint):
        status, body = await post(endpoint.socket_path, _URL, {"input": ["a b c", "d"], "model": "whatever"})
        answer = json.loads(body)
        assert status == 200
        assert answer["object"] == "list"
        assert [item["index"] for item in answer["data"]] == [0, 1]
        assert answer["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
        for item in answer["data"]:
            assert len(item["embedding"]) == DIMENSIONS
            assert math.hypot(*item["embedding"]) == pytest.approx(1.0, abs=1e-6)


async def test_single_text_is_a_list_of_one() -> None:
    async with _embedder() as (_, endpoint):
        assert await _embed(endpoint, "a b") == await _embed(endpoint, ["a b"])


async def test_vector_does_not_depend_on_what_is_asked_along_with_it() -> None:
    async with _embedder() as (_, endpoint):
        texts = [" ".join("abcdefghijklmnop"[: 1 + i % 16]) for i in range(100)]
        together = await _embed(endpoint, texts)
        for text, vector in list(zip(texts, together, strict=True))[:20]:
            assert (await _embed(endpoint, text))[0] == pytest.approx(vector, abs=1e-6)


async def test_base64_holds_the_same_floats() -> None:
    async with _embedder() as (_, endpoint):
        (plain,) = await _embed(endpoint, "a b")
        (encoded,) = await _embed(endpoint, "a b", encoding_format="base64")
        assert isinstance(encoded, str)
        assert struct.unpack(f"<{DIMENSIONS}f", base64.b64decode(encoded)) == pytest.approx(plain)


async def test_text_at_the_limit_is_taken_and_one_token_more_is_refused() -> None:
    async with _embedder() as (_, endpoint):
        await _embed(endpoint, "a " * _CONTEXT_TOKENS)
        for text in ("a " * (_CONTEXT_TOKENS + 1), "a" * 100_000):
            status, body = await post(endpoint.socket_path, _URL, {"input": ["b", text]})
            error = json.loads(body)["error"]
            assert status == 400
            assert "maximum context length is 16 tokens" in error["message"]
            assert (error["type"], error["param"]) == ("invalid_request_error", "input")


@pytest.mark.parametrize(
    "body",
    [
        {"input": []},
        {"input": 5},
        {"input": None},
        {"input": [1, 2]},
        {"input": ["a"] * 2049},
        {"input": "a", "encoding_format": "hex"},
        {},
        [],
        b"",
        b"not json",
        b'{"input": "\xff"}',
        b"[" * 100_000,
    ],
    ids=str,
)
async def test_invalid_body_gets_400_and_the_next_request_works(body: object) -> None:
    async with _embedder() as (_, endpoint):
        status, answer = await post(endpoint.socket_path, _URL, body)
        assert (status, json.loads(answer)["error"]["type"]) == (400, "invalid_request_error")
        await _embed(endpoint, "a")


async def test_empty_text_is_refused_and_unknown_words_are_not() -> None:
    async with _embedder() as (_, endpoint):
        for texts in ("", ["a", ""], " "):
            status, answer = await post(endpoint.socket_path, _URL, {"input": texts})
            assert (status, json.loads(answer)["error"]["param"]) == (400, "input")
        (vector,) = await _embed(endpoint, "zebra")
        assert math.hypot(*vector) == pytest.approx(1.0, abs=1e-6)


async def test_unknown_path_gets_404() -> None:
    async with _embedder() as (_, endpoint):
        status, _ = await post(endpoint.socket_path, "/v1/chat/completions", {})
        assert status == 404


async def test_body_over_the_limit_is_refused_before_it_is_read() -> None:
    async with _embedder() as (_, endpoint):
        reader, writer = await asyncio.open_unix_connection(str(endpoint.socket_path))
        writer.write(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 413")
        writer.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\x01\x02 nonsense\r\n\r\n",
        b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/embeddings HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    ],
)
async def test_malformed_http_is_refused_and_the_connection_closed(raw: bytes) -> None:
    async with _embedder() as (_, endpoint):
        reader, writer = await asyncio.open_unix_connection(str(endpoint.socket_path))
        writer.write(raw)
        assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 4")
        writer.close()
        await _embed(endpoint, "a")


async def test_connection_is_kept_for_more_requests_also_pipelined() -> None:
    async with _embedder() as (_, endpoint):
        reader, writer = await asyncio.open_unix_connection(str(endpoint.socket_path))
        body = b'{"input":"a"}'
        request = b"POST /v1/embeddings HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        for byte in request:
            writer.write(bytes([byte]))
            await writer.drain()
        writer.write(request * 3)
        for _ in range(4):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            assert head.startswith(b"HTTP/1.1 200")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
        writer.close()


async def test_client_who_leaves_costs_nobody_else() -> None:
    async with _embedder() as (_, endpoint):
        for _ in range(20):
            _, writer = await asyncio.open_unix_connection(str(endpoint.socket_path))
            body = json.dumps({"input": ["a b c"] * 2048}).encode()
            writer.write(b"POST /v1/embeddings HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            await asyncio.sleep(0)
            writer.transport.abort()
        await _embed(endpoint, "a")


async def test_stopping_lets_an_open_request_end() -> None:
    async with _embedder() as (it, endpoint):
        texts = ["a b c d e f g h"] * 2048
        request = asyncio.create_task(_embed(endpoint, texts))
        await asyncio.sleep(0.02)
        await it.residency.stop("embedder")
        assert len(await request) == 2048


async def test_damaged_model_is_named() -> None:
    async with lab() as it:
        model_path, tokenizer_path = write_tiny_embedder(it.directory)
        it.specs["embedder"] = _spec(model_path, tokenizer_path)
        model_path.write_bytes(model_path.read_bytes()[:100])
        with pytest.raises(ConfigurationError, match=r"model\.onnx"):
            await it.residency.ensure("embedder")


async def test_damaged_tokenizer_is_named() -> None:
    async with lab() as it:
        model_path, tokenizer_path = write_tiny_embedder(it.directory)
        it.specs["embedder"] = _spec(model_path, tokenizer_path)
        tokenizer_path.write_text("{}")
        with pytest.raises(ConfigurationError, match=r"tokenizer\.json"):
            await it.residency.ensure("embedder")


@pytest.mark.parametrize("lengths", [[], [1], [256] * 100, [1, 256, 3, 2, 255], list(range(1, 200)), [5000]])
def test_batches_hold_every_position_once_within_bounds(lengths: list[int]) -> None:
    groups = list(batches(lengths))
    assert sorted(position for group in groups for position in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[position] for position in group) <= 1024
        assert len(group) <= 32
