"""The files of a journal: preallocated, so that a full disk cannot refuse what was promised room.

A segment holds JSON lines and, behind them, zero bytes. Reading skips zeros and whatever is no record: the torn
line of a writer that was killed, or pages that a power cut kept from the disk.
"""

import logging
import os
from pathlib import Path

import msgspec

from mainstay.platform.metering.calls import CallEnd, CallStart

SEGMENT_BYTES = 4 * 1024 * 1024
LINE_BYTES_MAX = 16_384
_CHUNK_BYTES = 65_536

Record = CallStart | CallEnd

_log = logging.getLogger(__name__)
_decoder = msgspec.json.Decoder(Record)


def segment_path(folder: Path, number: int) -> Path:
    """Return where segment `number` is, from 1."""
    return folder / f"{number:06d}.log"


def segment_numbers(folder: Path) -> list[int]:
    """Return the numbers of the segments in `folder`, oldest first."""
    return sorted(int(path.stem) for path in folder.glob("*.log"))


def create_segment(path: Path, size_bytes: int) -> int:
    """Make a segment with all its blocks on the disk; return its descriptor. Raises OSError, leaving nothing."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
    except BaseException:
        os.close(descriptor)
        path.unlink()
        raise
    return descriptor


class SegmentReader:
    """Reads one segment from front to back, in pieces small enough for an event loop (well under a millisecond)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, until: int | None = None) -> list[Record] | None:
        """Return the next records, or None at the end: of the file, or at the offset `until`."""
        size = _CHUNK_BYTES if until is None else min(_CHUNK_BYTES, until - self.offset)
        data = os.pread(self._descriptor, size, self.offset) if size > 0 else b""
        if not data:
            return None
        whole = data.rfind(b"\n") + 1
        if not whole:
            # A hole or a torn line, as long as the piece: a record may still begin behind the last zero.
            self.offset += data.rfind(b"\0") + 1 or len(data)
            return []
        self.offset += whole
        lines = (line.strip(b"\0") for line in data[:whole].split(b"\n"))
        return [record for line in lines if line and (record := self._decode(line)) is not None]

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _decode(self, line: bytes) -> Record | None:
        try:
            record: Record = _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            _log.warning("journal: A line of %s is no record and was skipped: %s", self.path, error)
            return None
        return record
