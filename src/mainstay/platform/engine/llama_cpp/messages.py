"""The conversation: each message checked and rebuilt with nothing in it but what a chat template reads."""

import msgspec

from mainstay.platform.engine.llama_cpp.limits import Limits
from mainstay.platform.engine.llama_cpp.parameters import (
    Fields,
    JsonObject,
    invalid,
    list_at,
    missing,
    object_at,
    read,
    string_at,
    unsupported,
    wrong_type,
)

_ROLES = ("developer", "system", "user", "assistant", "tool", "function")
_TEXT_PARTS = ("text", "input_text", "output_text", "refusal")
_DECODER = msgspec.json.Decoder()


def read_messages(fields: Fields, limits: Limits) -> list[JsonObject]:
    """Return the messages as the engine gets them. Raises InvalidRequestError with the path of what is wrong."""
    value = read(fields, "messages")
    if value is None:
        raise missing("messages")
    items = list_at(value, "messages", max_count=limits.messages)
    return [_message(item, f"messages[{place}]", limits) for place, item in enumerate(items)]


def _message(item: object, path: str, limits: Limits) -> JsonObject:
    given = object_at(item, path)
    role = string_at(given.get("role"), f"{path}.role")
    if role not in _ROLES:
        raise invalid(f"{path}.role", f"'{role[:32]}' is not a role; use one of {', '.join(_ROLES)}.")
    content = _text(given.get("content"), f"{path}.content", limits)
    if role == "assistant":
        return _assistant(given, content, path, limits)
    if content is None:
        raise missing(f"{path}.content")
    if role in ("tool", "function"):
        return _tool_result(given, content, path, is_legacy=role == "function")
    message: JsonObject = {"role": "system" if role == "developer" else role, "content": content}
    if given.get("name") is not None:
        message["name"] = string_at(given["name"], f"{path}.name")
    return message


def _tool_result(given: JsonObject, content: str, path: str, *, is_legacy: bool) -> JsonObject:
    if is_legacy:
        name = string_at(given.get("name"), f"{path}.name")
        return {"role": "tool", "content": content, "name": name, "tool_call_id": name}
    return {
        "role": "tool",
        "content": content,
        "tool_call_id": string_at(given.get("tool_call_id"), f"{path}.tool_call_id"),
    }


def _assistant(given: JsonObject, content: str | None, path: str, limits: Limits) -> JsonObject:
    calls = []
    if given.get("tool_calls"):
        items = list_at(given["tool_calls"], f"{path}.tool_calls", max_count=limits.tools)
        calls = [_call(item, f"{path}.tool_calls[{place}]") for place, item in enumerate(items)]
    elif given.get("function_call") is not None:
        function = _called_function(given["function_call"], f"{path}.function_call")
        calls = [{"id": str(function["name"]), "type": "function", "function": function}]
    if content is None and given.get("refusal") is not None:
        content = string_at(given["refusal"], f"{path}.refusal")
    if content is None and not calls:
        raise missing(f"{path}.content")
    message: JsonObject = {"role": "assistant", "content": content or ""}
    if calls:
        message["tool_calls"] = calls
    return message


def _call(item: object, path: str) -> JsonObject:
    call = object_at(item, path)
    if call.get("type", "function") != "function":
        raise unsupported(f"{path}.type", "Only calls of type 'function' can be read by this model.")
    return {
        "id": string_at(call.get("id"), f"{path}.id"),
        "type": "function",
        "function": _called_function(call.get("function"), f"{path}.function"),
    }


def _called_function(value: object, path: str) -> JsonObject:
    function = object_at(value, path)
    name = string_at(function.get("name"), f"{path}.name")
    arguments = string_at(function.get("arguments"), f"{path}.arguments")
    return {"name": name, "arguments": _as_json(arguments)}


def _as_json(arguments: str) -> str:
    """Templates want JSON; what a model once wrote may not be any, and then it is quoted."""
    if not arguments.strip():
        return "{}"
    try:
        _DECODER.decode(arguments)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return msgspec.json.encode(arguments).decode()
    return arguments


def _text(content: object, path: str, limits: Limits) -> str | None:
    """Content as one text: parts are joined by line breaks."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise wrong_type(path, "a string or an array of content parts", content)
    parts = list_at(content, path, max_count=limits.parts)
    return "\n".join(_part(part, f"{path}[{place}]") for place, part in enumerate(parts))


def _part(value: object, path: str) -> str:
    part = object_at(value, path)
    kind = string_at(part.get("type"), f"{path}.type")
    if kind not in _TEXT_PARTS:
        raise unsupported(path, f"Content of type '{kind[:32]}' cannot be read by this model; send text.")
    return string_at(part.get("refusal" if kind == "refusal" else "text"), f"{path}.text")
