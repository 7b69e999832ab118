"""Reads the small files that settings are made of, whatever is really found at their paths."""

import os
import stat
from pathlib import Path


def read_small_file(path: Path, *, max_bytes: int) -> tuple[bytes, int]:
    """Return the content of a file and its permission bits.

    Raises OSError, whose `strerror` says why in words, also when it is no file, too large, or no path at all.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:
        raise OSError(0, "no file can have this name") from error
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise OSError(0, "it is not a file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(max_bytes + 1)
    finally:
        os.close(descriptor)
    if len(content) > max_bytes:
        raise OSError(0, f"it is larger than {max_bytes} bytes")
    return content, stat.S_IMODE(state.st_mode)


def is_open_to_others(mode: int) -> bool:
    """Tell whether permission bits let anyone but the owner read or write."""
    return bool(mode & (stat.S_IRWXG | stat.S_IRWXO))
