"""Paints lines at the bottom of the terminal and repaints only what changed: no flicker, little traffic."""

import re
import shutil
from collections.abc import Callable, Sequence

from rich.cells import cell_len

_SEQUENCE = re.compile(r"\x1b\[[0-9;]*m")


class Painter:
    """Owns the last lines on the screen; the cursor rests at the start of the line below them.

    Lines that have scrolled out of the window cannot be changed any more and stay as they are.
    """

    def __init__(
        self, write: Callable[[str], object], size: Callable[[], tuple[int, int]] = shutil.get_terminal_size
    ) -> None:
        self._write = write
        self._size = size
        self._painted: list[str] = []

    def paint(self, lines: Sequence[str]) -> None:
        """Show these lines in place of the ones painted before."""
        same = 0
        for old, new in zip(self._painted, lines, strict=False):
            if old != new:
                break
            same += 1
        first = max(same, self._first_reachable())
        up = sum(map(self._rows, self._painted[first:]))
        if up or first < len(lines):
            move = f"\x1b[{up}A\r\x1b[J" if up else ""
            self._write(move + "".join(line + "\n" for line in lines[first:]))
        self._painted = list(lines)

    def keep(self, lines: Sequence[str]) -> None:
        """Show these lines in place of the ones painted before, for good: the next paint goes below them."""
        self.paint(lines)
        self._painted = []

    def _first_reachable(self) -> int:
        """Return the first painted line that is still in the window."""
        free = self._size()[1] - 1
        first = len(self._painted)
        while first and (free := free - self._rows(self._painted[first - 1])) >= 0:
            first -= 1
        return first

    def _rows(self, line: str) -> int:
        """Return how many rows a line takes; more than one if the window became narrower since it was painted."""
        columns = max(self._size()[0], 1)
        return max(1, -(-cell_len(_SEQUENCE.sub("", line)) // columns))
