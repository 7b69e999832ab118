"""The library called directly: Mainstay's engine process started alone, without Mainstay, on a socket of its own."""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.processes import BenchmarkError, Child
from mainstay.platform.engine.child_setup import ChildConfig

ENGINE_MODULE = "mainstay.platform.engine.llama_cpp_process"
LOAD_SECONDS = 120.0
PROMPT_CACHE_MEBIBYTES = 256
ENVIRONMENT = {"GOMP_SPINCOUNT": "1000"}
"""As Mainstay sets it for its engines (`platform/engine/child.py`): without it, other work on the machine slows the
direct side several times and the comparison says nothing about Mainstay."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How an engine divides its memory."""

    slots: int
    context_tokens: int


def ask(unix: Path, path: str) -> tuple[int, bytes]:
    """GET `path` from an engine: the status and the body; raises OSError when nobody answers."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(unix))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def shape_of(unix: Path) -> Shape:
    """The slots of a running engine and the context of each."""
    _, body = ask(unix, "/slots")
    slots = json.loads(body)
    return Shape(slots=len(slots), context_tokens=slots[0]["n_ctx"])


def wait_until_loaded(child: Child, unix: Path) -> None:
    """Poll the engine's health; raises BenchmarkError when it ends or takes too long."""
    deadline = time.monotonic() + LOAD_SECONDS
    while time.monotonic() < deadline:
        child.require_alive()
        try:
            if ask(unix, "/health")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise BenchmarkError(f"the engine did not load within {LOAD_SECONDS:.0f} s:\n{child.log_end()}")


@contextmanager
def running_engine(model: Path, shape: Shape, folder: Path) -> Iterator[tuple[Child, Path]]:
    """The engine with the same parameters as Mainstay gives it, on all cores."""
    unix = folder / "direct.sock"
    cores = os.sched_getaffinity(0)
    child = Child(
        [sys.executable, "-m", ENGINE_MODULE],
        log=folder / "direct.log",
        cores=frozenset(cores),
        env=ENVIRONMENT,
        piped=True,
    )
    config = ChildConfig(
        parent_id=os.getpid(),
        socket_path=str(unix),
        model_path=str(model),
        slots=shape.slots,
        context_tokens=shape.context_tokens,
        threads=len(cores),
        prompt_cache_mebibytes=PROMPT_CACHE_MEBIBYTES,
    )
    try:
        assert child.process.stdin is not None
        child.process.stdin.write(msgspec.json.encode(config) + b"\n")
        child.process.stdin.flush()
        wait_until_loaded(child, unix)
        yield child, unix
    finally:
        child.stop()
