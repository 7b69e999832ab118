"""Chat completions: the request and answer of `POST /chat/completions` (OpenAI API 2.3.0, openai-python 3.54).

These types publish the shape and read answers; a caller's unknown fields are accepted.
"""

from typing import Literal

import msgspec


class FunctionCall(msgspec.Struct):
    """A function that the model wants called; `arguments` is JSON text."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct):
    """One call of one tool."""

    id: str
    function: FunctionCall
    type: Literal["function"] = "function"


class ContentPart(msgspec.Struct, omit_defaults=True):
    """A part of a message's content."""

    type: str
    text: str | None = None
    image_url: dict[str, str] | None = None


class Message(msgspec.Struct, omit_defaults=True):
    """One message of a conversation."""

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None


class FunctionDefinition(msgspec.Struct, omit_defaults=True):
    """A function that the model may ask for; `parameters` is a JSON schema."""

    name: str
    description: str | None = None
    parameters: dict[str, object] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct):
    """A tool on offer."""

    function: FunctionDefinition
    type: Literal["function"] = "function"


class JsonSchema(msgspec.Struct, omit_defaults=True):
    """A schema that the answer must satisfy."""

    name: str
    schema: dict[str, object] | None = None
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, omit_defaults=True):
    """Free text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(msgspec.Struct, omit_defaults=True):
    """What a stream holds besides the answer."""

    include_usage: bool | None = None


class ChatCompletionRequest(msgspec.Struct, omit_defaults=True):
    """The body of a chat completion."""

    model: str
    messages: list[Message]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, object] | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None


class PromptTokensDetails(msgspec.Struct):
    """What the prompt's tokens were."""

    cached_tokens: int = 0
    audio_tokens: int = 0


class CompletionTokensDetails(msgspec.Struct):
    """What the answer's tokens were."""

    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class CompletionUsage(msgspec.Struct):
    """Tokens of a call."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None


class Choice(msgspec.Struct):
    """One of the `n` answers."""

    index: int
    message: Message
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter", "function_call"] | None = None
    logprobs: dict[str, object] | None = None


class ChatCompletion(msgspec.Struct):
    """A whole answer."""

    id: str
    created: int
    model: str
    choices: list[Choice]
    object: Literal["chat.completion"] = "chat.completion"
    usage: CompletionUsage | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
