"""Cuts Markdown that is still being written into blocks, so that finished ones are rendered once and for all.

Only block structure matters here (CommonMark 0.31, chapters 3 to 5): what a block looks like is the renderer's
business. Every block is bounded, so the cost of a long answer grows with its length and not with its square.
"""

import re
from dataclasses import dataclass

_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})[ \t]*([^\s`]*)")
_HEADING = re.compile(r" {0,3}#{1,6}(?:\s|$)")
_ITEM = re.compile(r" {0,3}(?:[-*+]|\d{1,9}[.)])(?:\s|$)")
_INDENTED = re.compile(r" {2,}|\t")
_ONLY_MARKUP = re.compile(r"[\s>]*(?:[-=*+#`~|:_\s]+|\d{1,9}[.)]?\s*)")

_CODE_LINES = 20
"""Lines of code after which a fence goes on in a new piece; highlighting looks back this far as well."""
_TEXT_CHARACTERS = 2_500
"""Characters after which a list goes on in a new block, at the next item."""
_HARD_LIMIT_CHARACTERS = 24_000
"""Characters after which any block is cut at the end of its line, and any line in its middle."""


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of Markdown that can be rendered alone; of a code fence, the code inside it.

    A piece of code that goes on from an earlier one brings the lines before it as `context`, for highlighting.
    """

    text: str
    is_code: bool = False
    language: str = ""
    context: str = ""
    is_continued: bool = False
    is_ended: bool = True


class BlockSplitter:
    """Takes text as it arrives; gives finished blocks, and the unfinished one as `tail`."""

    def __init__(self) -> None:
        self._partial = ""
        self._lines: list[str] = []
        self._size = 0
        self._fence: str | None = None
        self._language = ""
        self._nested_fence: str | None = None
        self._context: list[str] = []
        self._is_continued = False

    def feed(self, text: str) -> list[Block]:
        """Take the next text and return the blocks that it finished."""
        finished: list[Block] = []
        *complete, self._partial = (self._partial + text).split("\n")
        for line in complete:
            self._line(line, finished)
        while len(self._partial) > _HARD_LIMIT_CHARACTERS:
            line, self._partial = self._partial[:_HARD_LIMIT_CHARACTERS], self._partial[_HARD_LIMIT_CHARACTERS:]
            self._line(line, finished)
        return finished

    def tail(self) -> Block | None:
        """Return the block being written, without a last line that may still turn out to be anything."""
        if self._fence is not None:
            return self._code([*self._lines, self._partial] if self._partial else self._lines, is_ended=False)
        is_ambiguous = _ONLY_MARKUP.fullmatch(self._partial)
        lines = self._lines if is_ambiguous or not self._partial else [*self._lines, self._partial]
        return Block("\n".join(lines), is_continued=self._is_continued) if any(map(str.strip, lines)) else None

    def finish(self) -> list[Block]:
        """Return what is left at the end of the answer."""
        finished: list[Block] = []
        if self._partial:
            self._line(self._partial, finished)
            self._partial = ""
        if self._fence is not None:
            finished.append(self._code(self._lines, is_ended=True))
        else:
            self._end_text(finished)
        return finished

    def _line(self, line: str, finished: list[Block]) -> None:
        if self._fence is not None:
            self._code_line(line, finished)
        else:
            self._text_line(line, finished)

    def _code_line(self, line: str, finished: list[Block]) -> None:
        if self._closes(line, self._fence or ""):
            finished.append(self._code(self._lines, is_ended=True))
            self._fence, self._lines, self._size, self._context, self._is_continued = None, [], 0, [], False
            return
        self._add(line)
        if len(self._lines) >= _CODE_LINES or self._size > _HARD_LIMIT_CHARACTERS:
            finished.append(self._code(self._lines, is_ended=False))
            self._context = self._lines if self._size <= _HARD_LIMIT_CHARACTERS else []
            self._lines, self._size, self._is_continued = [], 0, True

    def _text_line(self, line: str, finished: list[Block]) -> None:
        if self._nested_fence is not None:
            if self._closes(line.strip(), self._nested_fence):
                self._nested_fence = None
            self._add(line)
        elif (fence := _FENCE.match(line)) and not (self._is_list() and line[0] == " "):
            self._end_text(finished)
            self._fence, self._language = fence[1], fence[2]
        elif _HEADING.match(line):
            self._end_text(finished)
            finished.append(Block(line))
        elif self._begins_block(line):
            self._end_text(finished)
            self._add(line)
        else:
            self._continue_text(line)
        if self._size > _HARD_LIMIT_CHARACTERS:
            self._end_text(finished, goes_on=True)

    def _continue_text(self, line: str) -> None:
        if self._is_list() and (fence := _FENCE.match(line.strip())):
            self._nested_fence = fence[1]
        if line.strip() or self._lines:
            self._add(line)

    def _begins_block(self, line: str) -> bool:
        """Tell whether a line of text, not blank, starts a block of its own."""
        if not self._lines or not line.strip():
            return False
        if self._is_list():
            if _ITEM.match(line):
                return self._size > _TEXT_CHARACTERS
            return not self._lines[-1].strip() and not _INDENTED.match(line)
        if not self._lines[-1].strip():
            return not (_INDENTED.match(line) and _INDENTED.match(self._lines[0]))
        return False

    def _is_list(self) -> bool:
        return bool(self._lines) and _ITEM.match(self._lines[0]) is not None

    def _add(self, line: str) -> None:
        self._lines.append(line)
        self._size += len(line) + 1

    def _end_text(self, finished: list[Block], *, goes_on: bool = False) -> None:
        text = "\n".join(self._lines).rstrip()
        if text.strip():
            finished.append(Block(text, is_continued=self._is_continued))
        self._is_continued = goes_on
        self._lines, self._size, self._nested_fence = [], 0, None

    def _code(self, lines: list[str], *, is_ended: bool) -> Block:
        return Block(
            "\n".join(lines),
            is_code=True,
            language=self._language,
            context="\n".join(self._context),
            is_continued=self._is_continued,
            is_ended=is_ended,
        )

    @staticmethod
    def _closes(line: str, fence: str) -> bool:
        stripped = line.strip()
        return len(line) - len(line.lstrip(" ")) < 4 and len(stripped) >= len(fence) and set(stripped) == {fence[0]}
