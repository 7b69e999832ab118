"""What a caller reads in the answers of the OpenAI API: chat completions, their chunks, models, errors.

Decoding is lenient: unknown members are ignored and missing ones have a default, because any server that
speaks the dialect may be on the other side.
"""

import msgspec


class TokensCached(msgspec.Struct, frozen=True):
    """The part of a prompt that the server did not have to read again."""

    cached_tokens: int | None = None


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one answer, as the server counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: TokensCached | None = None


class FunctionPiece(msgspec.Struct, frozen=True):
    """The function of a tool call; in a stream each piece adds to `arguments`."""

    name: str | None = None
    arguments: str | None = None


class ToolCallPiece(msgspec.Struct, frozen=True):
    """A tool call, or in a stream a piece of one: pieces with the same `index` belong together."""

    index: int = 0
    id: str | None = None
    function: FunctionPiece | None = None


class Message(msgspec.Struct, frozen=True):
    """The message of a choice, or in a stream what is added to it."""

    role: str | None = None
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallPiece] | None = None


class Choice(msgspec.Struct, frozen=True):
    """One of the answers asked for with `n`; `message` if whole, `delta` in a stream."""

    index: int = 0
    message: Message | None = None
    delta: Message | None = None
    finish_reason: str | None = None


class ChatAnswer(msgspec.Struct, frozen=True):
    """A `chat.completion` or one `chat.completion.chunk`. `error` is set in the frame that ends a failed stream."""

    id: str = ""
    model: str = ""
    choices: list[Choice] = []
    usage: Usage | None = None
    error: msgspec.Raw = msgspec.Raw()


class ModelCapabilities(msgspec.Struct, frozen=True):
    """What a model can do; Azure lists it, OpenAI does not."""

    chat_completion: bool | None = None
    embeddings: bool | None = None


class ModelCard(msgspec.Struct, frozen=True):
    """One entry of the list of models."""

    id: str
    owned_by: str = ""
    capabilities: ModelCapabilities | None = None


class ModelList(msgspec.Struct, frozen=True):
    """The answer to `GET /v1/models`."""

    data: list[ModelCard]


class ErrorDetail(msgspec.Struct, frozen=True):
    """The error object of the dialect. Some servers give `code` as a number."""

    message: str = ""
    type: str | None = None
    code: str | int | None = None
    param: str | None = None


class ErrorAnswer(msgspec.Struct, frozen=True):
    """The body of an answer with an error status."""

    error: ErrorDetail
