import io
import re

import pytest
from rich.console import Console
from tests.cli.screen import Screen
from tests.cli.test_chat_blocks import ANSWER

from mainstay.cli.chat.painter import Painter
from mainstay.cli.chat.views import MarkdownView, PlainView


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def markdown_view(screen, clock):
    console = Console(
        file=screen, force_terminal=True, width=screen.columns, height=screen.height, color_system="standard"
    )
    return MarkdownView(console, clock=clock)


def shown(text, size, **options):
    screen = Screen(**options)
    clock = Clock()
    view = markdown_view(screen, clock)
    for start in range(0, len(text), size):
        view.feed(text[start : start + size])
        clock.now += 1
        view.refresh()
    view.finish()
    return screen


def test_only_what_changed_is_painted_again():
    written = []
    painter = Painter(written.append, lambda: (80, 24))
    painter.paint(["one", "two"])
    painter.paint(["one", "two!", "three"])
    painter.paint(["one", "two!", "three"])
    painter.keep(["one"])
    painter.paint(["next"])
    assert written == ["one\ntwo\n", "\x1b[1A\r\x1b[Jtwo!\nthree\n", "\x1b[2A\r\x1b[J", "next\n"]


def test_what_scrolled_away_is_left_alone():
    screen = Screen(rows=5)
    painter = Painter(screen.write, lambda: (80, 5))
    painter.paint([f"line {number}" for number in range(10)])
    painter.paint(["changed", *(f"line {number}" for number in range(1, 12))])
    assert screen.lines[0] == "line 0"
    assert screen.text.endswith("line 10\nline 11")


def test_a_window_that_became_narrower_counts_the_rows_of_wrapped_lines():
    size = [(80, 24)]
    written = []
    painter = Painter(written.append, lambda: size[0])
    painter.paint(["x" * 80, "short"])
    size[0] = (40, 24)
    painter.paint([])
    assert written[-1] == "\x1b[3A\r\x1b[J"


@pytest.mark.parametrize("size", [1, 3, 11, 10_000])
def test_an_answer_looks_the_same_however_it_arrived(size):
    assert shown(ANSWER, size).text == shown(ANSWER, len(ANSWER)).text


def test_markdown_is_rendered_and_code_is_set_apart():
    text = shown("## Title\nSome **bold** and `code`.\n\n```python\nx = 1\n```\n", 4).text
    assert text.startswith("Title\n\nSome bold and code.\n\n── python ─")
    assert "\nx = 1\n──" in text
    assert "`" not in text


def test_code_longer_than_the_window_keeps_every_line():
    code = "".join(f"line_{number} = '''\n" if number % 9 == 0 else f"x = {number}\n" for number in range(300))
    text = shown(f"Here:\n\n```python\n{code}```\nDone.", 7, rows=10).text
    assert [line for line in text.split("\n") if "=" in line] == code.splitlines()
    assert text.endswith("Done.")


def test_a_blank_line_where_long_code_is_cut_is_kept():
    code = "".join("\n" if number % 5 == 4 else f"x = {number}\n" for number in range(100))
    text = shown(f"```python\n{code}```\n", 9).text
    assert "\n".join(text.split("\n")[1:-1]) == code.rstrip("\n") + "\n"


@pytest.mark.parametrize("size", [1, 5])
def test_open_bold_text_and_code_never_show_their_marks_while_they_arrive(size):
    screen = Screen()
    clock = Clock()
    view = markdown_view(screen, clock)
    text = "Some **bold words** and `code here` end"
    for start in range(0, len(text), size):
        view.feed(text[start : start + size])
        clock.now += 1
        view.refresh()
        assert not re.search(r"\*\*\w|\w\*\*\w|`", screen.text), screen.text
    view.finish()
    assert screen.text == "Some bold words and code here end"


HOSTILE = (
    "# A\x1b]0;owned\x07 \x1b[2J\x1b[H\n\n\x1b]52;c;AAAA\x07- x\x9b2J\n\n```\x1b[31m\n\x1b[1;1Hcode\n```\n[l](http://e)"
)


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_hostile_output_cannot_steer_the_terminal(size):
    screen = shown(HOSTILE, size)  # the screen refuses every sequence that is not the painter's
    assert "owned" not in screen.text
    assert "code" in screen.text


@pytest.mark.parametrize("language", ["python", "no-such-language", "../../etc/passwd", "\x1b[31m"])
def test_any_name_of_a_language_is_harmless(language):
    assert "x = 1" in shown(f"```{language}\nx = 1\n```\n", 3).text


@pytest.mark.parametrize("mark", ["[/red]", "[bold]x", "[link=http://e]y[/link]", ":smile:"])
def test_the_renderers_own_markup_is_only_text(mark):
    assert mark in shown(f"a {mark} b", 3).text


def test_links_are_shown_as_text_and_cannot_be_followed():
    screen = shown("[click](http://evil.example/?q=1)", 5)
    assert "click" in screen.text


def test_the_traffic_of_a_long_answer_grows_with_its_length():
    def written(paragraphs):
        return shown("A line of words that is a paragraph.\n\n" * paragraphs, 10).written

    assert written(400) < 4.5 * written(100)


def test_until_something_comes_a_spinner_turns_and_then_it_is_gone():
    screen = Screen()
    clock = Clock()
    view = markdown_view(screen, clock)
    view.refresh()
    assert " s" in screen.text
    assert not screen.is_cursor_shown
    view.feed("Hi")
    clock.now += 1
    view.refresh()
    assert screen.text == "Hi"
    view.finish()
    assert screen.is_cursor_shown


def test_an_answer_of_nothing_leaves_nothing():
    screen = Screen()
    clock = Clock()
    view = markdown_view(screen, clock)
    view.refresh()
    view.finish()
    assert screen.text == ""


def test_plain_output_is_the_text_without_controls_and_ends_its_last_line():
    out = io.StringIO()
    view = PlainView(out.write)
    for piece in ("**Hi** \x1b", "[31mthere\x1b]0;", "x\x07"):
        view.feed(piece)
        view.refresh()
    view.finish()
    assert out.getvalue() == "**Hi** there\n"
