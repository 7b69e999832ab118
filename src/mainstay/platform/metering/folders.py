"""The folder of one worker's journal, and who may touch it.

`journal/<worker>/lock` is locked by flock(2) for as long as the worker lives; the kernel lets go when it dies,
however it dies. Whoever holds the lock owns the folder.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from mainstay.kit.ids import new_id

_LOCK = "lock"
_UNFINISHED = ".new-"
_UNFINISHED_SECONDS = 3600.0


class OwnedFolder:
    """A journal folder whose lock this process holds."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    def release(self) -> None:
        """Let others have it, as it is."""
        os.close(self._lock)

    def remove(self) -> None:
        """Delete it, the lock last, so that nobody takes over a part of it."""
        for path in self.path.iterdir():
            if path.name != _LOCK:
                path.unlink()
        (self.path / _LOCK).unlink()
        self.path.rmdir()
        os.close(self._lock)


def create_folder(root: Path) -> OwnedFolder:
    """Make a folder of our own; it appears under its name only once its lock is held."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = new_id("worker_")
    draft = root / f"{_UNFINISHED}{name}"
    draft.mkdir(mode=0o700)
    # Not inherited by children (Python's default): a child that outlived us would keep the folder from being adopted.
    lock = os.open(draft / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    path = root / name
    draft.rename(path)
    return OwnedFolder(path, lock)


def adopt_folders(root: Path) -> Iterator[OwnedFolder]:
    """Yield, one after the other, each folder whose worker is dead; the receiver removes or releases it."""
    if not root.is_dir():
        return
    for path in sorted(root.iterdir()):
        if path.name.startswith(_UNFINISHED):
            _remove_unfinished(path)
        elif (owned := _adopt(path)) is not None:
            yield owned


def _adopt(path: Path) -> OwnedFolder | None:
    try:
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        # Removed since, or not a journal folder.
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another adopter may have removed the folder between our open and our lock.
        if os.fstat(lock).st_nlink > 0:
            return OwnedFolder(path, lock)
    except BlockingIOError:
        pass
    os.close(lock)
    return None


def _remove_unfinished(path: Path) -> None:
    """A worker died while it made its folder; nothing was recorded there."""
    try:
        age_seconds = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return
    if age_seconds > _UNFINISHED_SECONDS:
        shutil.rmtree(path, ignore_errors=True)
