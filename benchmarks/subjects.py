"""What is measured: nothing in between, nginx, Mainstay and LiteLLM, each started the same way before one mock vendor.

A subject may fail to be there (no nginx, no network to install LiteLLM): it is then named in the tables with the
reason, never left out in silence.
"""

import abc
import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from benchmarks.load import Target
from benchmarks.processes import BenchmarkError, Child, Cores, free_port, wait_until_ready

CHAT_PATH = "/v1/chat/completions"
LITELLM_VERSION = "1.106.0"
LITELLM_HOME = Path("~/.cache/mainstay/bench/litellm-venv").expanduser()
INSTALL_SECONDS = 900


class Lane(StrEnum):
    """A way through the subject: what the vendor does at its end, plain or over TLS."""

    PLAIN = "plain"
    PACED = "paced"
    IDLE = "idle"
    TLS = "tls"
    TLS_IDLE = "tls-idle"

    @property
    def is_tls(self) -> bool:
        """Whether the vendor is spoken to over TLS."""
        return self in {Lane.TLS, Lane.TLS_IDLE}

    @property
    def model(self) -> str:
        """The vendor's model: what it does."""
        return {"paced": "mock-paced", "idle": "mock-idle", "tls-idle": "mock-idle"}.get(self, "mock")

    @property
    def deployment(self) -> str:
        """The name that callers of a gateway use: it is rewritten to the vendor's."""
        return f"chat-{self}"


@dataclass(frozen=True, slots=True)
class Vendor:
    """The running mock vendor."""

    child: Child
    port: int
    tls_port: int
    certificate: Path

    def base_url(self, lane: Lane) -> str:
        """Where a lane's requests go, as vendors write it."""
        scheme, port = ("https", self.tls_port) if lane.is_tls else ("http", self.port)
        return f"{scheme}://127.0.0.1:{port}/v1"


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    certificate, key = folder / "vendor.pem", folder / "vendor.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *names], check=True, capture_output=True, timeout=60)
    return certificate, key


@contextlib.contextmanager
def running_vendor(folder: Path, cores: Cores) -> Iterator[Vendor]:
    """The mock vendor in its own process beside the load generator."""
    certificate, key = make_certificate(folder)
    command = [sys.executable, "-m", "benchmarks.mock", str(certificate), str(key)]
    child = Child(command, log=folder / "mock.log", cores=cores.load, piped=True)
    try:
        line = child.read_line()
        if not line:
            child.process.wait(5)
            child.require_alive()
        ports = json.loads(line)
        yield Vendor(child, port=ports["plain"], tls_port=ports["tls"], certificate=certificate)
    finally:
        child.stop()


class Subject(abc.ABC):
    """Something that stands between the caller and the vendor. One instance per run; started as often as needed."""

    name: str
    version = ""
    ready_path = "/"
    ready_seconds = 60.0
    has_tls = True
    is_slow = False  # asks for fewer rounds of what takes it many seconds

    def __init__(self, vendor: Vendor, folder: Path, cores: Cores) -> None:
        self.vendor = vendor
        self.folder = folder / type(self).__name__.lower()
        self.folder.mkdir(exist_ok=True)
        self.cores = cores
        self.port = 0
        self.child: Child | None = None

    @abc.abstractmethod
    def prepare(self) -> None:
        """Find or install it and write its configuration; raises BenchmarkError with the reason when impossible."""

    @abc.abstractmethod
    def command(self) -> tuple[list[str], Mapping[str, str]]:
        """The command that starts it on `self.port`, and its environment."""

    def target(self, lane: Lane) -> Target:
        """Where a caller sends a lane's requests."""
        return Target(path=CHAT_PATH, model=lane.model, port=self.port)

    def start(self) -> float:
        """Start it and return the seconds from exec to the first 200 on its readiness path."""
        command, env = self.command()
        began = time.monotonic()
        self.child = Child(command, log=self.folder / "log", cores=self.cores.subject, env=env)
        wait_until_ready(self.child, self.port, self.ready_path, timeout_seconds=self.ready_seconds)
        return time.monotonic() - began

    @property
    def running(self) -> Child:
        """The started process."""
        if self.child is None:
            raise BenchmarkError(f"{self.name} was not started.")
        return self.child

    def stop(self) -> None:
        """End it; may be called twice."""
        if self.child is not None:
            self.child.stop()
            self.child = None


class Direct(Subject):
    """Nothing in between: the vendor itself is what is measured."""

    name = "mock vendor, direct"

    def prepare(self) -> None:
        self.port = self.vendor.port

    def command(self) -> tuple[list[str], Mapping[str, str]]:
        raise BenchmarkError("The vendor is already running.")

    def start(self) -> float:
        self.child = self.vendor.child
        return 0.0

    def stop(self) -> None:
        self.child = None  # the vendor ends with the run


