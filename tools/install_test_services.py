"""Installs what the tests need beside Python: PostgreSQL, through apt-get. Says what it installed.

Runs with the standard library alone, costs milliseconds when everything is there, and may run again.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

APT_TIMEOUT_SECONDS = 600


def install() -> int:
    """Install what is missing; return the exit code."""
    if has_postgres():
        return 0
    prefix = privileges()
    if prefix is None or shutil.which("apt-get") is None:
        print(
            "The tests need PostgreSQL and it cannot be installed from here: install the package `postgresql` "
            "(Debian, Ubuntu) or anything that puts `initdb` and `postgres` on the PATH.",
            file=sys.stderr,
        )
        return 1
    print("Installing PostgreSQL for the tests (apt-get install postgresql) ...", flush=True)
    # Debian would create a cluster and start it; the tests bring their own.
    apt(prefix, "update", "-qq")
    apt(prefix, "install", "-y", "-qq", "--no-install-recommends", "postgresql-common")
    keep_from_starting(prefix)
    apt(prefix, "install", "-y", "-qq", "--no-install-recommends", "postgresql")
    if not has_postgres():
        print("apt-get ended well, but `initdb` is not there.", file=sys.stderr)
        return 1
    print(f"Installed {version()}.")
    return 0


def has_postgres() -> bool:
    """Whether the server's programs are there, and, for root, the user that runs them."""
    programs = any(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or shutil.which("initdb") is not None
    return programs and (os.geteuid() != 0 or "postgres:" in Path("/etc/passwd").read_text())


def privileges() -> list[str] | None:
    """Return what to put before a command that only root may run, or None if we may not."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    allowed = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False, timeout=30)
    return ["sudo", "-n"] if allowed.returncode == 0 else None


def apt(prefix: list[str], *arguments: str) -> None:
    """Run apt-get without questions; its output is shown only when it fails."""
    command = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=APT_TIMEOUT_SECONDS)
    if done.returncode != 0:
        sys.exit(f"`apt-get {' '.join(arguments)}` failed:\n{done.stdout}{done.stderr}")


def keep_from_starting(prefix: list[str]) -> None:
    """Tell Debian's scripts not to create a cluster of their own on a machine that has none yet."""
    settings = "/etc/postgresql-common/createcluster.conf"
    edit = ["sed", "-i", "s/^#*create_main_cluster.*/create_main_cluster = false/", settings]
    subprocess.run([*prefix, *edit], check=False, capture_output=True, timeout=30)


def version() -> str:
    """Return the server's own words for its version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    program = str(found[-1]) if found else "postgres"
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout.strip()


if __name__ == "__main__":
    sys.exit(install())
