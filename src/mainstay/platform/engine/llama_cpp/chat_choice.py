"""One choice of a chat answer: the engine's fragments become content, calls, and a reason to end."""

from mainstay.platform.engine.llama_cpp.chat import ChatCall
from mainstay.platform.engine.llama_cpp.events import EngineChoice, EngineToolCall
from mainstay.platform.engine.llama_cpp.pieces import (
    CallArguments,
    CallStart,
    Content,
    Piece,
    Reasoning,
    TokenLogprob,
)
from mainstay.platform.engine.llama_cpp.tool_calls import MAX_CALLS, ToolCallParser, new_call_id


class ChatChoice:
    """Follows one choice. After its end `finish_reason` is set."""

    def __init__(self, call: ChatCall) -> None:
        tools = call.tools
        self._parser = (
            ToolCallParser(tools.callable_names, call.tool_call_style, max_calls=MAX_CALLS if tools.is_parallel else 1)
            if tools.callable_names
            else None
        )
        self._is_legacy = tools.is_legacy
        self._top_logprobs = call.top_logprobs
        self._logprobs: list[TokenLogprob] = []
        self._native: dict[int, int] = {}
        self.finish_reason: str | None = None

    def feed(self, choice: EngineChoice) -> list[Piece]:
        """Take a fragment; return what is certain by now."""
        pieces: list[Piece] = []
        delta = choice.delta
        if choice.logprobs is not None and choice.logprobs.content:
            self._logprobs += [self._trimmed(token) for token in choice.logprobs.content]
        if delta is not None:
            if delta.reasoning_content:
                pieces.append(Reasoning(delta.reasoning_content))
            if delta.content:
                pieces += self._content(delta.content)
            for fragment in delta.tool_calls or ():
                pieces += self._native_call(fragment)
        if choice.finish_reason is not None:
            pieces += self._finish(choice.finish_reason)
        return [self._with_logprobs(piece) for piece in pieces] if self._logprobs else pieces

    def _content(self, text: str) -> list[Piece]:
        return [Content(text)] if self._parser is None else self._parser.feed(text)

    def _finish(self, reason: str) -> list[Piece]:
        pieces = [] if self._parser is None else self._parser.finish()
        has_calls = self._parser is not None and self._parser.calls > 0
        if has_calls and reason != "length":
            reason = "function_call" if self._is_legacy else "tool_calls"
        self.finish_reason = reason
        return pieces

    def _native_call(self, fragment: EngineToolCall) -> list[Piece]:
        """A call that the engine has recognised by the template's own tags."""
        function, parser = fragment.function, self._parser
        if function is None or parser is None:
            return []
        pieces: list[Piece] = []
        if fragment.index not in self._native:
            self._native[fragment.index] = parser.calls
            pieces.append(CallStart(parser.calls, new_call_id(), function.name or ""))
            parser.calls += 1
        if function.arguments:
            pieces.append(CallArguments(self._native[fragment.index], function.arguments))
        return pieces

    def _with_logprobs(self, piece: Piece) -> Piece:
        """Text that was held back brings the tokens of its time along; those of calls go nowhere."""
        if isinstance(piece, CallStart):
            self._logprobs = []
        if not isinstance(piece, Content) or not self._logprobs:
            return piece
        logprobs, self._logprobs = self._logprobs, []
        return Content(piece.text, logprobs)

    def _trimmed(self, token: TokenLogprob) -> TokenLogprob:
        return TokenLogprob(
            token=token.token,
            logprob=token.logprob,
            bytes=token.bytes,
            top_logprobs=token.top_logprobs[: self._top_logprobs or 0],
        )
