"""The weights on disk: content-addressed, shared by every installation of one user.

blobs/sha256-…   the files, named by their hash; complete and verified, or not there
refs/ID.json     which blobs a model uses; written before its pull, so that no removal takes them away
added/ID.json    catalog entries that an operator added
partial/HASH/    what was fetched of a file so far
locks/           flock targets; never removed, since a removed lock file protects nobody
"""

import contextlib
import fcntl
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from mainstay.kit.errors import NotFoundError
from mainstay.platform.catalog.errors import StoreError
from mainstay.platform.catalog.weights import ModelFile, Weights

_LOCK_POLL_SECONDS = 0.1
_STORE_LOCK_SECONDS = 30.0

log = logging.getLogger(__name__)


def default_models_directory(environment: Mapping[str, str]) -> Path:
    """Return where weights live: `MAINSTAY_MODELS`, or a cache directory of the user."""
    return Path(environment.get("MAINSTAY_MODELS") or "~/.cache/mainstay/models").expanduser()


class Store:
    """A directory of weights. Several processes may use it at the same time."""

    def __init__(self, root: Path) -> None:
        """Use `root`; it is created when something is first written."""
        self.root = root

    def path(self, weights: Weights) -> Path | None:
        """Return the model file if the whole model is installed."""
        paths = self.paths(weights)
        return paths[weights.files[0].name] if paths else None

    def paths(self, weights: Weights) -> dict[str, Path] | None:
        """Return every file by its name (`model.onnx`, `tokenizer.json`) if the whole model is installed."""
        if not self._ref(weights.id).is_file() or not all(self.has(file) for file in weights.files):
            return None
        return {file.name: self.blob(file) for file in weights.files}

    def installed(self) -> tuple[str, ...]:
        """Return the ids of the models whose files are all here."""
        refs = sorted((self.root / "refs").glob("*.json"))
        return tuple(ref.stem for ref in refs if all(self.has(file) for file in _read_ref(ref)))

    def has(self, file: ModelFile) -> bool:
        """Tell whether the file is here; its hash was checked when it came."""
        try:
            return self.blob(file).stat().st_size == file.size_bytes
        except OSError:
            return False

    def blob(self, file: ModelFile) -> Path:
        """Return where the file is, or would be."""
        return self.root / "blobs" / f"sha256-{file.sha256}"

    def partial(self, file: ModelFile) -> Path:
        """Return the folder for what was fetched of the file so far."""
        return self.root / "partial" / file.sha256

    def claim(self, weights: Weights) -> None:
        """Write down which blobs the model uses, so that they stay until it is removed."""
        with self.lock("store", timeout_seconds=_STORE_LOCK_SECONDS):
            _write(self._ref(weights.id), msgspec.json.encode(weights.files))

    def install(self, fetched: Path, file: ModelFile) -> Path:
        """Move a complete, verified file to its place: durable first, visible then."""
        target = self.blob(file)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not fetched.is_symlink():
            fetched.chmod(0o444)
            _sync(fetched)
        fetched.replace(target)
        _sync(target.parent)
        shutil.rmtree(self.partial(file), ignore_errors=True)
        return target

    def remove(self, weights: Weights) -> int:
        """Forget the model and delete the files that no other model uses; return the bytes that this freed."""
        with self.lock("store", timeout_seconds=_STORE_LOCK_SECONDS):
            ref, entry = self._ref(weights.id), self.root / "added" / f"{weights.id}.json"
            if not ref.is_file() and not entry.is_file():
                raise NotFoundError(f"Model '{weights.id}' is not installed; there is nothing to remove.")
            # The reference may be of an older catalog, with other files.
            files = {file.sha256: file for file in (*weights.files, *(_read_ref(ref) if ref.is_file() else ()))}
            ref.unlink(missing_ok=True)
            entry.unlink(missing_ok=True)
            still_used = {file.sha256 for other in self._refs() for file in _read_ref(other)}
            return sum(self._delete(file) for sha256, file in files.items() if sha256 not in still_used)

    def add(self, weights: Weights) -> None:
        """Keep a catalog entry of the operator's own; the file must be installed already."""
        with self.lock("store", timeout_seconds=_STORE_LOCK_SECONDS):
            _write(self.root / "added" / f"{weights.id}.json", msgspec.json.encode(weights))

    def added(self) -> tuple[Weights, ...]:
        """Return the operator's own entries; one that cannot be read is reported in the log and left out."""
        entries = []
        for path in sorted((self.root / "added").glob("*.json")):
            try:
                entries.append(msgspec.json.decode(path.read_bytes(), type=Weights))
            except (OSError, msgspec.DecodeError) as error:
                log.warning(
                    "The added model %s cannot be read (%s); remove that file or add the model again.", path, error
                )
        return tuple(entries)

    def free_bytes(self) -> int:
        """Return the space left on the store's disk."""
        existing = next(path for path in (self.root, *self.root.absolute().parents) if path.exists())
        return shutil.disk_usage(existing).free

    @contextlib.contextmanager
    def lock(self, name: str, *, timeout_seconds: float, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the lock `name` against every other process; the kernel frees it if this one dies.

        `on_wait` is called once if another process has it. Raises StoreError after `timeout_seconds` of waiting.
        """
        path = self.root / "locks" / f"{name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _try_lock(descriptor):
                if on_wait:
                    on_wait()
                _wait_for(descriptor, path, timeout_seconds)
            yield
        finally:
            os.close(descriptor)

    def _ref(self, model_id: str) -> Path:
        return self.root / "refs" / f"{model_id}.json"

    def _refs(self) -> list[Path]:
        return list((self.root / "refs").glob("*.json"))

    def _delete(self, file: ModelFile) -> int:
        shutil.rmtree(self.partial(file), ignore_errors=True)
        blob = self.blob(file)
        freed = 0 if blob.is_symlink() or not blob.exists() else blob.stat().st_size
        blob.unlink(missing_ok=True)
        return freed


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_for(descriptor: int, path: Path, timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not _try_lock(descriptor):
        if time.monotonic() > deadline:
            message = f"Another process has held {path} for {timeout_seconds:.0f} s; see what it does, then try again."
            raise StoreError(message)
        time.sleep(_LOCK_POLL_SECONDS)


def _read_ref(path: Path) -> list[ModelFile]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[ModelFile])
    except (OSError, msgspec.DecodeError) as error:
        log.warning("The reference %s cannot be read (%s); pull that model again.", path, error)
        return []


def _write(path: Path, content: bytes) -> None:
    """Replace a small file so that readers, and a crash, see the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.draft")
    draft.write_bytes(content)
    _sync(draft)
    draft.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
