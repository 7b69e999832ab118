"""What a choice of an answer consists of, piece by piece: what parsers yield, and writers render."""

from dataclasses import dataclass, field

import msgspec


class TopLogprob(msgspec.Struct, frozen=True):
    """One of the likeliest tokens at a place."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class TokenLogprob(msgspec.Struct, frozen=True):
    """A token that was chosen, and the likeliest ones in its place."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[TopLogprob] = []


@dataclass(frozen=True, slots=True)
class Content:
    """Text of the answer."""

    text: str
    logprobs: list[TokenLogprob] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Text of the model's thinking."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """The first fragment of a tool call."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """A fragment of the arguments, JSON text, of the call with that index."""

    index: int
    text: str


Piece = Content | Reasoning | CallStart | CallArguments
