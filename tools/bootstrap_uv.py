"""Put the pinned uv into .tools/ with nothing but Python's standard library.

Debian's python3 comes without pip and without ensurepip, so neither can be relied on. The wheel is fetched from
the package index (UV_DEFAULT_INDEX, PIP_INDEX_URL or pypi.org), its sha256 is compared with the one pinned here,
and the one binary in it is copied out.
"""

import hashlib
import json
import os
import platform
import sys
import urllib.parse
import urllib.request
import zipfile
from io import BytesIO
from pathlib import Path

VERSION = "0.13.9"
WHEELS = {
    "x86_64": (
        f"uv-{VERSION}-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
    ),
    "aarch64": (
        f"uv-{VERSION}-py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64.whl",
        "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe",
    ),
}


def index_url() -> str:
    """The package index that the operator configured, pypi.org otherwise."""
    configured = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL")
    return (configured or "https://pypi.org/simple").rstrip("/")


def wheel_url(filename: str) -> str:
    """Ask the index where the wheel lies (PEP 691)."""
    page = f"{index_url()}/uv/"
    request = urllib.request.Request(page, headers={"Accept": "application/vnd.pypi.simple.v1+json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        listing = json.load(answer)
    for file in listing["files"]:
        if file["filename"] == filename:
            return urllib.parse.urljoin(page, str(file["url"]))
    raise SystemExit(f"{page} does not list {filename}; point UV_DEFAULT_INDEX at an index that does.")


def fetch(filename: str, sha256: str) -> bytes:
    """Download the wheel and refuse it unless its hash is the pinned one."""
    with urllib.request.urlopen(wheel_url(filename), timeout=300) as answer:  # noqa: S310
        wheel: bytes = answer.read()
    found = hashlib.sha256(wheel).hexdigest()
    if found != sha256:
        raise SystemExit(f"{filename} has sha256 {found}, expected {sha256}; nothing was installed.")
    return wheel


def install(target: Path) -> None:
    """Write the uv binary to `target`, atomically."""
    machine = platform.machine()
    if machine not in WHEELS:
        raise SystemExit(f"No pinned uv for {machine}; install uv {VERSION} yourself as {target}.")
    filename, sha256 = WHEELS[machine]
    with zipfile.ZipFile(BytesIO(fetch(filename, sha256))) as wheel:
        binary = wheel.read(f"uv-{VERSION}.data/scripts/uv")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.write_bytes(binary)
    partial.chmod(0o755)
    partial.replace(target)
    print(f"installed uv {VERSION} as {target}")


if __name__ == "__main__":
    install(Path(sys.argv[1]))
