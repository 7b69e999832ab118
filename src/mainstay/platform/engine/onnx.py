"""An embedding model that runs here, as `inference.Model`: its child speaks `/v1/embeddings` on a private socket."""

import base64
import binascii
import math
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import msgspec

from mainstay.inference import Answer, Failure, InferenceError, Model, Operation, Request, Stream, Usage
from mainstay.kit.errors import InvalidRequestError
from mainstay.kit.tokens import TokenReader
from mainstay.platform.catalog.weights import Ability, Weights
from mainstay.platform.engine.admission import Admission
from mainstay.platform.engine.endpoint import Endpoints
from mainstay.platform.engine.llama_cpp.exchange import EnginePools, Errand, Exchange, PoolFactory
from mainstay.platform.engine.llama_cpp.limits import Limits
from mainstay.platform.engine.llama_cpp.parameters import (
    Fields,
    invalid,
    list_at,
    missing,
    read,
    read_integer,
    string_at,
    unsupported,
    wrong_type,
)

_MAX_INPUTS = 2_048
_MAX_INPUT_TOKENS = 65_536
_GROUP_INPUTS = 128
"""Sent to the child at once: a few seconds of work, after which a cancelled call costs nothing more."""
_PATH = "/v1/embeddings"


class _Vector(msgspec.Struct):
    """`embedding` is base64 of little-endian 32-bit floats."""

    index: int
    embedding: str


class _ChildUsage(msgspec.Struct):
    prompt_tokens: int


class _ChildAnswer(msgspec.Struct):
    data: list[_Vector]
    usage: _ChildUsage


_ANSWER = msgspec.json.Decoder(_ChildAnswer)


@dataclass(frozen=True, slots=True)
class EmbeddingCall:
    """A request that is understood. `dimensions` of None means the model's own."""

    texts: Sequence[str]
    dimensions: int | None
    is_base64: bool


class EmbeddingModel(Model):
    """Answers embeddings. One for each worker; it holds the connections to its child."""

    def __init__(
        self,
        weights: Weights,
        *,
        endpoints: Endpoints,
        pools: PoolFactory,
        admission: Admission,
        limits: Limits | None = None,
        tokens: TokenReader | None = None,
    ) -> None:
        """`admission` belongs to this model alone; `tokens` may be shared by all."""
        self._weights = weights
        self._tokens = tokens or TokenReader()
        self._pools = EnginePools(pools)
        self._exchange = Exchange(weights.id, endpoints, self._pools, admission, limits=limits or Limits())
        self.admission = admission

    async def answer(self, request: Request) -> Answer:
        """Answer in one piece. Raises InvalidRequestError and InferenceError."""
        if request.operation is not Operation.EMBEDDINGS or Ability.EMBEDDINGS not in self._weights.abilities:
            raise self._not_supported(request.operation)
        await self._tokens.prepare(bytes(request.fields.get("input", b"")))
        call = read_embeddings(request.fields, self._weights, self._tokens)
        await self._exchange.ready(request.deadline_seconds)
        vectors: list[str] = []
        tokens = 0
        for start in range(0, len(call.texts), _GROUP_INPUTS):
            errand = Errand("input", request.deadline_seconds, is_continuation=start > 0)
            group = call.texts[start : start + _GROUP_INPUTS]
            answer = await self._encode(group, errand)
            vectors += [vector.embedding for vector in sorted(answer.data, key=lambda vector: vector.index)]
            tokens += answer.usage.prompt_tokens
        return Answer(body=self._body(call, vectors, tokens), usage=Usage(prompt_tokens=tokens), model=self._weights.id)

    async def stream(self, request: Request) -> Stream:
        """Refuse: embeddings do not come in pieces."""
        raise self._not_supported(request.operation)

    async def aclose(self) -> None:
        """Close the connections to the child."""
        await self._pools.aclose()

    async def _encode(self, texts: Sequence[str], errand: Errand) -> _ChildAnswer:
        body = msgspec.json.encode({"input": texts, "encoding_format": "base64"})
        data = await self._exchange.fetch(_PATH, body, errand)
        try:
            answer = _ANSWER.decode(data)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise self._malformed(str(error)) from error
        if len(answer.data) != len(texts):
            raise self._malformed(f"{len(answer.data)} vectors for {len(texts)} texts")
        return answer

    def _body(self, call: EmbeddingCall, vectors: Sequence[str], tokens: int) -> bytes:
        try:
            data = [
                {"object": "embedding", "index": place, "embedding": _rendered(vector, call)}
                for place, vector in enumerate(vectors)
            ]
        except (binascii.Error, ValueError) as error:
            raise self._malformed(str(error)) from error
        return msgspec.json.encode(
            {
                "object": "list",
                "data": data,
                "model": self._weights.id,
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            }
        )

    def _malformed(self, why: str) -> InferenceError:
        return InferenceError(
            f"The engine of model '{self._weights.id}' sent an answer that cannot be read: {why}.",
            failure=Failure.MALFORMED,
            code="engine_error",
        )

    def _not_supported(self, operation: Operation) -> InvalidRequestError:
        return InvalidRequestError(
            f"Model '{self._weights.id}' does not support {operation.value}; it makes embeddings.",
            param="model",
            code="operation_not_supported",
        )


