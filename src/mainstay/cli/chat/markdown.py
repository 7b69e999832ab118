"""From blocks of Markdown to lines for the terminal."""

import re

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markdown import Heading, Markdown
from rich.segment import Segment, Segments
from rich.style import Style
from rich.syntax import Syntax
from rich.text import Text
from rich.theme import Theme

from mainstay.cli.chat.blocks import Block

_CODE_THEME = "ansi_dark"
"""Uses the terminal's own colours, so that it fits light and dark ones."""
_RULE_COLUMNS = 60
_THEME = Theme(
    {"markdown.code": "cyan", "markdown.item.number": "default", "markdown.item.bullet": "default"}
    | {f"markdown.h{level}": "bold" for level in range(1, 7)}
)
_FENCE_LINE = re.compile(r"^\s*(?:```|~~~)", re.MULTILINE)


class _LeftHeading(Heading):
    """A heading at the left margin, without a box: an answer is no title page."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "left"
        self.text.stylize(Style(bold=True, underline=self.tag == "h1"))
        yield self.text


class _Markdown(Markdown):
    elements = {**Markdown.elements, "heading_open": _LeftHeading}  # noqa: RUF012 - rich declares it so


class Renderer:
    """Renders blocks to lines with their colours, each line complete in itself."""

    def __init__(self, console: Console) -> None:
        self._console = console
        console.push_theme(_THEME)

    def lines(self, block: Block, *, is_finished: bool = True) -> list[str]:
        """Return the lines of a block; inline markup that is still open is closed for the look."""
        if block.is_code:
            return self._code(block)
        text = block.text if is_finished else _closed(block.text)
        # Links stay plain text: a terminal would follow an address that a model chose.
        return _trimmed(self._draw(_Markdown(text, code_theme=_CODE_THEME, hyperlinks=False)))

    def _code(self, block: Block) -> list[str]:
        width = min(self._console.width, _RULE_COLUMNS)
        title = f"── {block.language} " if block.language else ""
        lines = [] if block.is_continued else self._draw(Text(title + "─" * (width - len(title)), style="dim"))
        if block.text:
            lines += self._draw(_highlighted(block))
        return [*lines, *self._draw(Text("─" * width, style="dim"))] if block.is_ended else lines

    def _draw(self, renderable: RenderableType) -> list[str]:
        rows = self._console.render_lines(renderable, pad=False, new_lines=False)
        segments = [segment for row in rows for segment in (*_without_padding(row), Segment.line())]
        with self._console.capture() as capture:
            self._console.print(Segments(segments), end="", soft_wrap=True)
        return capture.get().split("\n")[: len(rows)]


def _without_padding(row: list[Segment]) -> list[Segment]:
    """Drop blanks at the end: a narrower window would wrap them."""
    end = len(row)
    while end and not row[end - 1].text.strip() and not _has_background(row[end - 1]):
        end -= 1
    return row[:end]


def _has_background(segment: Segment) -> bool:
    return segment.style is not None and segment.style.bgcolor is not None


def _highlighted(block: Block) -> Text:
    """Return the code in colours; what came before it decides whether it begins inside a string or a comment."""
    before = block.context + "\n" if block.context else ""
    syntax = Syntax("", block.language or "text", theme=_CODE_THEME, background_color="default")
    text = syntax.highlight(before + block.text)
    text.no_wrap = False
    first, count = before.count("\n"), block.text.count("\n") + 1
    lines = text.split("\n", allow_blank=True)[first : first + count]
    # The highlighter drops a blank line at the end.
    return Text("\n").join([*lines, *[Text()] * (count - len(lines))])


def _trimmed(lines: list[str]) -> list[str]:
    """Drop blank lines at both ends: how far blocks stand apart is not for one of them to say."""
    first, last = 0, len(lines)
    while first < last and not lines[first].strip():
        first += 1
    while last > first and not lines[last - 1].strip():
        last -= 1
    return lines[first:last]


def _closed(text: str) -> str:
    """Close inline code or bold text that is open in the last paragraph."""
    if len(_FENCE_LINE.findall(text)) % 2:
        return text
    last = re.split(r"\n\s*\n|\n(?=\s*[-*+] |\s*\d+[.)] )", text)[-1]
    if _FENCE_LINE.search(last):
        return text
    if last.count("`") % 2:
        return text.removesuffix("`") if text.endswith("`") else text + "`"
    if last.count("**") % 2:
        return text.removesuffix("**").rstrip() if text.endswith("**") else text.rstrip() + "**"
    return text
