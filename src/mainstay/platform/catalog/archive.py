"""Reads one member of a zip archive as data: nothing is unpacked to a path, imported or run."""

import contextlib
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mainstay.platform.catalog.errors import WrongContentError

_CHUNK_BYTES = 1 << 20
_MAX_NESTED_BYTES = 512 << 20
# What zipfile lets through on spoiled archives; RuntimeError stands for encryption, OSError for impossible positions.
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_member(archive: Path, member: str, *, inner_member: str = "", size_bytes: int) -> Iterator[bytes]:
    """Yield the content of `member`, or of `inner_member` of the zip archive that `member` is.

    Raises WrongContentError if a member is missing, is not `size_bytes` long as declared and as read, or is damaged.
    """
    try:
        with contextlib.ExitStack() as stack:
            outer = stack.enter_context(zipfile.ZipFile(archive))
            if inner_member:
                nested = _open(outer, member, at_most=_MAX_NESTED_BYTES)
                outer = stack.enter_context(zipfile.ZipFile(stack.enter_context(nested)))
            content = stack.enter_context(_open(outer, inner_member or member, exactly=size_bytes))
            yield from _read_exactly(content, size_bytes, inner_member or member)
    except _DAMAGE as error:
        raise WrongContentError(f"The archive {archive.name} is damaged: {error}.") from error


def _open(archive: zipfile.ZipFile, member: str, *, exactly: int = 0, at_most: int = 0) -> IO[bytes]:
    try:
        info = archive.getinfo(member)
    except KeyError:
        raise WrongContentError(f"The archive has no member {member}.") from None
    if info.compress_type not in _METHODS:
        raise WrongContentError(f"The member {member} is packed by an unexpected method.")
    if (exactly and info.file_size != exactly) or (at_most and info.file_size > at_most):
        expected = f"{exactly:,}" if exactly else f"at most {at_most:,}"
        raise WrongContentError(f"The member {member} claims {info.file_size:,} bytes; expected {expected}.")
    return archive.open(info)


def _read_exactly(content: IO[bytes], size_bytes: int, member: str) -> Iterator[bytes]:
    received = 0
    while chunk := content.read(_CHUNK_BYTES):
        received += len(chunk)
        if received > size_bytes:
            break
        yield chunk
    if received != size_bytes:
        raise WrongContentError(f"The member {member} does not hold the {size_bytes:,} bytes that it claims.")
