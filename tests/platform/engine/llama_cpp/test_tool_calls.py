"""Finding calls in text: every form, every cut, and nothing that is not one."""

import itertools
import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.platform.catalog.weights import ToolCallStyle
from mainstay.platform.engine.llama_cpp.pieces import CallArguments, CallStart, Content
from mainstay.platform.engine.llama_cpp.tool_calls import ToolCallParser

NAMES = frozenset({"get_weather", "add"})
WEATHER = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
ADD = '{"name": "add", "parameters": {"a": 1, "b": [2]}}'
PARIS = ("get_weather", {"city": "Paris"})
SUM = ("add", {"a": 1, "b": [2]})

Result = tuple[str, list[tuple[str, object]]]


def parse(pieces: Sequence[str], style: ToolCallStyle = ToolCallStyle.HERMES_OR_JSON, max_calls: int = 128) -> Result:
    parser = ToolCallParser(NAMES, style, max_calls=max_calls)
    found = [piece for text in pieces for piece in parser.feed(text)] + parser.finish()
    text = "".join(piece.text for piece in found if isinstance(piece, Content))
    starts = [piece for piece in found if isinstance(piece, CallStart)]
    assert [start.index for start in starts] == list(range(len(starts)))
    assert len({start.id for start in starts}) == len(starts)
    arguments = {
        start.index: "".join(
            piece.text for piece in found if isinstance(piece, CallArguments) and piece.index == start.index
        )
        for start in starts
    }
    return text, [(start.name, json.loads(arguments[start.index])) for start in starts]


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        (WEATHER, "", [PARIS]),
        (f"  \n{WEATHER}\n ", "", [PARIS]),
        (ADD, "", [SUM]),
        (f"[{WEATHER}, {ADD}]", "", [PARIS, SUM]),
        (f"{WEATHER}\n{ADD}", "", [PARIS, SUM]),
        (f"{WEATHER};{ADD}", "", [PARIS, SUM]),
        (f"```json\n{WEATHER}\n```", "", [PARIS]),
        (f"```\n{WEATHER}\n```", "", [PARIS]),
        (f"```JSON\r\n{WEATHER}\r\n```", "", [PARIS]),
        (f"```json\n{WEATHER}", "", [PARIS]),
        (f"```json\n{WEATHER}\n{ADD}\n```", "", [PARIS, SUM]),
        (f"```json\n{WEATHER}\n```\n```json\n{ADD}\n```\n", "", [PARIS, SUM]),
        (f"<tool_call>\n{WEATHER}\n</tool_call>", "", [PARIS]),
        (f"<tool_call>{WEATHER}</tool_call>\n<tool_call>{ADD}</tool_call>", "", [PARIS, SUM]),
        (f"<tool_call>{WEATHER}", "", [PARIS]),
        (f"I will look.\n```json\n{WEATHER}\n```", "I will look.\n", [PARIS]),
        (f"I will look. <tool_call>{WEATHER}</tool_call> Done.", "I will look. Done.", [PARIS]),
        (f"Now:\n{WEATHER}", "Now:\n", [PARIS]),
        ('{"name": "add"}', "", [("add", {})]),
        ('{"type": "function", "function": {"name": "add", "arguments": {}}}', "", [("add", {})]),
        ('{"name": "add", "arguments": "{\\"a\\": 1}"}', "", [("add", {"a": 1})]),
        ('{"name": "add", "arguments": {"text": "a } ] \\" { b"}}', "", [("add", {"text": 'a } ] " { b'})]),
    ],
)
def test_call_is_found(text: str, content: str, calls: list[tuple[str, object]]) -> None:
    assert parse([text]) == (content, calls)
    assert parse(list(text)) == (content, calls)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n ",
        "Hello.",
        "\n\n  Hello.",
        "{",
        "[",
        "[link](http://x) and {braces}",
        "a < b, <b>bold</b>, <tool_call",
        "<tool_call>not json</tool_call>",
        "```python\nprint({})\n```",
        "```\nint main() {\n  return 0;\n}\n```",
        "```json\n{}\n```",
        '{"name": "unknown", "arguments": {}}',
        '{"name": "add", "arguments": [1]}',
        '{"name": "add", "arguments": "not json"}',
        '{"name": "add", "arguments": {"a": ',
        '{"city": "Paris", "name": "add", "arguments": {}}',
        f'{{"results": [\n{WEATHER},\n{ADD}\n]}}',
        f'[\n{WEATHER},\n{{"name": "unknown"}}\n]',
        f"Use `{WEATHER}` to ask.",
        "{'name': 'add', 'arguments': {}}",
        "{]" * 100,
        "[" * 1000 + "]" * 1000,
        '{"name": "add", "arguments": ' + '{"a":' * 500,
    ],
)
def test_text_that_is_no_call_is_left_as_it_is(text: str) -> None:
    assert parse([text]) == (text, [])
    assert parse(list(text)) == (text, [])


def test_model_that_keeps_to_its_tags_may_answer_in_json() -> None:
    fenced = f"```json\n{WEATHER}\n```"
    assert parse([WEATHER], ToolCallStyle.HERMES) == (WEATHER, [])
    assert parse([fenced], ToolCallStyle.HERMES) == (fenced, [])
    assert parse([f"<tool_call>{WEATHER}</tool_call>"], ToolCallStyle.HERMES) == ("", [PARIS])


def test_calls_beyond_the_limit_are_dropped() -> None:
    assert parse([f"[{WEATHER},{ADD}]"], max_calls=1) == ("", [PARIS])


def test_ordinary_text_is_not_held_back() -> None:
    parser = ToolCallParser(NAMES, ToolCallStyle.HERMES_OR_JSON)
    given_out = [parser.feed(text) for text in ("Hel", "lo, ", "a < b", "\n", "more")]
    assert all(given_out)


def test_json_answer_flows_as_soon_as_it_is_clear_that_it_is_no_call() -> None:
    parser = ToolCallParser(NAMES, ToolCallStyle.HERMES_OR_JSON)
    assert parser.feed('{"na') == []
    assert parser.feed('me": "Anna"') == [Content('{"name": "Anna"')]
    assert parser.feed(', "age": 5') == [Content(', "age": 5')]


FRAGMENTS = st.sampled_from(
    [
        WEATHER, ADD, "{", "}", "[", "]", '"', "\\", "```", "```json\n", "\n```\n", "<tool_call>", "</tool_call>", "<",
        "\n", " ", ",", ";", "Hello ", '{"name": "add"', '"arguments": {}', ": ", '{"name": "x"}', "é", "\r\n",
    ]
)  # fmt: skip


@st.composite
def texts_with_cuts(draw: st.DrawFn) -> tuple[str, list[str]]:
    text = "".join(draw(st.lists(FRAGMENTS, max_size=12)))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=20)))
    bounds = [0, *cuts, len(text)]
    return text, [text[start:end] for start, end in itertools.pairwise(bounds)]


@settings(max_examples=500, deadline=None)
@given(texts_with_cuts(), st.sampled_from([ToolCallStyle.HERMES, ToolCallStyle.HERMES_OR_JSON]))
def test_any_cut_of_a_text_gives_the_same(case: tuple[str, list[str]], style: ToolCallStyle) -> None:
    text, pieces = case
    whole = parse([text], style)
    assert parse(pieces, style) == whole
    assert parse(list(text), style) == whole
    if not whole[1]:
        assert whole[0] == text
