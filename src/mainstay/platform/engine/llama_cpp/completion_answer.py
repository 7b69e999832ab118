"""Renders text completions in OpenAI's legacy shape: as chunks while they come, or whole."""

from dataclasses import dataclass, field

import msgspec

from mainstay.inference import Usage
from mainstay.platform.engine.llama_cpp.chat_answer import usage_object
from mainstay.platform.engine.llama_cpp.completions import CompletionCall
from mainstay.platform.engine.llama_cpp.events import EngineChoice
from mainstay.platform.engine.llama_cpp.identity import Identity
from mainstay.platform.engine.llama_cpp.parameters import JsonObject
from mainstay.platform.engine.llama_cpp.pieces import TokenLogprob

_encode = msgspec.json.encode


class CompletionChunks:
    """The stream: for each choice its text, and why it ended; then, if wanted, the usage."""

    def __init__(self, call: CompletionCall, identity: Identity, *, wants_usage: bool) -> None:
        self._call = call
        self._lengths: dict[int, int] = {}
        self._head = _encode(_head(identity))[:-1] + b',"choices":['
        self._tail = b'}],"usage":null}' if wants_usage else b"}]}"
        self._wants_usage = wants_usage

    def feed(self, number: int, fragment: EngineChoice) -> list[bytes]:
        """Take a fragment of the choice with that number; return the chunks that it makes."""
        chunks = []
        if number not in self._lengths:
            echo = self._call.echoes[number // self._call.plan.choices]
            self._lengths[number] = len(echo)
            if echo:
                chunks.append(self._chunk(number, echo))
        text = fragment.text or ""
        tokens = _tokens(fragment)
        if text or tokens:
            logprobs = b"null"
            if self._call.top_logprobs is not None:
                logprobs = _encode(_legacy_logprobs(tokens, self._lengths[number], self._call.top_logprobs))
            chunks.append(self._chunk(number, text, logprobs=logprobs))
            self._lengths[number] += len(text)
        if fragment.finish_reason is not None:
            chunks.append(self._chunk(number, "", reason=_encode(fragment.finish_reason)))
        return chunks

    def end(self, usage: Usage) -> list[bytes]:
        """Return what follows the last choice."""
        if not self._wants_usage:
            return []
        return [self._head + b'],"usage":' + _encode(usage_object(usage)) + b"}"]

    def _chunk(self, number: int, text: str, *, logprobs: bytes = b"null", reason: bytes = b"null") -> bytes:
        return b'%b{"text":%b,"index":%d,"logprobs":%b,"finish_reason":%b%b' % (
            self._head, _encode(text), number, logprobs, reason, self._tail,
        )  # fmt: skip


@dataclass(slots=True)
class _Draft:
    text: list[str] = field(default_factory=list)
    tokens: list[TokenLogprob] = field(default_factory=list)
    finish_reason: str = "stop"

    def likelihood(self) -> float:
        """The mean log probability of its tokens, by which `best_of` chooses."""
        return sum(token.logprob for token in self.tokens) / len(self.tokens) if self.tokens else 0.0


class CompletionCollector:
    """The whole answer."""

    def __init__(self, call: CompletionCall, identity: Identity) -> None:
        self._call = call
        self._identity = identity
        self._drafts = [_Draft() for _ in range(call.plan.choices * len(call.plan.prompts))]

    def feed(self, number: int, fragment: EngineChoice) -> None:
        """Take a fragment of the choice with that number."""
        draft = self._drafts[number]
        if fragment.text:
            draft.text.append(fragment.text)
        draft.tokens += _tokens(fragment)
        if fragment.finish_reason is not None:
            draft.finish_reason = fragment.finish_reason

    def body(self, usage: Usage) -> bytes:
        """Return the answer: of each prompt the best of what was generated."""
        choices: list[JsonObject] = []
        for prompt, echo in enumerate(self._call.echoes):
            for draft in self._best(prompt):
                choices.append(self._choice(len(choices), draft, echo))
        return _encode(_head(self._identity) | {"choices": choices, "usage": usage_object(usage)})

    def _best(self, prompt: int) -> list[_Draft]:
        size = self._call.plan.choices
        drafts = self._drafts[prompt * size : (prompt + 1) * size]
        if self._call.count == size:
            return drafts
        return sorted(drafts, key=_Draft.likelihood, reverse=True)[: self._call.count]

    def _choice(self, number: int, draft: _Draft, echo: str) -> JsonObject:
        top = self._call.top_logprobs
        return {
            "text": echo + "".join(draft.text),
            "index": number,
            "logprobs": None if top is None else _legacy_logprobs(draft.tokens, len(echo), top),
            "finish_reason": draft.finish_reason,
        }


def _head(identity: Identity) -> JsonObject:
    return {
        "id": identity.id,
        "object": "text_completion",
        "created": identity.created,
        "model": identity.model,
        "system_fingerprint": identity.fingerprint,
    }


def _tokens(fragment: EngineChoice) -> list[TokenLogprob]:
    return (fragment.logprobs.content or []) if fragment.logprobs is not None else []


def _legacy_logprobs(tokens: list[TokenLogprob], offset: int, top: int) -> JsonObject:
    """Parallel lists; `text_offset` counts characters from the start of the choice's text."""
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.token)
    return {
        "tokens": [token.token for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [{other.token: other.logprob for other in token.top_logprobs[:top]} for token in tokens]
        if top
        else None,
        "text_offset": offsets,
    }
