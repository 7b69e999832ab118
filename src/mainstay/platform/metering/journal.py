"""The journal of one worker: what is written here survives the worker, and needs no database.

One write(2) when a call starts and one when it ends, about 3 us each with its encoding, into a file whose blocks exist
already. Room for the end of every open call is set aside when it starts, so a full disk refuses new calls and
never the end of an old one. kill -9 loses nothing; a power cut loses what the kernel had not yet written.
"""

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from mainstay.kit.errors import UnavailableError
from mainstay.platform.metering.calls import CallEnd, CallStart, Outcome
from mainstay.platform.metering.folders import create_folder
from mainstay.platform.metering.segments import LINE_BYTES_MAX, SEGMENT_BYTES, create_segment, segment_path

__all__ = ["CallEnd", "CallStart", "Journal", "JournalFullError", "Outcome"]

END_BYTES_MAX = 2048
_FAILURE_LENGTH_MAX = 64

CreateSegment = Callable[[Path, int], int]


class JournalFullError(UnavailableError):
    """A call cannot be written down, so it is not made."""

    code = "journal_full"


class Journal:
    """Writes the records of one worker. Not for use from several threads."""

    def __init__(
        self, root: Path, *, segment_bytes: int = SEGMENT_BYTES, create: CreateSegment = create_segment
    ) -> None:
        """Make a folder of our own under `root`, with a first segment. Raises OSError if the disk is full."""
        self.segment_bytes = segment_bytes
        self.folder = create_folder(root)
        self._create = create
        self._encode = msgspec.json.Encoder().encode
        self._open_calls: set[str] = set()
        self._spares: deque[int] = deque()
        self._ends_per_segment = segment_bytes // END_BYTES_MAX
        self._newest = 1
        self._number = 1
        self._offset = 0
        self._descriptor = create(segment_path(self.folder.path, 1), segment_bytes)
        self._is_closed = False

    @property
    def position(self) -> tuple[int, int]:
        """Where the next record goes: the segment's number and the offset in it. All before it is written."""
        return self._number, self._offset

    @property
    def open_calls(self) -> int:
        """The number of calls that have started and not ended."""
        return len(self._open_calls)

    def start(self, record: CallStart) -> None:
        """Write down that a call starts. Raises JournalFullError; the call must then not be made."""
        line = self._encode(record) + b"\n"
        if len(line) > LINE_BYTES_MAX:
            raise JournalFullError(f"The record of a call would take {len(line)} bytes; names are too long.")
        while self._ends_that_fit_after(len(line)) <= len(self._open_calls):
            self._add_spare()
        self._write(line)
        self._open_calls.add(record.call_id)

    def end(self, record: CallEnd) -> None:
        """Write down that a call has ended. Only the first end of a call counts."""
        if record.call_id not in self._open_calls:
            return
        line = self._encode(record) + b"\n"
        if len(line) > END_BYTES_MAX:
            line = self._encode(_shortened(record)) + b"\n"
        self._write(line)
        self._open_calls.discard(record.call_id)

    def close(self) -> None:
        """Write no more; the folder stays as it is, and owned. What is still open will be found interrupted."""
        if self._is_closed:
            return
        self._is_closed = True
        self._open_calls.clear()
        for descriptor in (self._descriptor, *self._spares):
            os.close(descriptor)
        # No room at all: the next start asks for more and is refused there, at no cost to those before.
        self._spares.clear()
        self.segment_bytes = self._offset

    def _ends_that_fit_after(self, size: int) -> int:
        """How many ends have room once `size` more bytes are written; -1 if those do not fit themselves.

        An end moves on to the next segment only when less than END_BYTES_MAX is left, so none of these is lost.
        """
        left = self.segment_bytes - self._offset
        if size <= left:
            return (left - size) // END_BYTES_MAX + len(self._spares) * self._ends_per_segment
        if not self._spares:
            return -1
        return (self.segment_bytes - size) // END_BYTES_MAX + (len(self._spares) - 1) * self._ends_per_segment

    def _add_spare(self) -> None:
        if self._is_closed:
            raise JournalFullError("The journal is closed: this worker is shutting down. Try again.")
        number = self._newest + 1
        try:
            self._spares.append(self._create(segment_path(self.folder.path, number), self.segment_bytes))
        except OSError as error:
            raise JournalFullError(
                f"There is no room to write calls down in {self.folder.path}: {error.strerror}. Free some disk space."
            ) from error
        self._newest = number

    def _write(self, line: bytes) -> None:
        if self._offset + len(line) > self.segment_bytes:
            os.close(self._descriptor)
            self._descriptor = self._spares.popleft()
            self._number += 1
            self._offset = 0
        written = 0
        try:
            while written < len(line):
                written += os.pwrite(self._descriptor, line[written:], self._offset + written)
        except OSError as error:
            raise JournalFullError(f"The journal {self.folder.path} cannot be written: {error.strerror}.") from error
        self._offset += len(line)


def _shortened(record: CallEnd) -> CallEnd:
    """Drop the names, which the start has too, from an end that would outgrow its room."""
    failure = record.failure and record.failure[:_FAILURE_LENGTH_MAX]
    return msgspec.structs.replace(record, provider=None, model=None, failure=failure)
