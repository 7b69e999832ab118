"""As much of a terminal as the painter needs: it refuses what it does not know."""

import re

from rich.cells import cell_len

_TOKEN = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|(\n)|(\r)|([^\x1b\n\r]+)")


class Screen:
    def __init__(self, columns=80, rows=24):
        self.columns, self.height = columns, rows
        self.lines = [""]
        self.row = self.column = 0
        self.is_cursor_shown = True
        self.written = 0

    def write(self, text):
        self.written += len(text)
        end = 0
        for token in _TOKEN.finditer(text):
            assert token.start() == end, f"unknown sequence in {text!r}"
            end = token.end()
            self._take(*token.groups())
        assert end == len(text), f"unknown sequence in {text!r}"
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        return True

    def _take(self, parameters, final, newline, carriage_return, text):
        if newline:
            self.row, self.column = self.row + 1, 0
            if self.row == len(self.lines):
                self.lines.append("")
        elif text:
            assert self.column == cell_len(self.lines[self.row]), "nothing is written over other text"
            self.lines[self.row] += text
            self.column = cell_len(self.lines[self.row])
            assert self.column <= self.columns
        elif final == "A":
            self.row -= int(parameters)
            assert self.row >= len(self.lines) - self.height, "the cursor cannot reach what scrolled away"
        elif final == "J":
            del self.lines[self.row :]
            self.lines.append("")
        elif final == "m":
            pass
        elif parameters == "?25":
            self.is_cursor_shown = final == "h"
        else:
            assert carriage_return, (parameters, final)
            self.column = 0

    @property
    def text(self):
        return "\n".join(line.rstrip() for line in self.lines).rstrip("\n")
