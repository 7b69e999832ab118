"""Looks at the machine: Python, platform, the engine's native library, cores, memory and disks."""

import asyncio
import platform
import shutil
import sys
from pathlib import Path

from mainstay.cli.doctor.findings import Finding, ok, problem, warning
from mainstay.platform.catalog.machine import this_machine

OLDEST_PYTHON = (3, 11)
GIGABYTE = 10**9
_LITTLE_MEMORY_BYTES = 2 * GIGABYTE
_LITTLE_DISK_BYTES = GIGABYTE
_ENGINES = {"xllamacpp": "models in GGUF (chat, completions)", "onnxruntime": "embeddings"}


def check_python() -> list[Finding]:
    """Is this Python new enough?"""
    version = platform.python_version()
    if sys.version_info[:2] < OLDEST_PYTHON:
        return [problem("python", f"Python {version} is too old.", "Install Python 3.11 or newer.")]
    return [ok("python", f"Python {version}")]


def check_platform() -> list[Finding]:
    """Is this a system that the engines have wheels for?"""
    text = f"{platform.system()} {platform.release()} on {platform.machine()}"
    if platform.system() != "Linux":
        remedy = "Run Mainstay on Linux: it relies on PDEATHSIG, flock and Unix sockets."
        return [problem("platform", f"{text} is not supported.", remedy)]
    return [ok("platform", text)]


async def check_engines() -> list[Finding]:
    """Can the native libraries be loaded? In a child: on a CPU they were not built for, they kill their process."""
    return await asyncio.gather(*(_check_engine(module, purpose) for module, purpose in _ENGINES.items()))


async def _check_engine(module: str, purpose: str) -> Finding:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        f"import {module}",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, told = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode == 0:
        return ok("engine", f"{module} can be loaded: {purpose}")
    if process.returncode is not None and process.returncode < 0:
        message = f"Loading {module} kills its process (signal {-process.returncode}): no {purpose}."
        return problem(
            "engine", message, f"Build {module} from source on this machine; its wheel does not suit the CPU."
        )
    last_line = told.decode(errors="replace").strip().rpartition("\n")[2]
    return problem("engine", f"{module} cannot be loaded: {last_line}", "Install Mainstay again: make clean run")


def check_capacity() -> list[Finding]:
    """Are there cores and memory enough for a model?"""
    machine = this_machine()
    text = f"{machine.cores} cores, {machine.memory_bytes / GIGABYTE:.1f} GB of memory for this process"
    if machine.memory_bytes < _LITTLE_MEMORY_BYTES:
        return [warning("machine", f"{text}: little.", "Use a small model: mainstay run --model smollm2-135m-instruct")]
    return [ok("machine", text)]


def check_disk(name: str, folder: Path) -> list[Finding]:
    """Is there space left where `folder` is, or will be?"""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free_bytes = shutil.disk_usage(existing).free
    text = f"{free_bytes / GIGABYTE:.1f} GB are free at {folder}"
    if free_bytes < _LITTLE_DISK_BYTES:
        return [warning(name, f"{text}: little.", f"Free space there, or move it: {_mover(name)}.")]
    return [ok(name, text)]


def _mover(name: str) -> str:
    return "MAINSTAY_MODELS" if name == "models" else "MAINSTAY_HOME"
