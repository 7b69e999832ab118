"""`Model`: what a vendor, a local engine and a router have in common.

Bytes first, decode late: a request is the caller's JSON object as bytes with its top-level fields split but
not decoded; a streamed chunk is the raw JSON text of one server-sent event.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, Self

import msgspec


class Operation(StrEnum):
    """What is asked of a model. The values are stable: they are written to usage records."""

    CHAT = "chat.completions"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. `cached_tokens` are part of `prompt_tokens`, `reasoning_tokens` of `completion_tokens`."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(slots=True)
class Request:
    """One call, as it is handed to a target.

    `fields` are the top-level members of `body`, values still encoded; a target that must change one member
    (its own name for the model, say) re-encodes the mapping, which copies the other values verbatim.
    `wants_usage` says whether the caller asked for the usage chunk of a stream. Targets always ask their
    upstream for it, report it as `Stream.usage`, and pass that chunk on only if `wants_usage`.
    """

    operation: Operation
    body: bytes
    fields: Mapping[str, msgspec.Raw]
    is_stream: bool
    request_id: str
    wants_usage: bool = False
    deadline_seconds: float | None = None
    """Monotonic time by which the whole call must have ended."""

    def release_body(self) -> None:
        """Forget the body, once no target will be asked again: a prompt is large, and a stream may be long."""
        self.body = b""
        self.fields = {}


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: a JSON object in OpenAI's shape for the operation, as bytes."""

    body: bytes
    usage: Usage | None = None
    model: str | None = None
    """The model that the target says has answered."""
    headers: Mapping[str, str] = field(default_factory=dict)


class Stream(Protocol):
    """An open streamed answer. Own it: `async with stream:` closes the upstream, whatever happens.

    Iteration yields batches: each is the non-empty list of chunks that arrived together, a chunk being the raw
    JSON text of one `chat.completion.chunk` or `text_completion` (no `data: ` prefix, no `[DONE]`).
    Iteration ends only after the target's terminal event was seen (`[DONE]`, or every choice finished); any
    other end raises InferenceError. After the end, `usage` and `model` are set if the target told them.
    """

    usage: Usage | None
    model: str | None

    def __aiter__(self) -> AsyncIterator[list[bytes]]: ...

    async def aclose(self) -> None:
        """Close the upstream at once; safe to call twice. Frees an engine's slot within a second."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...


class Model(Protocol):
    """Anything that answers model calls."""

    async def answer(self, request: Request) -> Answer:
        """Answer in one piece. Raises InferenceError."""
        ...

    async def stream(self, request: Request) -> Stream:
        """Return once the target has accepted the call (its response head has arrived). Raises InferenceError."""
        ...
