"""Completions: the request and answer of `POST /completions`, `suffix` for fill-in-the-middle included."""

from typing import Literal

import msgspec

from mainstay.protocol.chat import CompletionUsage, StreamOptions


class CompletionRequest(msgspec.Struct, omit_defaults=True):
    """The body of a completion. Token arrays are read as cl100k_base."""

    model: str
    prompt: str | list[str | int | list[int]]
    suffix: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    best_of: int | None = None
    echo: bool | None = None
    logprobs: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None


class CompletionChoice(msgspec.Struct):
    """One of the `n` texts."""

    text: str
    index: int
    finish_reason: str | None = None
    logprobs: dict[str, object] | None = None


class Completion(msgspec.Struct):
    """A whole answer."""

    id: str
    created: int
    model: str
    choices: list[CompletionChoice]
    object: Literal["text_completion"] = "text_completion"
    usage: CompletionUsage | None = None
    system_fingerprint: str | None = None
