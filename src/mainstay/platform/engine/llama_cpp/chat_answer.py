"""Renders chat answers in OpenAI's shape (API 2.3.0): as chunks while they come, or whole."""

import msgspec

from mainstay.inference import Usage
from mainstay.platform.engine.llama_cpp.chat import ChatCall
from mainstay.platform.engine.llama_cpp.chat_choice import ChatChoice
from mainstay.platform.engine.llama_cpp.events import EngineChoice
from mainstay.platform.engine.llama_cpp.identity import Identity
from mainstay.platform.engine.llama_cpp.parameters import JsonObject
from mainstay.platform.engine.llama_cpp.pieces import CallArguments, CallStart, Content, Piece, Reasoning, TokenLogprob

_encode = msgspec.json.encode
_ROLE = b'{"role":"assistant","content":"","refusal":null}'


def usage_object(usage: Usage) -> JsonObject:
    """Return the usage as it stands in chat and text completions."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


class ChatChunks:
    """The stream: for each choice the role, what it says, and why it ended; then, if wanted, the usage."""

    def __init__(self, call: ChatCall, identity: Identity, *, wants_usage: bool) -> None:
        self._call = call
        self._choices: dict[int, ChatChoice] = {}
        head = {
            "id": identity.id,
            "object": "chat.completion.chunk",
            "created": identity.created,
            "model": identity.model,
            "service_tier": "default",
            "system_fingerprint": identity.fingerprint,
        }
        self._head = _encode(head)[:-1] + b',"choices":['
        self._tail = b'}],"usage":null}' if wants_usage else b"}]}"
        self._wants_usage = wants_usage

    def feed(self, number: int, fragment: EngineChoice) -> list[bytes]:
        """Take a fragment of the choice with that number; return the chunks that it makes."""
        chunks = []
        choice = self._choices.get(number)
        if choice is None:
            choice = self._choices[number] = ChatChoice(self._call)
            chunks.append(self._chunk(number, _ROLE))
        for piece in choice.feed(fragment):
            rendered = self._render(number, piece)
            if rendered is not None:
                chunks.append(rendered)
        if choice.finish_reason is not None:
            chunks.append(self._chunk(number, b"{}", reason=_encode(choice.finish_reason)))
        return chunks

    def end(self, usage: Usage) -> list[bytes]:
        """Return what follows the last choice."""
        if not self._wants_usage:
            return []
        return [self._head + b'],"usage":' + _encode(usage_object(usage)) + b"}"]

    def _render(self, number: int, piece: Piece) -> bytes | None:
        match piece:
            case Content(text, logprobs):
                delta = b'{"content":' + _encode(text) + b"}"
                return self._chunk(number, delta, logprobs=_logprobs(logprobs) if logprobs else b"null")
            case Reasoning(text):
                return self._chunk(number, b'{"reasoning_content":' + _encode(text) + b"}")
            case _:
                delta_object = self._call_delta(piece)
                return None if delta_object is None else self._chunk(number, _encode(delta_object))

    def _call_delta(self, piece: CallStart | CallArguments) -> JsonObject | None:
        is_start = isinstance(piece, CallStart)
        function = {"name": piece.name, "arguments": ""} if isinstance(piece, CallStart) else {"arguments": piece.text}
        if self._call.tools.is_legacy:
            return {"function_call": function} if piece.index == 0 else None
        call: JsonObject = {"index": piece.index}
        if isinstance(piece, CallStart) and is_start:
            call |= {"id": piece.id, "type": "function"}
        return {"tool_calls": [call | {"function": function}]}

    def _chunk(self, number: int, delta: bytes, *, logprobs: bytes = b"null", reason: bytes = b"null") -> bytes:
        return b'%b{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b%b' % (
            self._head, number, delta, logprobs, reason, self._tail,
        )  # fmt: skip


class ChatCollector:
    """The whole answer."""

    def __init__(self, call: ChatCall, identity: Identity) -> None:
        self._call = call
        self._identity = identity
        self._choices = [ChatChoice(call) for _ in range(call.plan.choices)]
        self._pieces: list[list[Piece]] = [[] for _ in self._choices]

    def feed(self, number: int, fragment: EngineChoice) -> None:
        """Take a fragment of the choice with that number."""
        self._pieces[number] += self._choices[number].feed(fragment)

    def body(self, usage: Usage) -> bytes:
        """Return the answer."""
        identity = self._identity
        return _encode(
            {
                "id": identity.id,
                "object": "chat.completion",
                "created": identity.created,
                "model": identity.model,
                "choices": [self._choice(number) for number in range(len(self._choices))],
                "usage": usage_object(usage),
                "service_tier": "default",
                "system_fingerprint": identity.fingerprint,
            }
        )

    def _choice(self, number: int) -> JsonObject:
        pieces = self._pieces[number]
        logprobs = [token for piece in pieces if isinstance(piece, Content) for token in piece.logprobs]
        return {
            "index": number,
            "message": self._message(pieces),
            "logprobs": {"content": logprobs, "refusal": None} if self._call.top_logprobs is not None else None,
            "finish_reason": self._choices[number].finish_reason or "stop",
        }

    def _message(self, pieces: list[Piece]) -> JsonObject:
        content = "".join(piece.text for piece in pieces if isinstance(piece, Content))
        reasoning = "".join(piece.text for piece in pieces if isinstance(piece, Reasoning))
        calls = _calls(pieces)
        message: JsonObject = {
            "role": "assistant",
            "content": content if content or not calls else None,
            "refusal": None,
            "annotations": [],
        }
        if reasoning:
            message["reasoning_content"] = reasoning
        if calls and self._call.tools.is_legacy:
            message["function_call"] = calls[0]["function"]
        elif calls:
            message["tool_calls"] = calls
        return message


def _calls(pieces: list[Piece]) -> list[JsonObject]:
    calls: list[JsonObject] = []
    for piece in pieces:
        if isinstance(piece, CallStart):
            arguments = "".join(
                part.text for part in pieces if isinstance(part, CallArguments) and part.index == piece.index
            )
            function = {"name": piece.name, "arguments": arguments}
            calls.append({"id": piece.id, "type": "function", "function": function})
    return calls


def _logprobs(tokens: list[TokenLogprob]) -> bytes:
    return _encode({"content": tokens, "refusal": None})
