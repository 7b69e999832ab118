"""A throw-away PostgreSQL for tests: its own data folder under /tmp, a Unix socket, no durability."""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mainstay.kit.errors import ConfigurationError, UnavailableError

START_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 10.0

_PREFIX = "ms-pg-"
_PARENT = Path("/tmp")  # noqa: S108 - each server gets a folder of mode 0700; $TMPDIR may be too long for a socket
_PR_SET_PDEATHSIG = 1
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "100",
    "autovacuum": "off",
    "log_min_messages": "error",
}


class Postgres:
    """A running server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def url(self, database: str = "postgres") -> str:
        """Return the address of one of its databases; any role but `postgres` must be created first."""
        return f"postgresql://postgres@/{database}?host={self.folder}"


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start a server for the length of the block. It also ends, within moments, if this process is killed.

    PostgreSQL refuses to run as root, so root runs it as the user `postgres`. Raises ConfigurationError if the
    programs are not installed, UnavailableError if it does not start.
    """
    programs = find_programs()
    owner = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    _remove_left_over()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_PARENT))
    try:
        (folder / "owner").write_text(str(os.getpid()))
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        _initialise(programs, folder, owner)
        with _server(programs, folder, owner) as process:
            _wait_until_ready(folder, process)
            yield Postgres(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def find_programs() -> Path:
    """Return the folder of PostgreSQL's programs, the newest version that is installed."""
    versions = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if versions:
        return max(versions, key=lambda path: float(path.parent.name))
    found = shutil.which("initdb")
    if found is None:
        raise ConfigurationError("PostgreSQL is not installed; run `python3 tools/install_test_services.py`.")
    return Path(found).resolve().parent


def _initialise(programs: Path, folder: Path, owner: pwd.struct_passwd) -> None:
    options = ["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"]
    done = subprocess.run(
        [programs / "initdb", *options, f"--pgdata={folder / 'data'}"],
        user=owner.pw_uid,
        group=owner.pw_gid,
        extra_groups=[],
        cwd=folder,
        capture_output=True,
        check=False,
        text=True,
        timeout=START_TIMEOUT_SECONDS,
    )
    if done.returncode != 0:
        raise UnavailableError(f"initdb failed: {done.stderr.strip()}")


@contextmanager
def _server(programs: Path, folder: Path, owner: pwd.struct_passwd) -> Iterator[subprocess.Popen[bytes]]:
    settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [programs / "postgres", "-D", folder / "data", "-k", folder, *settings],
            user=owner.pw_uid,
            group=owner.pw_gid,
            extra_groups=[],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Runs after setuid, which would clear the signal; one C call with constants is safe after a fork.
            preexec_fn=_stop_at_parent_death(),  # noqa: PLW1509 - see above
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_SECONDS)


def _wait_until_ready(folder: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    status = folder / "data" / "postmaster.pid"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        # The eighth line says `ready` once connections are accepted (PostgreSQL's miscadmin.h).
        if status.exists() and status.read_text().splitlines()[7:8] == ["ready   "]:
            return
        time.sleep(0.02)
    raise UnavailableError(f"PostgreSQL did not start: {(folder / 'log').read_text().strip()}")


def _stop_at_parent_death() -> Callable[[], None]:
    library = ctypes.CDLL(None)

    def ask() -> None:
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)

    return ask


def _remove_left_over() -> None:
    """Remove the folders of servers whose owner was killed before it could."""
    for owner in _PARENT.glob(f"{_PREFIX}*/owner"):
        if not Path("/proc", owner.read_text()).exists():
            shutil.rmtree(owner.parent, ignore_errors=True)