def read_embeddings(fields: Fields, weights: Weights, tokens: TokenReader) -> EmbeddingCall:
    """Check a request. Raises InvalidRequestError with the path of what is wrong."""
    texts = _read_input(fields, tokens)
    encoding = read(fields, "encoding_format")
    if encoding not in (None, "float", "base64"):
        raise invalid("encoding_format", "'encoding_format' must be 'float' or 'base64'.")
    profile = weights.profile.embedding
    if profile is None:
        if read(fields, "dimensions") is not None:
            raise unsupported("dimensions", f"The vectors of model '{weights.id}' cannot be shortened.")
        return EmbeddingCall(texts, None, is_base64=encoding == "base64")
    dimensions = read_integer(fields, "dimensions", 1, profile.dimensions)
    return EmbeddingCall(
        texts, None if dimensions == profile.dimensions else dimensions, is_base64=encoding == "base64"
    )


def _read_input(fields: Fields, tokens: TokenReader) -> list[str]:
    """Return the texts: one text or token array, or a list of either."""
    value = read(fields, "input")
    if value is None:
        raise missing("input")
    if isinstance(value, str):
        return [_checked(value, "input")]
    items = list_at(value, "input", max_count=_MAX_INPUT_TOKENS)
    if _is_token(items[0]):
        return [_text(items, "input", tokens)]
    items = list_at(value, "input", max_count=_MAX_INPUTS)
    return [_text(item, f"input[{place}]", tokens) for place, item in enumerate(items)]


def _text(item: object, path: str, tokens: TokenReader) -> str:
    if isinstance(item, str):
        return _checked(item, path)
    if not isinstance(item, list):
        raise wrong_type(path, "a string or an array of token ids", item)
    ids = list_at(item, path, max_count=_MAX_INPUT_TOKENS)
    for place, token in enumerate(ids):
        if not _is_token(token):
            raise wrong_type(f"{path}[{place}]", "a token id", token)
    return _checked(tokens.text(cast("list[int]", ids), path), path)  # each was just seen to be an int


def _checked(text: str, path: str) -> str:
    if not string_at(text, path):
        raise invalid(path, f"'{path}' is empty; there is nothing to embed.")
    return text


def _is_token(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _rendered(vector: str, call: EmbeddingCall) -> str | list[float]:
    if call.is_base64 and call.dimensions is None:
        return vector
    floats = array("f", base64.b64decode(vector, validate=True))
    if sys.byteorder == "big":
        floats.byteswap()
    if call.dimensions is not None:
        floats = _shortened(floats[: call.dimensions])
    if not call.is_base64:
        return floats.tolist()
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats.tobytes()).decode()


def _shortened(floats: "array[float]") -> "array[float]":
    """Scale what is left to length 1 again, as OpenAI does for `dimensions`."""
    length = math.sqrt(sum(value * value for value in floats))
    return floats if not length else array("f", [value / length for value in floats])
