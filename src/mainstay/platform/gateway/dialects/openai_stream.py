"""A streamed answer of an OpenAI vendor: events passed on as they are, decoded only where a byte probe says why."""

from collections.abc import AsyncIterator
from typing import Self

import msgspec

from mainstay.inference import Failure, InferenceError, Request, Usage
from mainstay.kit.http import EventParser, MalformedResponse, Response, TransportError
from mainstay.platform.gateway import failures
from mainstay.platform.gateway.dialects.openai_usage import UsageObject
from mainstay.platform.gateway.provider import Provider
from mainstay.platform.gateway.vendor_error import is_error

DONE = b"[DONE]"


class _Choice(msgspec.Struct):
    index: int | None = 0
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    """The parts of a chunk that concern us."""

    model: str | None = None
    choices: list[_Choice] | None = None
    usage: UsageObject | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


class OpenAIStream:
    """Yields chunks until `[DONE]`; every other end is an error, unless all choices had finished before."""

    __slots__ = (
        "_decode", "_error", "_events", "_expected_choices", "_finished", "_has_chunks", "_is_done", "_provider",
        "_response", "_wants_model", "_wants_usage", "model", "usage",
    )  # fmt: skip

    def __init__(self, response: Response, provider: Provider, *, wants_usage: bool, expected_choices: int) -> None:
        self.usage: Usage | None = None
        self.model: str | None = None
        self._response = response
        self._provider = provider
        self._wants_usage = wants_usage
        self._expected_choices = expected_choices
        self._events = EventParser()
        self._finished: set[int] | None = None
        self._wants_model = True
        self._has_chunks = self._is_done = False
        self._error: InferenceError | None = None

    def __aiter__(self) -> AsyncIterator[list[bytes]]:
        return self

    async def __anext__(self) -> list[bytes]:
        """Return the chunks that arrived together; never an empty list. Raises InferenceError."""
        while self._error is None and not self._is_done:
            chunks = self._accepted(await self._read_events())
            if chunks:
                return chunks
        if self._error is not None:
            await self._response.aclose()
            raise self._error
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close the upstream at once, unless the answer had already ended."""
        if not self._is_done:
            await self._response.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def _read_events(self) -> list[bytes]:
        try:
            data = await self._response.read_chunk()
            return self._events.feed(data) if data else self._at_end()
        except TransportError as error:
            self._error = failures.from_transport(error, self._provider)
            self._error.__cause__ = error
            return []

    def _at_end(self) -> list[bytes]:
        """The body has ended without `[DONE]`, or without the blank line after it, which some vendors leave out."""
        try:
            if self._events.flush() == [DONE]:
                return [DONE]
        except MalformedResponse:
            pass  # what is left is no event, so it is not `[DONE]`
        if self._has_chunks and len(self._finished or ()) >= self._expected_choices:
            self._is_done = True
        else:
            what = "ended its stream before the answer was complete"
            self._error = failures.unusable(self._provider, what, failure=Failure.TRUNCATED)
        return []

    def _accepted(self, events: list[bytes]) -> list[bytes]:
        """Return the chunks to pass on; a fault among them is kept, and raised after those before it."""
        chunks = []
        try:
            for event in events:
                if event == DONE:
                    self._finish()
                    break
                if self._is_passed_on(event):
                    chunks.append(event)
        except InferenceError as error:
            self._error = error
        return chunks

    def _finish(self) -> None:
        if not self._has_chunks:
            raise failures.unusable(self._provider, "ended its stream without any answer")
        self._is_done = True
        self._response.discard()

    def _is_passed_on(self, event: bytes) -> bool:
        """Look at one event. Raises InferenceError if it is none, or reports an error."""
        if event[:1] != b"{" or event[-1:] != b"}":
            event = event.strip()
            if event[:1] != b"{" or event[-1:] != b"}":
                raise failures.unusable(self._provider, "sent an event that is not JSON")
        if self._wants_model or _is_telling(event):
            return self._is_decoded_chunk_passed_on(event)
        return True

    def _is_decoded_chunk_passed_on(self, event: bytes) -> bool:
        try:
            chunk = _DECODER.decode(event)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise failures.unusable(self._provider, f"sent an event in broken JSON ({error})") from error
        if is_error(chunk.error):
            raise failures.from_error_object(chunk.error, self._provider)
        self._has_chunks = True
        if chunk.model:
            self.model = chunk.model
        if chunk.model or chunk.choices:
            self._wants_model = False
        for choice in chunk.choices or ():
            if choice.finish_reason:
                self._finished = self._finished or set()
                self._finished.add(choice.index or 0)
        if chunk.usage is None:
            return True
        self.usage = chunk.usage.read()
        return self._wants_usage or bool(chunk.choices)


_DECODER = msgspec.json.Decoder(_Chunk)


def _is_telling(event: bytes) -> bool:
    """Say whether an event must be decoded. Quotes inside a text are escaped, so that texts do not match."""
    return (
        b'"error"' in event
        or (b'"usage"' in event and b'"usage":null' not in event)
        or b'"finish_reason":"' in event
        or b'"finish_reason": "' in event
    )


def expected_choices(request: Request) -> int:
    """Return how many choices a stream has: `n` for each prompt."""
    return _count(request.fields.get("n")) * _prompts(request.fields.get("prompt"))


def _count(raw: msgspec.Raw | None) -> int:
    try:
        return max(1, msgspec.json.decode(raw, type=int | None) or 1) if raw is not None else 1
    except msgspec.MsgspecError:
        return 1


def _prompts(raw: msgspec.Raw | None) -> int:
    """A list of texts or of token lists is several prompts; a list of tokens is one."""
    try:
        prompts = msgspec.json.decode(raw, type=list[str | list[int]]) if raw is not None else []
    except msgspec.MsgspecError:
        return 1
    return max(1, len(prompts))
