"""Secrets in files of their own, readable by their owner alone, and the digest that is stored instead of a key."""

import hmac
import os
import stat
from pathlib import Path

from mainstay.kit.errors import ConfigurationError

SECRET_BYTES = 32
SECRET_FILE_BYTES_MAX = 65_536


def load_or_create_secret(path: Path) -> bytes:
    """Return the 32 random bytes kept at `path`, created there on the first call.

    Several processes may call this at once: one file wins and all get its bytes. Raises ConfigurationError if
    the file is open to others, is not ours, or is not 32 bytes long.
    """
    if not os.path.lexists(path):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        create_secret_file(path, os.urandom(SECRET_BYTES))
    secret = read_secret_file(path)
    if len(secret) != SECRET_BYTES:
        raise ConfigurationError(
            f"The secret {path} has {len(secret)} bytes instead of {SECRET_BYTES}; restore it from a backup. "
            "Without it the API keys made with it cannot be checked."
        )
    return secret


def create_secret_file(path: Path, content: bytes) -> bool:
    """Write `content` to a new file with mode 0600, whole or not at all; return False if `path` exists already."""
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # A link, not a rename: it fails where a rename would replace another process's secret.
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    _sync_folder(path.parent)
    return True


def read_secret_file(path: Path) -> bytes:
    """Return the content of `path`. Raises ConfigurationError unless it is a file that only we may read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigurationError(f"The secret {path} cannot be read: {error.strerror}.") from error
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise ConfigurationError(f"The secret {path} is not a file.")
        if state.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            mode = f"{stat.S_IMODE(state.st_mode):04o}"
            raise ConfigurationError(f"Others may read the secret {path} (mode {mode}); run `chmod 600 {path}`.")
        if state.st_uid != os.geteuid():
            raise ConfigurationError(
                f"The secret {path} belongs to user {state.st_uid}, but this process runs as user {os.geteuid()}; "
                "run as that user, or change the owner."
            )
        return os.read(descriptor, SECRET_FILE_BYTES_MAX)
    finally:
        os.close(descriptor)


def digest(secret: bytes, message: bytes) -> bytes:
    """Return HMAC-SHA-256 of `message` under `secret`."""
    return hmac.digest(secret, message, "sha256")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
