"""What a caller asks of a chat model, and how it is written on the wire."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

Role = Literal["system", "developer", "user", "assistant", "tool"]


class FunctionCall(msgspec.Struct, frozen=True):
    """What a model wanted called; `arguments` is JSON text."""

    name: str
    arguments: str


class ToolCallMade(msgspec.Struct, frozen=True):
    """A tool call in the history of a conversation."""

    id: str
    function: FunctionCall
    type: Literal["function"] = "function"


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of a conversation."""

    role: Role
    content: str | None
    tool_calls: list[ToolCallMade] | None = None
    tool_call_id: str | None = None


class Options(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the model is to answer. What is None is left to the server."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: list[str] | None = None
    tools: list[Mapping[str, object]] | None = None
    tool_choice: str | Mapping[str, object] | None = None
    response_format: Mapping[str, object] | None = None


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool


class _Body(Options, frozen=True, omit_defaults=True, kw_only=True):
    model: str
    messages: Sequence[Message]
    stream: bool = False
    stream_options: _StreamOptions | None = None


def body(messages: Sequence[Message], model: str, *, stream: bool, options: Options) -> bytes:
    """Return the JSON body of a chat completion; a stream always asks for its usage."""
    chosen = {name: getattr(options, name) for name in Options.__struct_fields__}
    asked = _Body(
        model=model,
        messages=list(messages),
        stream=stream,
        stream_options=_StreamOptions(include_usage=True) if stream else None,
        **chosen,
    )
    return msgspec.json.encode(asked)
