"""Embeddings: the request and answer of `POST /embeddings`."""

from typing import Literal

import msgspec


class EmbeddingRequest(msgspec.Struct, omit_defaults=True):
    """The body. Token arrays are read as cl100k_base."""

    model: str
    input: str | list[str | int | list[int]]
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None


class Embedding(msgspec.Struct):
    """One vector: floats, or base64 of little-endian float32."""

    index: int
    embedding: list[float] | str
    object: Literal["embedding"] = "embedding"


class EmbeddingUsage(msgspec.Struct):
    """Tokens read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(msgspec.Struct):
    """The vectors, in the order of the inputs."""

    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
    object: Literal["list"] = "list"
