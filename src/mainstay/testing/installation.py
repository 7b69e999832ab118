"""A real Mainstay in a directory of its own: started, reloaded, killed and started again by tests."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mainstay.supervisor.paths import address_path

_START_SECONDS = 90.0
_STOP_SECONDS = 60.0
_KEY_SECONDS = 10.0


class Installation:
    """`mainstay serve` with its own home. Use as a context manager; the home goes with it.

    `configuration` is the text of mainstay.toml, without [server]; the port is a free one.
    """

    def __init__(
        self, configuration: str = "", *, workers: int = 1, environment: Mapping[str, str] | None = None
    ) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="ms-"))
        self._workers = workers
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self.log_path = self.home / "server.log"
        self.write_configuration(configuration)

    def write_configuration(self, configuration: str) -> None:
        """Replace mainstay.toml; takes effect at the next start or reload."""
        (self.home / "mainstay.toml").write_text(configuration, encoding="utf-8")

    @property
    def url(self) -> str:
        """Where it listens, e.g. `http://127.0.0.1:41234`."""
        return address_path(self.home).read_text(encoding="utf-8").strip()

    @property
    def supervisor_id(self) -> int:
        """The supervisor's process id."""
        if self._process is None:
            raise RuntimeError("The installation is not running.")
        return self._process.pid

    def start(self, *, wait: bool = True) -> Self:
        """Start the server and wait until it is ready."""
        address_path(self.home).unlink(missing_ok=True)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mainstay.cli", "serve"],
                env=self.environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            self.wait_until_ready()
        return self

    def wait_until_ready(self, seconds: float = _START_SECONDS) -> None:
        """Return when /readyz answers 200; raise with the log's end otherwise."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                break
            if self._is_ready():
                return
            time.sleep(0.05)
        raise RuntimeError(f"The server did not become ready:\n{self.log()[-4000:]}")

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a `mainstay` command against this installation."""
        return subprocess.run(
            [sys.executable, "-m", "mainstay.cli", *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            check=check,
            timeout=_STOP_SECONDS,
        )

    def command_json(self, *arguments: str) -> Any:  # a JSON document
        """Run a command with `--json` and read its answer."""
        return json.loads(self.command(*arguments, "--json").stdout)

    def create_key(self, *arguments: str) -> str:
        """Create an API key with the options of `mainstay keys create`, and wait until the server knows it."""
        key = str(self.command_json("keys", "create", "--name", "test", *arguments)["api_key"])
        deadline = time.monotonic() + _KEY_SECONDS
        while not self._knows(key) and time.monotonic() < deadline:
            time.sleep(0.1)
        return key

    def stop(self) -> int:
        """SIGTERM, and wait for the end; the exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(_STOP_SECONDS)

    def kill(self) -> None:
        """SIGKILL the supervisor; its children must follow by themselves."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_STOP_SECONDS)

    def log(self) -> str:
        """What the server has logged."""
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    def environment(self) -> dict[str, str]:
        """The environment of every process of this installation."""
        own = {
            "MAINSTAY_HOME": str(self.home),
            "MAINSTAY_PORT": "0",
            "MAINSTAY_WORKERS": str(self._workers),
        }
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("MAINSTAY_")}
        if "MAINSTAY_MODELS" in os.environ:
            inherited["MAINSTAY_MODELS"] = os.environ["MAINSTAY_MODELS"]
        return inherited | own | self._environment

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._process is not None and self._process.poll() is None:
                self.stop()
        finally:
            if self._process is not None and self._process.poll() is None:
                self.kill()
            shutil.rmtree(self.home, ignore_errors=True)

    def _knows(self, key: str) -> bool:
        headers = {"authorization": f"Bearer {key}"}
        request = urllib.request.Request(f"{self.url}/v1/models", headers=headers)  # noqa: S310 - its own address
        try:
            with urllib.request.urlopen(request, timeout=5):  # noqa: S310 - its own address
                return True
        except urllib.error.HTTPError as error:
            error.close()
            return error.code != HTTPStatus.UNAUTHORIZED

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:  # noqa: S310 - its own address
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:  # nobody listens, or the address is not written yet
            return False
