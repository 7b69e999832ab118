"""Puts a file together from slices, and finds its place again after it was killed."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from mainstay.platform.catalog.download import Pin
from mainstay.platform.catalog.errors import WrongContentError

_CHUNK_BYTES = 1 << 20


class Assembly:
    """A growing file of equal slices (the last may be shorter), hashed as it grows.

    A slice that was cut off is dropped on the next start; whole slices are kept, and read once to hash them.
    """

    def __init__(self, path: Path, pin: Pin, slice_bytes: int) -> None:
        """Continue the file at `path`, or begin it."""
        self._path = path
        self._pin = pin
        self._slice_bytes = slice_bytes
        self._hash = hashlib.sha256()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self._size_bytes = self._whole_slices_bytes()
        os.truncate(path, self._size_bytes)
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                self._hash.update(chunk)

    @property
    def slices(self) -> int:
        """How many slices are in."""
        return -(-self._size_bytes // self._slice_bytes)

    def next_slice_bytes(self) -> int:
        """Return the length of the slice that comes next."""
        return min(self._slice_bytes, self._pin.size_bytes - self._size_bytes)

    def append(self, slice_chunks: Iterable[bytes]) -> None:
        """Write one whole slice, durably, so that what a later start counts is really there."""
        with self._path.open("ab") as file:
            for chunk in slice_chunks:
                file.write(chunk)
                self._hash.update(chunk)
                self._size_bytes += len(chunk)
            file.flush()
            os.fsync(file.fileno())

    def verify(self, origin: str) -> None:
        """Remove the file and raise WrongContentError unless it is the pinned one."""
        found = self._hash.hexdigest()
        if self._size_bytes == self._pin.size_bytes and found == self._pin.sha256:
            return
        self._path.unlink()
        message = (
            f"{self._pin.name} put together from {origin} has {self._size_bytes:,} bytes and sha256 {found}; "
            f"expected {self._pin.size_bytes:,} bytes and {self._pin.sha256}."
        )
        raise WrongContentError(message)

    def _whole_slices_bytes(self) -> int:
        there = self._path.stat().st_size
        if there >= self._pin.size_bytes:
            return self._pin.size_bytes
        return there // self._slice_bytes * self._slice_bytes
