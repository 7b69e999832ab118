"""Where an installation keeps what lives only while it runs: the sockets and the address."""

import fcntl
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from mainstay.kit.errors import ConfigurationError

_LONGEST_DIRECTORY = 70
"""AF_UNIX paths end at 107 bytes; engines' socket names take 26."""


def run_directory(home: Path) -> Path:
    """Return `home/run`, or a short stand-in under the temporary directory when that is too long for sockets."""
    direct = home / "run"
    if len(os.fsencode(direct)) <= _LONGEST_DIRECTORY:
        return direct
    name = hashlib.sha256(os.fsencode(home.absolute())).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"mainstay-{os.getuid()}-{name}"


def prepare_run_directory(home: Path) -> Path:
    """Create it for its owner only. Raises ConfigurationError when somebody else owns it."""
    directory = run_directory(home)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise ConfigurationError(f"{directory} belongs to somebody else; remove it or move MAINSTAY_HOME.")
    directory.chmod(0o700)
    return directory


def claim_run_directory(directory: Path, *, home: Path) -> int:
    """Lock it for this process, until the returned descriptor is closed or the process ends, however it ends.

    Raises ConfigurationError when another server has it: the two would take each other's sockets away.
    """
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ConfigurationError(
            f"A server already runs from {home}{_whereabouts(home)}, or is still ending its calls. "
            "Stop it, or give this one a home of its own by MAINSTAY_HOME."
        ) from error
    return descriptor


def is_own_run_directory(home: Path) -> bool:
    """Whether the directory is there and this user's: the stand-in under /tmp could be somebody else's bait."""
    try:
        status = run_directory(home).lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()


def control_path(home: Path) -> Path:
    """The control socket."""
    return run_directory(home) / "control.sock"


def address_path(home: Path) -> Path:
    """The file with the URL that the server listens on."""
    return run_directory(home) / "address"


def write_address(home: Path, url: str) -> None:
    """Write the address, whole or not at all: others read it as soon as it is there."""
    path = address_path(home)
    draft = path.with_name("address.new")
    draft.write_text(url + "\n", encoding="utf-8")
    draft.replace(path)


def _whereabouts(home: Path) -> str:
    try:
        return " at " + address_path(home).read_text("utf-8").strip()
    except OSError:
        return ""
