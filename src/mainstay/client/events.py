"""What happens in the course of an answer, in the order in which a caller sees it.

Any number of `Text`, `Reasoning` and `ToolCall`, then exactly one `Finished`, which is the last. An answer that
does not reach `Finished` raises.
"""

import msgspec

from mainstay.protocol.answers import Usage


class Text(msgspec.Struct, frozen=True, tag=True):
    """A piece of the answer."""

    text: str


class Reasoning(msgspec.Struct, frozen=True, tag=True):
    """A piece of what a reasoning model thinks before it answers."""

    text: str


class ToolCall(msgspec.Struct, frozen=True, tag=True):
    """A piece of a call that the model wants made; pieces with the same `index` belong together.

    `id` and `name` come with the first piece, `arguments` grows over all of them into JSON text.
    """

    index: int
    id: str | None
    name: str | None
    arguments: str


class Finished(msgspec.Struct, frozen=True, tag=True):
    """The answer is complete. `reason` is the API's: stop, length, tool_calls, content_filter."""

    reason: str
    model: str
    usage: Usage | None


Event = Text | Reasoning | ToolCall | Finished
