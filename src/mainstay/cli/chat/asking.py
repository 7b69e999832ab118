"""Asks one question and shows the answer; Ctrl-C stops the answer and nothing else."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field

from mainstay.cli.chat.interrupts import stopping
from mainstay.cli.chat.views import View
from mainstay.client import Event, Finished, Text
from mainstay.kit.errors import MainstayError

_FRAME_SECONDS = 0.05
_CLOSE_SECONDS = 5.0


@dataclass(slots=True)
class Answer:
    """An answer as far as it came. Without `finished` it broke off: by `error`, or by Ctrl-C."""

    pieces: list[str] = field(default_factory=list)
    finished: Finished | None = None
    error: MainstayError | None = None
    began: float = field(default_factory=time.monotonic)
    first_text: float | None = None
    ended: float = 0.0

    @property
    def text(self) -> str:
        """Everything that the model said."""
        return "".join(self.pieces)

    @property
    def is_interrupted(self) -> bool:
        """Whether Ctrl-C stopped it."""
        return self.finished is None and self.error is None


async def show(events: AsyncGenerator[Event, None], view: View) -> Answer:
    """Show an answer while it arrives and return it; errors are in it, not raised."""
    answer = Answer()
    reading = asyncio.create_task(_read(events, view, answer))
    with stopping(reading), _quiet_keyboard():
        try:
            while not reading.done():
                view.refresh()
                await asyncio.wait({reading}, timeout=_FRAME_SECONDS)
        finally:
            reading.cancel()
            await asyncio.wait({reading}, timeout=_CLOSE_SECONDS)
            answer.ended = time.monotonic()
            view.finish()
    if reading.done() and not reading.cancelled():
        reading.result()
    return answer


async def _read(events: AsyncGenerator[Event, None], view: View, answer: Answer) -> None:
    try:
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Text):
                    answer.first_text = answer.first_text or time.monotonic()
                    answer.pieces.append(event.text)
                    view.feed(event.text)
                elif isinstance(event, Finished):
                    answer.finished = event
    except MainstayError as error:
        answer.error = error


@contextlib.contextmanager
def _quiet_keyboard() -> Iterator[None]:
    """Keep what is typed meanwhile out of the answer; the next prompt gets it, unless Ctrl-C throws it away."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield
        return
    import termios

    before = termios.tcgetattr(sys.stdin)
    quiet = list(before)
    quiet[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(sys.stdin, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, before)
