"""Residency over tiny models, with short waits, in a short directory; and a plain HTTP request to an engine."""

import asyncio
import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mainstay.kit.errors import NotFoundError
from mainstay.platform.engine.endpoint import EndpointState, EngineKind
from mainstay.platform.engine.residency import Residency
from mainstay.platform.engine.spec import EngineSettings, EngineSpec
from mainstay.testing.tiny_gguf import write_tiny_gguf

MEBIBYTE = 1024 * 1024


def tiny_spec(model_path: Path, model_id: str = "tiny", *, slots: int = 2, context_tokens: int = 512) -> EngineSpec:
    return EngineSpec(
        model_id=model_id,
        kind=EngineKind.LLAMA_CPP,
        model_path=model_path,
        context_tokens=context_tokens,
        slots=slots,
        threads=1,
        memory_bytes=100 * MEBIBYTE,
        prompt_cache_bytes=0,
    )


def quick_settings(directory: Path, **changes: float) -> EngineSettings:
    values: dict[str, float] = {
        "memory_budget_bytes": 1000 * MEBIBYTE,
        "wait_timeout_seconds": 30.0,
        "health_interval_seconds": 0.1,
        "silence_limit_seconds": 1.5,
        "drain_seconds": 5.0,
        "minimum_idle_seconds": 0.0,
        "first_pause_seconds": 0.05,
    }
    return EngineSettings(run_directory=directory / "run", log_directory=directory / "logs", **(values | changes))  # type: ignore[arg-type]


@contextlib.contextmanager
def short_directory() -> Iterator[Path]:
    """A directory whose path leaves room for a socket's name."""
    directory = Path(tempfile.mkdtemp(prefix="ms-", dir="/tmp"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@dataclass
class Lab:
    """A residency, its models and what it has said."""

    directory: Path
    specs: dict[str, EngineSpec]
    residency: Residency
    changes: list[EndpointState] = field(default_factory=list)

    def process_ids(self) -> list[int]:
        """The children of this lab that run now."""
        return engine_process_ids(self.directory)


@contextlib.asynccontextmanager
async def lab(*model_ids: str, **settings: float) -> AsyncIterator[Lab]:
    """Open a residency over tiny models of these names, and close it."""
    with short_directory() as directory:
        model_path = write_tiny_gguf(directory / "tiny.gguf")
        specs = {model_id: tiny_spec(model_path, model_id) for model_id in model_ids or ("tiny",)}
        changes: list[EndpointState] = []

        def find(model_id: str) -> EngineSpec:
            if model_id not in specs:
                raise NotFoundError(f"Model '{model_id}' is not in the catalog.")
            return specs[model_id]

        residency = Residency(find, quick_settings(directory, **settings), on_change=changes.append)
        try:
            yield Lab(directory, specs, residency, changes)
        finally:
            await residency.aclose()
            assert engine_process_ids(directory) == []


def engine_process_ids(directory: Path) -> list[int]:
    """Find the living engine processes that have a socket of this directory open or told to them."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, IndexError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"mainstay.platform.engine.llama_cpp_process" in words and _listens_in(entry, directory):
                found.append(int(entry.name))
    return found


def _listens_in(process: Path, directory: Path) -> bool:
    if (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
        return False
    inodes = {line.split()[6] for line in Path("/proc/net/unix").read_text().splitlines() if f" {directory}/" in line}
    links = []
    for descriptor in (process / "fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(str(descriptor.readlink()))
    return any(f"socket:[{inode}]" in links for inode in inodes)


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for what no event tells: the state of another process."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        await asyncio.sleep(0.01)


async def post(socket_path: Path, path: str, body: object, *, seconds: float = 30.0) -> tuple[int, bytes]:
    """Send one request and read the whole answer."""
    async with asyncio.timeout(seconds):
        reader, writer = await open_post(socket_path, path, body)
        try:
            answer = await reader.read()
        finally:
            writer.close()
    head, _, rest = answer.partition(b"\r\n\r\n")
    if not head:
        raise ConnectionResetError("closed without an answer")
    return int(head.split()[1]), rest


async def open_post(socket_path: Path, path: str, body: object) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send one request and leave the answer to the caller."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    reader, writer = await asyncio.open_unix_connection(str(socket_path))
    head = f"POST {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\nContent-Length: {len(content)}\r\n"
    writer.write(head.encode() + b"Content-Type: application/json\r\n\r\n" + content)
    return reader, writer