NGINX_CONFIG = """
{user}daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log warn;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; proxy_read_timeout 600s;
  upstream vendor {{ server 127.0.0.1:{vendor.port}; keepalive 256; keepalive_requests 1000000000; }}
  upstream vendor_tls {{ server 127.0.0.1:{vendor.tls_port}; keepalive 256; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{port} backlog=2048; location / {{ proxy_pass http://vendor; }} }}
  server {{
    listen 127.0.0.1:{tls_port} backlog=2048;
    location / {{
      proxy_pass https://vendor_tls; proxy_ssl_verify on; proxy_ssl_name 127.0.0.1;
      proxy_ssl_trusted_certificate {vendor.certificate};
    }}
  }}
}}
"""


class Nginx(Subject):
    """nginx as reverse proxy: one worker, kept-alive vendor connections, no log, no buffering."""

    name = "nginx"

    def prepare(self) -> None:
        if shutil.which("nginx") is None:
            install_nginx()
        shown = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True, timeout=10)
        self.version = shown.stderr.strip().rpartition("/")[2]
        self.port, self.tls_port = free_port(), free_port()
        is_root = Path("/proc/self").stat().st_uid == 0
        config = NGINX_CONFIG.format(
            user="user root; " if is_root else "",
            folder=self.folder,
            vendor=self.vendor,
            port=self.port,
            tls_port=self.tls_port,
        )
        (self.folder / "nginx.conf").write_text(config)

    def command(self) -> tuple[list[str], Mapping[str, str]]:
        return ["nginx", "-e", str(self.folder / "error.log"), "-c", str(self.folder / "nginx.conf")], {}

    def target(self, lane: Lane) -> Target:
        port = self.tls_port if lane.is_tls else self.port
        return Target(path=CHAT_PATH, model=lane.model, port=port)


def install_nginx() -> None:
    """Install Debian's nginx-light; raises BenchmarkError when that cannot be."""
    command = ["apt-get", "install", "-y", "--no-install-recommends", "nginx-light"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except OSError as error:
        raise BenchmarkError(f"no nginx and no apt-get ({error})") from error
    if done.returncode or shutil.which("nginx") is None:
        raise BenchmarkError(f"apt-get install nginx-light failed: {done.stderr.strip()[-200:]}")


class LiteLLM(Subject):
    """LiteLLM's proxy, one worker, master key, no database, its Python path, in an environment of its own."""

    name = "LiteLLM"
    ready_path = "/health/readiness"
    ready_seconds = 180.0
    has_tls = False
    is_slow = True

    def prepare(self) -> None:
        self.version = LITELLM_VERSION
        install_litellm()
        self.port = free_port()
        models = [
            {
                "model_name": lane.deployment,
                "litellm_params": {
                    "model": f"openai/{lane.model}",
                    "api_base": self.vendor.base_url(lane),
                    "api_key": "sk-mock",
                },
            }
            for lane in Lane
            if not lane.is_tls
        ]
        config = {"model_list": models, "general_settings": {"master_key": "sk-bench"}}
        (self.folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML

    def command(self) -> tuple[list[str], Mapping[str, str]]:
        options = ["--config", str(self.folder / "config.yaml"), "--host", "127.0.0.1", "--port", str(self.port)]
        quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION"}
        connections = {"AIOHTTP_CONNECTOR_LIMIT": "4096", "AIOHTTP_CONNECTOR_LIMIT_PER_HOST": "4096"}  # 500 otherwise
        return [str(LITELLM_HOME / "bin/litellm"), *options, "--num_workers", "1"], {**quiet, **connections}

    def target(self, lane: Lane) -> Target:
        return Target(path=CHAT_PATH, model=lane.deployment, port=self.port, key="sk-bench")


def install_litellm() -> None:
    """Create LiteLLM's environment outside the clone, with the pinned version; later runs find it there."""
    stamp = LITELLM_HOME / f".installed-{LITELLM_VERSION}"
    if stamp.exists():
        return
    python, package = str(LITELLM_HOME / "bin/python"), f"litellm[proxy]=={LITELLM_VERSION}"
    uv = next(iter(Path(".tools").glob("uv-*")), None) or shutil.which("uv")
    if uv is not None:
        steps = [
            [str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(LITELLM_HOME)],
            [str(uv), "pip", "install", "--quiet", "--python", python, package],
        ]
    else:
        steps = [
            [sys.executable, "-m", "venv", "--clear", str(LITELLM_HOME)],
            [python, "-m", "pip", "install", "--quiet", package],
        ]
    print(f"installing {package} into {LITELLM_HOME} ...", flush=True)
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
        if done.returncode:
            raise BenchmarkError(f"{package} could not be installed: {done.stderr.strip()[-300:]}")
    stamp.touch()
