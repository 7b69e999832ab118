"""Mainstay as a subject: `mainstay serve` from this checkout, with everything on that a caller cannot switch off.

Authentication by a real key from the database, limits per key in requests and tokens (far away, so that they are
counted and never reached), usage records through journal and database, one worker.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.load import Target
from benchmarks.processes import BenchmarkError, free_port
from benchmarks.subjects import CHAT_PATH, Lane, Subject
from mainstay import __version__

PROGRAM = Path(sys.executable).with_name("mainstay")
KEY = re.compile(r"sk-[A-Za-z0-9_-]{43}")
KEY_SECONDS = 60

SERVER = """
[server]
workers = 1

[logging]
level = "warning"

[[limits]]
per = "key"
requests_per_minute = 1_000_000_000
tokens_per_minute = 1_000_000_000_000
"""


def quoted(text: object) -> str:
    """A TOML string: JSON's are a subset."""
    return json.dumps(str(text))


class MainstayUnderTest(Subject):
    """Mainstay before the mock vendor, or before `model` when it runs one here."""

    name = "Mainstay"
    version = __version__
    ready_path = "/readyz"
    model: str = ""

    def prepare(self) -> None:
        if not PROGRAM.exists():
            raise BenchmarkError(f"{PROGRAM} is not there; run `make bench`, which sets it up.")
        self.home = self.folder / "home"
        self.home.mkdir(exist_ok=True)
        self.port = free_port()
        (self.home / "mainstay.toml").write_text(SERVER + (self.local_model() if self.model else self.vendors()))
        self.key = self.create_key()

    def vendors(self) -> str:
        """The mock vendor as two providers, plain and TLS, and a deployment for each lane."""
        parts = []
        for provider, lane in (("plain", Lane.PLAIN), ("tls", Lane.TLS)):
            parts.append(
                f'[[providers]]\nname = "{provider}"\nkind = "openai"\napi_key = "sk-mock"\n'
                f"base_url = {quoted(self.vendor.base_url(lane))}\n"
            )
        parts.append(f"ca_file = {quoted(self.vendor.certificate)}\n")  # belongs to the last one
        for lane in Lane:
            provider = "tls" if lane.is_tls else "plain"
            target = f'{{ provider = "{provider}", model = {quoted(lane.model)} }}'
            parts.append(f"[[deployments]]\nname = {quoted(lane.deployment)}\ntargets = [{target}]\n")
        return "\n".join(parts)

    def local_model(self) -> str:
        """One deployment that answers from an engine here."""
        target = f'{{ provider = "local", model = {quoted(self.model)} }}'
        # More streams than slots are measured: the direct engine lets them wait for ever.
        models = f"[models]\ndefault = {quoted(self.model)}\nqueue_wait_seconds = 600\n"
        return f'{models}\n[[deployments]]\nname = "local-chat"\ntargets = [{target}]\n'

    def environment(self) -> Mapping[str, str]:
        """What tells it where its state and its port are."""
        return {"MAINSTAY_HOME": str(self.home), "MAINSTAY_PORT": str(self.port)}

    def create_key(self) -> str:
        """A key as an operator makes one."""
        done = subprocess.run(
            [str(PROGRAM), "keys", "create", "--name", "benchmark", "--json"],
            env={**os.environ, **self.environment()},
            capture_output=True,
            text=True,
            timeout=KEY_SECONDS,
            check=False,
        )
        found = KEY.search(done.stdout)
        if done.returncode or found is None:
            raise BenchmarkError(f"`mainstay keys create` gave no key: {(done.stderr or done.stdout).strip()[-300:]}")
        return found.group()

    def command(self) -> tuple[list[str], Mapping[str, str]]:
        return [str(PROGRAM), "serve"], self.environment()

    def target(self, lane: Lane) -> Target:
        model = "local-chat" if self.model else lane.deployment
        return Target(path=CHAT_PATH, model=model, port=self.port, key=self.key)
