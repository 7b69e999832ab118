"""From the data of an answer to its events."""

from collections.abc import Iterator

import msgspec

from mainstay.client.errors import AnswerCutOffError, UnexpectedAnswerError, cut_off
from mainstay.client.events import Event, Finished, Reasoning, Text, ToolCall
from mainstay.protocol.answers import ChatAnswer, Choice, Message, Usage

_DONE = b"[DONE]"
_NO_ERROR = (b"", b"null")


class AnswerReader:
    """Reads one answer, whole or chunk by chunk; `finish` gives its last event. Only the first choice counts."""

    def __init__(self) -> None:
        self.is_done = False
        self._model = ""
        self._reason: str | None = None
        self._usage: Usage | None = None

    def chunk(self, data: bytes) -> Iterator[Event]:
        """Yield what one chunk says. Raises AnswerCutOffError if it is the error that ends the stream."""
        if data == _DONE:
            self.is_done = True
            return
        try:
            answer = msgspec.json.decode(data, type=ChatAnswer)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise AnswerCutOffError(f"A piece of the answer cannot be read: {error}.") from error
        yield from self._events(answer)

    def whole(self, body: bytes) -> Iterator[Event]:
        """Yield what an answer in one piece says."""
        try:
            answer = msgspec.json.decode(body, type=ChatAnswer)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UnexpectedAnswerError(f"The server's answer is no chat completion: {error}.") from error
        if not answer.choices and bytes(answer.error) in _NO_ERROR:
            raise UnexpectedAnswerError("The server's answer is no chat completion: it has no choices.")
        yield from self._events(answer)

    def finish(self) -> Finished:
        """Return the last event. Raises AnswerCutOffError if the answer ended before it was complete."""
        if self._reason is None and not self.is_done:
            raise AnswerCutOffError("The answer ended before it was complete; ask again.")
        return Finished(reason=self._reason or "stop", model=self._model, usage=self._usage)

    def _events(self, answer: ChatAnswer) -> Iterator[Event]:
        if bytes(answer.error) not in _NO_ERROR:
            raise cut_off(bytes(answer.error))
        self._model = answer.model or self._model
        self._usage = answer.usage or self._usage
        for choice in answer.choices:
            if choice.index == 0:
                self._reason = choice.finish_reason or self._reason
                yield from _choice_events(choice)


def _choice_events(choice: Choice) -> Iterator[Event]:
    said = choice.delta or choice.message or Message()
    if said.reasoning_content:
        yield Reasoning(said.reasoning_content)
    if text := said.content or said.refusal:
        yield Text(text)
    for call in said.tool_calls or ():
        function = call.function
        yield ToolCall(
            index=call.index,
            id=call.id,
            name=function.name if function else None,
            arguments=(function.arguments or "") if function else "",
        )
