"""How an answer is shown while it arrives: as Markdown in a terminal, as plain text anywhere else."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from mainstay.cli.chat.untrusted import Cleaner

if TYPE_CHECKING:
    from rich.console import Console

_FRAME_SECONDS = 0.05
_SHARE_OF_TIME = 10
"""A frame may take one part in so many of the time between two."""
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


class View(Protocol):
    """Shows one answer."""

    def feed(self, text: str) -> None:
        """Take the next piece of the answer, as the model wrote it."""
        ...

    def refresh(self) -> None:
        """Show what is new; called many times a second."""
        ...

    def finish(self) -> None:
        """Show all that came, for good."""
        ...


class PlainView:
    """Writes text as it comes, without the control characters."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._cleaner = Cleaner()
        self._last = "\n"

    def feed(self, text: str) -> None:
        """Write the next piece."""
        if shown := self._cleaner.clean(text):
            self._write(shown)
            self._last = shown[-1]

    def refresh(self) -> None:
        """Nothing waits to be shown."""

    def finish(self) -> None:
        """End the last line."""
        if self._last != "\n":
            self._write("\n")


class MarkdownView:
    """Renders finished blocks once, and the unfinished one again and again in place."""

    def __init__(self, console: "Console", *, clock: Callable[[], float] = time.monotonic) -> None:
        # rich is slow to import, and is not needed before there is something to show.
        from mainstay.cli.chat.blocks import Block, BlockSplitter
        from mainstay.cli.chat.markdown import Renderer
        from mainstay.cli.chat.painter import Painter

        self._console = console
        self._clock = clock
        self._renderer = Renderer(console)
        self._splitter = BlockSplitter()
        self._painter = Painter(self._write, lambda: (console.width, console.height))
        self._cleaner = Cleaner()
        self._finished: list[Block] = []
        self._is_new = True
        self._has_text = False
        self._has_block = False
        self._began = clock()
        self._next_frame = 0.0
        self._write(_HIDE_CURSOR)

    def feed(self, text: str) -> None:
        """Take the next piece; the next `refresh` shows it."""
        self._finished += self._splitter.feed(self._cleaner.clean(text))
        self._is_new = True
        self._has_text = self._has_text or bool(text.strip())

    def refresh(self) -> None:
        """Show what is new, or that something is still to come."""
        now = self._clock()
        if now < self._next_frame or (self._has_text and not self._is_new):
            return
        if self._has_text:
            self._show()
        else:
            self._painter.paint([self._waiting(now)])
        self._is_new = False
        done = self._clock()
        self._next_frame = done + max(_FRAME_SECONDS, (done - now) * _SHARE_OF_TIME)

    def finish(self) -> None:
        """Show all that came, and give the cursor back."""
        self._finished += self._splitter.finish()
        try:
            self._show()
        finally:
            self._write(_SHOW_CURSOR)

    def _show(self) -> None:
        for block in self._finished:
            self._painter.keep(self._gap(is_continued=block.is_continued) + self._renderer.lines(block))
            self._has_block = True
        self._finished = []
        tail = self._splitter.tail()
        if tail is None:
            self._painter.paint([])
        else:
            lines = self._renderer.lines(tail, is_finished=False)
            self._painter.paint(self._gap(is_continued=tail.is_continued) + lines)

    def _gap(self, *, is_continued: bool) -> list[str]:
        return [""] if self._has_block and not is_continued else []

    def _waiting(self, now: float) -> str:
        frame = _SPINNER[int((now - self._began) * 10) % len(_SPINNER)]
        return f"\x1b[2m{frame} {now - self._began:.0f} s\x1b[0m"

    def _write(self, text: str) -> None:
        self._console.file.write(text)
        self._console.file.flush()
