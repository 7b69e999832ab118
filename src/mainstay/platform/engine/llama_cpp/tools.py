"""The tools on offer, and what the model must do about them."""

import re
from dataclasses import dataclass

from mainstay.platform.engine.llama_cpp.limits import Limits
from mainstay.platform.engine.llama_cpp.parameters import (
    Fields,
    JsonObject,
    invalid,
    list_at,
    object_at,
    read,
    read_boolean,
    string_at,
    unsupported,
    wrong_type,
)
from mainstay.platform.engine.llama_cpp.schema import check_schema, within

_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")


@dataclass(frozen=True, slots=True)
class Tools:
    """What the model may call. Without `callable_names` it may call nothing.

    `is_required` says that it must answer with a call, `is_legacy` that the caller speaks `functions`.
    """

    offered: tuple[JsonObject, ...] = ()
    callable_names: frozenset[str] = frozenset()
    is_required: bool = False
    is_parallel: bool = True
    is_legacy: bool = False

    def calls(self) -> list[JsonObject]:
        """Return the JSON schema of each call that may be made."""
        schemas = []
        for tool in self.offered:
            function = tool["function"]
            if isinstance(function, dict) and function["name"] in self.callable_names:
                schemas.append(_schema_of_call(function))
        return schemas


def read_tools(fields: Fields, limits: Limits) -> Tools:
    """Return the tools of a request, `functions` and `function_call` included. Raises InvalidRequestError."""
    tools = read(fields, "tools")
    if tools is None and read(fields, "functions") is not None:
        return _read_functions(fields, limits)
    if tools is None or tools == []:
        _refuse_choice_without_tools(fields)
        return Tools()
    items = list_at(tools, "tools", max_count=limits.tools)
    offered = tuple(_tool(item, f"tools[{place}]", limits) for place, item in enumerate(items))
    return _choose(
        offered, read(fields, "tool_choice"), is_parallel=read_boolean(fields, "parallel_tool_calls") is not False
    )


def _tool(item: object, path: str, limits: Limits) -> JsonObject:
    tool = object_at(item, path)
    kind = string_at(tool.get("type"), f"{path}.type")
    if kind != "function":
        raise unsupported(f"{path}.type", f"Tools of type '{kind[:32]}' cannot be used by this model; use 'function'.")
    return {"type": "function", "function": _function(tool.get("function"), f"{path}.function", limits)}


def _function(value: object, path: str, limits: Limits) -> JsonObject:
    given = object_at(value, path)
    name = string_at(given.get("name"), f"{path}.name")
    if not _NAME.fullmatch(name):
        raise invalid(f"{path}.name", f"'{name[:64]}' is not a function name: letters, digits, '_', '-' and '.' only.")
    function: JsonObject = {"name": name}
    if given.get("description") is not None:
        function["description"] = string_at(given["description"], f"{path}.description")
    parameters = given.get("parameters")
    function["parameters"] = (
        {"type": "object", "properties": {}}
        if parameters is None
        else check_schema(parameters, f"{path}.parameters", limits.schema)
    )
    return function


def _choose(offered: tuple[JsonObject, ...], choice: object, *, is_parallel: bool) -> Tools:
    names = frozenset(_name_of(tool) for tool in offered)
    if choice is None or choice == "auto":
        return Tools(offered, names, is_parallel=is_parallel)
    if choice == "none":
        return Tools()
    if choice == "required":
        return Tools(offered, names, is_required=True, is_parallel=is_parallel)
    if isinstance(choice, str):
        raise invalid("tool_choice", f"'{choice[:32]}' is not a choice; use none, auto, required or a named tool.")
    if not isinstance(choice, dict):
        raise wrong_type("tool_choice", "a string or an object", choice)
    allowed, is_required = _allowed(choice)
    unknown = allowed - names
    if unknown:
        raise invalid("tool_choice", f"'{min(unknown)[:64]}' in 'tool_choice' is not among the tools.")
    return Tools(offered, allowed, is_required=is_required, is_parallel=is_parallel)


def _allowed(choice: JsonObject) -> tuple[frozenset[str], bool]:
    """Return the names that may be called, and whether one must be."""
    kind = string_at(choice.get("type"), "tool_choice.type")
    if kind == "function":
        function = object_at(choice.get("function"), "tool_choice.function")
        return frozenset({string_at(function.get("name"), "tool_choice.function.name")}), True
    if kind != "allowed_tools":
        raise unsupported("tool_choice.type", f"'{kind[:32]}' cannot be chosen; use 'function' or 'allowed_tools'.")
    path = "tool_choice.allowed_tools"
    allowed = object_at(choice.get("allowed_tools"), path)
    tools = list_at(allowed.get("tools"), f"{path}.tools", max_count=1_024)
    names = [_allowed_name(tool, f"{path}.tools[{place}]") for place, tool in enumerate(tools)]
    mode = allowed.get("mode", "auto")
    if mode not in ("auto", "required"):
        raise invalid(f"{path}.mode", "The mode must be 'auto' or 'required'.")
    return frozenset(names), mode == "required"


def _allowed_name(value: object, path: str) -> str:
    tool = object_at(value, path)
    function = object_at(tool.get("function"), f"{path}.function")
    return string_at(function.get("name"), f"{path}.function.name")


def _read_functions(fields: Fields, limits: Limits) -> Tools:
    """The form before tools (2023): one call at most, given as `function_call`."""
    items = list_at(read(fields, "functions"), "functions", max_count=limits.tools)
    offered: tuple[JsonObject, ...] = tuple(
        {"type": "function", "function": _function(item, f"functions[{place}]", limits)}
        for place, item in enumerate(items)
    )
    choice = read(fields, "function_call")
    if isinstance(choice, dict):
        choice = {"type": "function", "function": choice}
    tools = _choose(offered, choice, is_parallel=False)
    return Tools(tools.offered, tools.callable_names, is_required=tools.is_required, is_parallel=False, is_legacy=True)


def _refuse_choice_without_tools(fields: Fields) -> None:
    if read(fields, "tool_choice") not in (None, "none", "auto"):
        raise invalid("tool_choice", "'tool_choice' asks for a call, but 'tools' offers nothing to call.")


def _name_of(tool: JsonObject) -> str:
    function = tool["function"]
    return str(function["name"]) if isinstance(function, dict) else ""


def _schema_of_call(function: JsonObject) -> JsonObject:
    parameters = function["parameters"]
    arguments = within(parameters, "/properties/arguments") if isinstance(parameters, dict) else {}
    return {
        "type": "object",
        "properties": {"name": {"const": function["name"]}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
