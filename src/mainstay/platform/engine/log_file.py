"""The log of one engine: what its child prints, bounded in size, the last lines kept at hand."""

import logging
import os
from pathlib import Path

_MAX_BYTES = 4 * 1024 * 1024
_TAIL_BYTES = 4096
_LAST_LINES = 6
_LAST_WORDS_CHARACTERS = 1000

_logger = logging.getLogger(__name__)


class LogFile:
    """Appends to a file; a full one becomes `<name>.1`, replacing the one before."""

    def __init__(self, path: Path, *, max_bytes: int = _MAX_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._tail = b""

    def write(self, text: bytes) -> None:
        """Append. A disk that is full costs the text, never the engine."""
        self._tail = (self._tail + text)[-_TAIL_BYTES:]
        try:
            self._append(text)
        except OSError as error:
            _logger.warning("Cannot write %s: %s", self.path, error)

    def forget(self) -> None:
        """Start anew what `last_words` looks at: a new child is not to be blamed for the words of the one before."""
        self._tail = b""

    def last_words(self) -> str:
        """Return the last lines on one line, shortened."""
        lines = [line.strip() for line in self._tail.decode(errors="replace").splitlines()]
        return " | ".join([line for line in lines if line][-_LAST_LINES:])[-_LAST_WORDS_CHARACTERS:]

    def _append(self, text: bytes) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            os.write(descriptor, text)
        finally:
            os.close(descriptor)
        if size + len(text) > self._max_bytes:
            self.path.replace(self.path.with_name(self.path.name + ".1"))
