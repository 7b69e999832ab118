"""Embeddings in OpenAI's shapes: over a scripted child, and over a real one with a tiny network."""

import base64
import contextlib
import json
import math
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.platform.engine.llama_cpp.fake_engine import Turn, embedder_weights, fake_engine, pool, request
from tests.platform.engine.tiny_engines import MEBIBYTE, lab

from mainstay.inference import Failure, InferenceError, Operation
from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.engine.admission import Admission
from mainstay.platform.engine.endpoint import EngineKind
from mainstay.platform.engine.onnx import EmbeddingModel
from mainstay.platform.engine.spec import EngineSpec
from mainstay.testing.tiny_onnx import write_tiny_embedder

VECTOR = [0.5, -0.5, 0.1, 0.7]


@contextlib.asynccontextmanager
async def embedder(endpoints: Any) -> AsyncIterator[EmbeddingModel]:
    model = EmbeddingModel(embedder_weights(), endpoints=endpoints, pools=pool, admission=Admission())
    try:
        yield model
    finally:
        await model.aclose()
        assert model.admission.in_flight == 0


async def script(turn: Turn) -> None:
    """Every text gets the same vector and counts three tokens; the data come in reverse."""
    texts = turn.body["input"]
    vector = base64.b64encode(struct.pack("<4f", *VECTOR)).decode()
    data = [{"object": "embedding", "index": place, "embedding": vector} for place in reversed(range(len(texts)))]
    usage = {"prompt_tokens": 3 * len(texts), "total_tokens": 3 * len(texts)}
    await turn.reply(200, json.dumps({"object": "list", "data": data, "usage": usage, "model": "x"}).encode())


async def embed(**body: Any) -> tuple[dict[str, Any], list[Turn]]:
    async with fake_engine(script) as engine, embedder(engine) as model:
        answer = await model.answer(request(body, Operation.EMBEDDINGS))
        return json.loads(answer.body), engine.turns


async def test_answer_has_exactly_the_vendors_shape() -> None:
    answer, turns = await embed(input="hello")
    (item,) = answer.pop("data")
    assert answer == {"object": "list", "model": "embedder", "usage": {"prompt_tokens": 3, "total_tokens": 3}}
    assert (item["object"], item["index"]) == ("embedding", 0)
    assert item["embedding"] == pytest.approx(VECTOR)
    assert turns[0].body == {"input": ["hello"], "encoding_format": "base64"}


async def test_base64_is_little_endian_float32() -> None:
    answer, _ = await embed(input="hello", encoding_format="base64")
    assert struct.unpack("<4f", base64.b64decode(answer["data"][0]["embedding"])) == pytest.approx(VECTOR)


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_fewer_dimensions_are_cut_and_scaled_to_length_one(encoding: str) -> None:
    answer, _ = await embed(input="hello", dimensions=2, encoding_format=encoding)
    vector = answer["data"][0]["embedding"]
    if encoding == "base64":
        vector = struct.unpack("<2f", base64.b64decode(vector))
    assert vector == pytest.approx([math.sqrt(0.5), -math.sqrt(0.5)])


async def test_inputs_are_texts_or_cl100k_tokens() -> None:
    hello = [15339, 1917]
    for given, texts in (
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        (hello, ["hello world"]),
        ([hello, [0]], ["hello world", "!"]),
    ):
        answer, turns = await embed(input=given)
        assert turns[0].body["input"] == texts
        assert [item["index"] for item in answer["data"]] == list(range(len(texts)))


