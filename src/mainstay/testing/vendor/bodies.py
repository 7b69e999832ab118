"""The bodies that the vendor sends: answers, stream events and errors in the shapes of OpenAI and Azure."""

from typing import TypedDict

import msgspec

from mainstay.testing.vendor.script import Received, Reply, ToolCall

CREATED = 1_760_000_000
DONE = b"data: [DONE]\n\n"

Json = dict[str, object]


class _UsageObject(TypedDict):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int]
    completion_tokens_details: dict[str, int]


def whole(received: Received, reply: Reply) -> bytes:
    """Return a one-shot answer to any of the operations."""
    model = reply.model or received.model
    if "/embeddings" in received.path:
        return _embeddings(received, model, reply)
    if _is_chat(received):
        message: Json = {"role": "assistant", "content": reply.text, "refusal": None}
        if reply.tool_calls:
            message |= {"content": None, "tool_calls": [_tool_call(call) for call in reply.tool_calls]}
        answered: Json = {"message": message, "logprobs": None}
    else:
        answered = {"text": reply.text, "logprobs": None}
    choices = [answered | {"index": index, "finish_reason": _reason(reply)} for index in range(received.choices)]
    return msgspec.json.encode(_envelope(received, model, is_chunk=False) | {"choices": choices, "usage": usage(reply)})


def events(received: Received, reply: Reply, *, is_azure: bool) -> list[bytes]:
    """Return the events of a streamed answer, `[DONE]` included."""
    model = reply.model or received.model
    envelope = _envelope(received, model, is_chunk=True)
    payloads: list[Json] = [_filter_results()] if is_azure else []
    deltas = _chat_deltas(reply) if _is_chat(received) else [{"text": piece} for piece in pieces(reply)]
    last: Json = {"delta": {}} if _is_chat(received) else {"text": ""}
    for index in range(received.choices):
        payloads += [envelope | {"choices": [delta | {"index": index, "finish_reason": None}]} for delta in deltas]
        payloads.append(envelope | {"choices": [last | {"index": index, "finish_reason": _reason(reply)}]})
    if received.include_usage and reply.has_usage_beside_choices:
        payloads[-1]["usage"] = usage(reply)
    elif received.include_usage:
        payloads = [{**payload, "usage": None} for payload in payloads]
        payloads.append(envelope | {"choices": [], "usage": usage(reply)})
    return [event(payload) for payload in payloads] + [DONE]


def event(payload: Json) -> bytes:
    """Return one server-sent event."""
    return b"data: " + msgspec.json.encode(payload) + b"\n\n"


def error(status: int, *, code: str | None = None, message: str | None = None, is_azure: bool = False) -> bytes:
    """Return an error body as the vendor would send it with this status."""
    known = _ERRORS.get(status, ("server_error", None, f"The vendor fails with {status}."))
    error_type, known_code, known_message = known
    content: Json = {"message": message or known_message, "type": error_type, "param": None, "code": code or known_code}
    if is_azure and code is None:
        content = {"code": str(status), "message": message or known_message}
    return msgspec.json.encode({"error": content})


def models(names: list[str]) -> bytes:
    """Return the list of models."""
    data = [{"id": name, "object": "model", "created": CREATED, "owned_by": "scripted"} for name in names]
    return msgspec.json.encode({"object": "list", "data": data})


def usage(reply: Reply) -> _UsageObject:
    """Return the usage object of a reply."""
    completion_tokens = len(pieces(reply)) if reply.completion_tokens is None else reply.completion_tokens
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": reply.prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": reply.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reply.reasoning_tokens},
    }


def pieces(reply: Reply) -> list[str]:
    """Cut the text into as many pieces as the reply wants, or as it has characters."""
    count = max(1, min(reply.chunks, len(reply.text)))
    size, longer = divmod(len(reply.text), count)
    ends = [size * (i + 1) + min(i + 1, longer) for i in range(count)]
    return [reply.text[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


_ERRORS: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "The vendor does not accept this request."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: ("permission_error", "access_denied", "This key may not use this model."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests."),
}


def _is_chat(received: Received) -> bool:
    return "/chat/completions" in received.path


def _reason(reply: Reply) -> str:
    return reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")


def _envelope(received: Received, model: str, *, is_chunk: bool) -> Json:
    if _is_chat(received):
        kind, prefix = "chat.completion.chunk" if is_chunk else "chat.completion", "chatcmpl"
    else:
        kind, prefix = "text_completion", "cmpl"
    return {"id": f"{prefix}-scripted", "object": kind, "created": CREATED, "model": model}


def _tool_call(call: ToolCall) -> Json:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _chat_deltas(reply: Reply) -> list[Json]:
    deltas: list[Json] = [{"delta": {"role": "assistant", "content": "", "refusal": None}}]
    if not reply.tool_calls:
        return deltas + [{"delta": {"content": piece}} for piece in pieces(reply)]
    for index, call in enumerate(reply.tool_calls):
        head = {"index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        deltas.append({"delta": {"tool_calls": [head]}})
        half = len(call.arguments) // 2
        deltas += [
            {"delta": {"tool_calls": [{"index": index, "function": {"arguments": part}}]}}
            for part in (call.arguments[:half], call.arguments[half:])
        ]
    return deltas


def _filter_results() -> Json:
    """The first chunk of an Azure stream: no choices, and hardly anything else."""
    safe = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
    results = [{"prompt_index": 0, "content_filter_results": safe}]
    return {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": results}


def _embeddings(received: Received, model: str, reply: Reply) -> bytes:
    vector = [0.25, -0.5, 0.125]
    data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(received.choices)]
    tokens = {"prompt_tokens": reply.prompt_tokens, "total_tokens": reply.prompt_tokens}
    return msgspec.json.encode({"object": "list", "data": data, "model": model, "usage": tokens})
