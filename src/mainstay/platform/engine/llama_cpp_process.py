"""The process that runs a GGUF model: llama.cpp's own HTTP server, from xllamacpp, on a private Unix socket.

Started as `python -m mainstay.platform.engine.llama_cpp_process`. The only module that imports xllamacpp: one hostile
grammar kills the process that it runs in.
"""

import http.client
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import xllamacpp

from mainstay.platform.engine.child_setup import CANNOT_LOAD_EXIT_STATUS, ChildConfig, set_up_child

_BATCH_TOKENS = 64
"""Tokens of prompt worked on at once. Between two batches the other slots decode and a request whose client has gone is
dropped, so this bounds both: to about 0.4 s for a 0.5B model on 2 cores, where 2048 took up to 28 s. It costs nothing:
prompts were read at 144 tokens/s with 64 and at 146 with 256."""

_HTTP_THREADS = 256
"""Every connection holds one, also while it waits its turn or idles for up to 5 s: with none left, /health is late."""

_LOG_WARNINGS = 2
_IDLE_POLLS_TO_BE_SURE = 3
"""A slot is idle a moment before the last bytes of its answer are sent."""
_POLL_SECONDS = 0.05


def run() -> None:
    """Load the model, serve until SIGTERM, let running requests end, exit."""
    config = set_up_child()
    # Blocked before any thread exists, so that every thread of the engine inherits it: the engine's own handlers
    # never run, and no signal can interrupt an answer.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    server = _load(config)  # noqa: F841 - lives as long as this name
    signal.sigwait({signal.SIGTERM})
    _drain(Path(config.socket_path), config.drain_seconds)
    # Without tearing the engine down, whose destructors race with its own threads.
    os._exit(0)


def _load(config: ChildConfig) -> object:
    try:
        return xllamacpp.Server(_parameters(config))
    except RuntimeError as error:
        print(f"Cannot load {config.model_path}: {error}", file=sys.stderr, flush=True)
        raise SystemExit(CANNOT_LOAD_EXIT_STATUS) from error


def _parameters(config: ChildConfig) -> xllamacpp.CommonParams:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = config.model_path
    parameters.hostnames = [config.socket_path]
    parameters.verbosity = _LOG_WARNINGS

    # A context of its own for each slot: in one shared pool (kv_unified) a request that overflows it fails all others.
    parameters.kv_unified = False
    parameters.n_parallel = config.slots
    parameters.n_ctx = config.context_tokens * config.slots
    parameters.ctx_shift = False
    parameters.fit_params = False
    parameters.cache_prompt = True
    parameters.cache_ram_mib = config.prompt_cache_mebibytes

    parameters.n_batch = _BATCH_TOKENS
    parameters.n_ubatch = _BATCH_TOKENS
    parameters.cpuparams.n_threads = config.threads
    parameters.cpuparams_batch.n_threads = config.threads
    parameters.n_gpu_layers = 0
    parameters.n_threads_http = _HTTP_THREADS

    parameters.endpoint_slots = True
    parameters.endpoint_props = False
    parameters.endpoint_metrics = False
    parameters.ui = False
    parameters.use_jinja = True
    return parameters


def _drain(socket_path: Path, grace_seconds: float) -> None:
    """Refuse new connections and wait until no slot works, at most for the grace period."""
    # The listener follows its file: after the renaming nobody else finds it.
    private_path = socket_path.with_suffix(".end")
    socket_path.rename(private_path)
    deadline = time.monotonic() + grace_seconds
    idle_polls = 0
    while idle_polls < _IDLE_POLLS_TO_BE_SURE and time.monotonic() < deadline:
        idle_polls = 0 if _is_any_slot_working(private_path) else idle_polls + 1
        time.sleep(_POLL_SECONDS)
    private_path.unlink(missing_ok=True)


def _is_any_slot_working(socket_path: Path) -> bool:
    connection = http.client.HTTPConnection("engine", timeout=5)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(5)
    try:
        connection.sock.connect(str(socket_path))
        connection.request("GET", "/slots")
        return any(slot["is_processing"] for slot in json.loads(connection.getresponse().read()))
    except (OSError, http.client.HTTPException):
        # A server too busy to say so is not idle.
        return True
    finally:
        connection.close()


if __name__ == "__main__":
    run()