async def test_many_inputs_go_in_groups_and_come_back_in_order() -> None:
    answer, turns = await embed(input=[str(number) for number in range(2048)])
    assert [len(turn.body["input"]) for turn in turns] == [128] * 16
    assert [text for turn in turns for text in turn.body["input"]] == [str(number) for number in range(2048)]
    assert [item["index"] for item in answer["data"]] == list(range(2048))
    assert answer["usage"]["total_tokens"] == 3 * 2048


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"input": None}, "input", "missing_required_parameter"),
        ({"input": ""}, "input", "invalid_value"),
        ({"input": []}, "input", "empty_array"),
        ({"input": ["a", ""]}, "input[1]", "invalid_value"),
        ({"input": [[]]}, "input[0]", "empty_array"),
        ({"input": 5}, "input", "invalid_type"),
        ({"input": {"text": "a"}}, "input", "invalid_type"),
        ({"input": ["a", 5]}, "input[1]", "invalid_type"),
        ({"input": [1, "a"]}, "input[1]", "invalid_type"),
        ({"input": [[1, True]]}, "input[0][1]", "invalid_type"),
        ({"input": [100256]}, "input[0]", "invalid_value"),
        ({"input": ["a"] * 2049}, "input", "array_above_max_length"),
        ({"input": "a", "dimensions": 0}, "dimensions", "integer_below_min_value"),
        ({"input": "a", "dimensions": 5}, "dimensions", "integer_above_max_value"),
        ({"input": "a", "dimensions": "all"}, "dimensions", "invalid_type"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format", "invalid_value"),
    ],
)
async def test_parameter_is_refused(body: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await embed(**body)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)


@pytest.mark.parametrize("operation", [Operation.CHAT, Operation.COMPLETIONS])
async def test_other_operations_are_refused(operation: Operation) -> None:
    async with fake_engine(script) as engine, embedder(engine) as model:
        for ask in (model.answer, model.stream):
            with pytest.raises(InvalidRequestError) as caught:
                await ask(request({"input": "a"}, operation))  # type: ignore[operator]
            assert caught.value.code == "operation_not_supported"
        assert engine.turns == []


@pytest.mark.parametrize(
    "content",
    [
        b"no json",
        b'{"data":[],"usage":{"prompt_tokens":1}}',
        b'{"data":[{"index":0,"embedding":[1.0]}],"usage":{"prompt_tokens":1}}',
        b'{"data":[{"index":0,"embedding":"!"}],"usage":{"prompt_tokens":1}}',
        b'{"data":[{"index":0,"embedding":"AAA="}],"usage":{"prompt_tokens":1}}',
    ],
)
async def test_answer_that_cannot_be_read_is_the_engines_fault(content: bytes) -> None:
    async def broken(turn: Turn) -> None:
        await turn.reply(200, content)

    async with fake_engine(broken) as engine, embedder(engine) as model:
        with pytest.raises(InferenceError) as caught:
            await model.answer(request({"input": "a"}, Operation.EMBEDDINGS))
    assert (caught.value.failure, caught.value.status) == (Failure.MALFORMED, 502)


async def test_child_that_died_is_asked_once_more() -> None:
    async def dying(turn: Turn) -> None:
        raise ConnectionResetError

    async with fake_engine(dying) as engine, embedder(engine) as model:
        with pytest.raises(InferenceError) as caught:
            await model.answer(request({"input": "a"}, Operation.EMBEDDINGS))
        assert caught.value.failure is Failure.ENGINE_DIED
        assert len(engine.turns) == 2
        engine.script = script
        assert (await model.answer(request({"input": "a"}, Operation.EMBEDDINGS))).usage


async def test_real_child_answers_and_refuses_in_the_vendors_words() -> None:
    async with lab() as it:
        model_path, tokenizer_path = write_tiny_embedder(it.directory)
        it.specs["embedder"] = EngineSpec(
            model_id="embedder",
            kind=EngineKind.ONNX,
            model_path=model_path,
            tokenizer_path=tokenizer_path,
            context_tokens=16,
            slots=1,
            threads=1,
            memory_bytes=50 * MEBIBYTE,
        )
        async with embedder(it.residency) as model:
            answer = await model.answer(request({"input": ["a b", "c"]}, Operation.EMBEDDINGS))
            vectors = [item["embedding"] for item in json.loads(answer.body)["data"]]
            assert [math.sqrt(sum(value * value for value in vector)) for vector in vectors] == pytest.approx([1, 1])
            with pytest.raises(InvalidRequestError, match="maximum context length is 16 tokens") as caught:
                await model.answer(request({"input": "a " * 100}, Operation.EMBEDDINGS))
            assert (caught.value.param, caught.value.code) == ("input", "context_length_exceeded")
