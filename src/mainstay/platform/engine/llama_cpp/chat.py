"""Reads a chat request and builds the engine's from it: a new body, of what is known to be harmless."""

import re
from dataclasses import dataclass

from mainstay.inference import Request
from mainstay.platform.catalog.weights import Ability, ToolCallStyle, Weights
from mainstay.platform.engine.llama_cpp.jobs import Plan
from mainstay.platform.engine.llama_cpp.limits import Limits
from mainstay.platform.engine.llama_cpp.messages import read_messages
from mainstay.platform.engine.llama_cpp.parameters import (
    Fields,
    JsonObject,
    invalid,
    list_at,
    object_at,
    read,
    read_boolean,
    read_integer,
    string_at,
    unsupported,
)
from mainstay.platform.engine.llama_cpp.sampling import read_count, read_max_tokens, read_sampling, read_seed
from mainstay.platform.engine.llama_cpp.schema import any_of, check_schema
from mainstay.platform.engine.llama_cpp.tools import Tools, read_tools

_SCHEMA_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ANY_OBJECT: JsonObject = {"type": "object"}


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A chat request that is understood. `top_logprobs` of None means that none are wanted."""

    plan: Plan
    tools: Tools
    tool_call_style: ToolCallStyle
    top_logprobs: int | None


def read_chat(request: Request, weights: Weights, limits: Limits) -> ChatCall:
    """Check a request. Raises InvalidRequestError with the path of what is wrong."""
    fields = request.fields
    messages = read_messages(fields, limits)
    _refuse_other_modalities(fields)
    tools = read_tools(fields, limits)
    if tools.callable_names and Ability.TOOLS not in weights.abilities:
        raise unsupported(
            "functions" if tools.is_legacy else "tools",
            f"Model '{weights.id}' was not taught to call tools; send the request without, or use another model.",
        )
    top_logprobs = _read_logprobs(fields)
    parameters = read_sampling(fields, limits)
    if top_logprobs is not None:
        # With 0 the engine would give none at all, without a number 20.
        parameters |= {"logprobs": True, "top_logprobs": max(top_logprobs, 1)}
    parameters |= _constraint(_read_format(fields, limits), tools)
    plan = Plan(
        route="/v1/chat/completions",
        prompts=[{"messages": messages}],
        choices=read_count(fields, "n", limits.choices),
        parameters=parameters,
        max_tokens=read_max_tokens(fields, "max_completion_tokens", "max_tokens"),
        seed=read_seed(fields),
    )
    style = weights.profile.tool_call_style
    is_constrained = "response_format" in parameters
    return ChatCall(plan, tools, ToolCallStyle.HERMES_OR_JSON if is_constrained else style, top_logprobs)


def _constraint(answer: JsonObject | None, tools: Tools) -> JsonObject:
    """What the engine is told of tools and of the form of the answer.

    A call that must be made is asked for as JSON of a schema of ours. The engine's own `tool_choice` let small models
    write it in a fence and go on with line breaks until their tokens were used up (Qwen2.5-Coder, xllamacpp 2026.10).
    """
    if not tools.callable_names:
        return {} if answer is None else {"response_format": _json_schema(answer)}
    offered: JsonObject = {"tools": list(tools.offered)}
    if tools.is_required:
        schemas = tools.calls()
    elif answer is not None:
        schemas = [*tools.calls(), answer]
    else:
        return offered | {"tool_choice": "auto", "parallel_tool_calls": tools.is_parallel}
    # "none": the tools are told to the model, and the schema alone decides what it may write.
    return offered | {"tool_choice": "none", "response_format": _json_schema(any_of(schemas))}


def _json_schema(schema: JsonObject) -> JsonObject:
    if schema is _ANY_OBJECT:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def _read_format(fields: Fields, limits: Limits) -> JsonObject | None:
    """Return the schema of the answer, None for free text."""
    value = read(fields, "response_format")
    if value is None:
        return None
    given = object_at(value, "response_format")
    kind = string_at(given.get("type"), "response_format.type")
    if kind == "text":
        return None
    if kind == "json_object":
        return _ANY_OBJECT
    if kind != "json_schema":
        raise invalid("response_format.type", f"'{kind[:32]}' is not one of text, json_object and json_schema.")
    path = "response_format.json_schema"
    described = object_at(given.get("json_schema"), path)
    name = string_at(described.get("name"), f"{path}.name")
    if not _SCHEMA_NAME.fullmatch(name):
        raise invalid(f"{path}.name", "The name may have up to 64 letters, digits, '_' and '-'.")
    if described.get("schema") is None:
        return _ANY_OBJECT
    return check_schema(described["schema"], f"{path}.schema", limits.schema)


def _read_logprobs(fields: Fields) -> int | None:
    wanted = read_boolean(fields, "logprobs") or False
    top = read_integer(fields, "top_logprobs", 0, 20)
    if top is not None and not wanted:
        raise invalid("top_logprobs", "'top_logprobs' needs 'logprobs' to be true.")
    return (top or 0) if wanted else None


def _refuse_other_modalities(fields: Fields) -> None:
    modalities = read(fields, "modalities")
    if modalities is not None and list_at(modalities, "modalities", max_count=8) != ["text"]:
        raise unsupported("modalities", "This model answers with text only.")
    if read(fields, "audio") is not None:
        raise unsupported("audio", "This model cannot speak; leave 'audio' out.")
    if read(fields, "web_search_options") is not None:
        raise unsupported("web_search_options", "This model cannot search the web; leave 'web_search_options' out.")
