"""What llama.cpp's server sends in a stream (xllamacpp 2026.10), as far as it matters here."""

import msgspec

from mainstay.inference import Failure, InferenceError, Usage
from mainstay.platform.engine.llama_cpp.pieces import TokenLogprob


class EngineFunction(msgspec.Struct):
    """The function of a tool call that the engine itself has recognised."""

    name: str | None = None
    arguments: str | None = None


class EngineToolCall(msgspec.Struct):
    """A fragment of such a call."""

    index: int = 0
    id: str | None = None
    function: EngineFunction | None = None


class EngineDelta(msgspec.Struct):
    """What a chat choice has grown by."""

    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[EngineToolCall] | None = None


class EngineLogprobs(msgspec.Struct):
    """Both routes give the shape of chat completions."""

    content: list[TokenLogprob] | None = None


class EngineChoice(msgspec.Struct):
    """One choice of a chunk: `delta` from the chat route, `text` from the completions route."""

    index: int = 0
    delta: EngineDelta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: EngineLogprobs | None = None


class CachedTokens(msgspec.Struct, frozen=True):
    """How much of the prompt was still known to the slot."""

    cached_tokens: int = 0


class EngineUsage(msgspec.Struct):
    """Tokens of one choice: with several, the engine counts each by itself."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: CachedTokens = CachedTokens()


class EngineError(msgspec.Struct):
    """The engine's own refusal. `n_prompt_tokens` and `n_ctx` come with `exceed_context_size_error`.

    `code` is a status from llama.cpp, and the vendor's word from engines of ours, which also tell the `param`.
    """

    message: str = ""
    type: str = ""
    code: int | str | None = None
    param: str | None = None
    n_prompt_tokens: int = 0
    n_ctx: int = 0


class Progress(msgspec.Struct):
    """How much of the prompt has been read."""

    total: int = 0
    processed: int = 0


class EngineChunk(msgspec.Struct):
    """One event. Those with `prompt_progress` tell of the prompt and carry nothing of the answer."""

    choices: list[EngineChoice] = []
    usage: EngineUsage | None = None
    error: EngineError | None = None
    prompt_progress: Progress | None = None


_CHUNK = msgspec.json.Decoder(EngineChunk)


def read_chunk(data: bytes) -> EngineChunk:
    """Decode one event. Raises InferenceError if it is not what the engine speaks."""
    try:
        return _CHUNK.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise InferenceError(
            f"The engine sent an event that cannot be read: {error}.", failure=Failure.MALFORMED
        ) from error


class UsageCounter:
    """Adds up what several choices took; the prompt that they share is counted once."""

    def __init__(self) -> None:
        self._prompt: dict[int, EngineUsage] = {}
        self._completion_tokens = 0

    def add(self, usage: EngineUsage, prompt: int) -> None:
        """Take the usage of one choice that answers the prompt with that number."""
        self._prompt.setdefault(prompt, usage)
        self._completion_tokens += usage.completion_tokens

    def total(self) -> Usage:
        """Return the usage of the call."""
        prompts = self._prompt.values()
        return Usage(
            prompt_tokens=sum(usage.prompt_tokens for usage in prompts),
            completion_tokens=self._completion_tokens,
            cached_tokens=sum(usage.prompt_tokens_details.cached_tokens for usage in prompts),
        )
