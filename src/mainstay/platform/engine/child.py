"""One running engine child: started, listened to, ended."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

import msgspec

from mainstay.kit.errors import ConfigurationError, MainstayError, UnavailableError
from mainstay.kit.processes import Lifeline
from mainstay.platform.engine.child_setup import CANNOT_LOAD_EXIT_STATUS, ChildConfig
from mainstay.platform.engine.endpoint import EngineKind
from mainstay.platform.engine.log_file import LogFile
from mainstay.platform.engine.spec import EngineSpec

_MODULES = {
    EngineKind.LLAMA_CPP: "mainstay.platform.engine.llama_cpp_process",
    EngineKind.ONNX: "mainstay.platform.engine.embeddings_process",
}
_PASSED_ON = frozenset({"PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH"})
"""The environment of a child: where things are. No keys of vendors, no proxies with passwords."""
_THREADING = {"GOMP_SPINCOUNT": "1000"}
"""How long llama.cpp's threads wait for each other by spinning. libgomp's default, some 100 times more, lets a thread
that waits for another take the processor from it whenever the machine has other work: decoding falls to a tenth.
Measured 2026-11 on 2 cores beside one busy process: 2-12 tokens/s by default, 15-31 so; no difference when alone,
where not spinning at all (OMP_WAIT_POLICY=PASSIVE) costs a third."""
_READ_BYTES = 16_384
_KILL_WAIT_SECONDS = 10.0
_MEBIBYTE = 1024 * 1024


class Child:
    """An engine process. Own it: `stop` must be called, whatever happened."""

    def __init__(self, process: asyncio.subprocess.Process, lifeline: Lifeline, log: LogFile) -> None:
        self._process = process
        self._lifeline = lifeline
        self._log = log
        self._end = asyncio.create_task(self._follow(), name=f"engine {process.pid}")

    @classmethod
    async def start(cls, spec: EngineSpec, *, socket_path: Path, log: LogFile, drain_seconds: float) -> Self:
        """Start the process; it loads its model from now on. Must run in a thread that lives as long as the child."""
        config = ChildConfig(
            parent_id=os.getpid(),
            socket_path=str(socket_path),
            model_path=str(spec.model_path),
            tokenizer_path=None if spec.tokenizer_path is None else str(spec.tokenizer_path),
            slots=spec.slots,
            context_tokens=spec.context_tokens,
            threads=spec.threads,
            prompt_cache_mebibytes=spec.prompt_cache_bytes // _MEBIBYTE,
            drain_seconds=drain_seconds,
        )
        log.forget()
        with contextlib.ExitStack() as undo:
            lifeline = Lifeline()
            undo.callback(lifeline.close)
            lifeline.write(msgspec.json.encode(config) + b"\n")
            try:
                process = await _execute(_MODULES[spec.kind], stdin=lifeline.child_end)
            except OSError as error:
                raise UnavailableError(f"Cannot start an engine for model '{spec.model_id}': {error}.") from error
            undo.pop_all()
        return cls(process, lifeline, log)

    @property
    def process_id(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone and all that it printed is in the log."""
        return self._end.done()

    def call_at_end(self, callback: Callable[[], object]) -> None:
        """Call back as soon as the process has ended."""
        self._end.add_done_callback(lambda _: callback())

    async def wait(self, timeout_seconds: float) -> bool:
        """Wait for the end of the process; return whether it came in time."""
        done, _ = await asyncio.wait({self._end}, timeout=timeout_seconds)
        return bool(done)

    async def stop(self, *, grace_seconds: float) -> None:
        """End the process: ask it to finish its work for so long, then kill it. Without grace it is killed at once."""
        if grace_seconds > 0:
            self._send(signal.SIGTERM)
            await self.wait(grace_seconds)
        # A stopped process cannot be asked; SIGKILL works on it, too.
        self._send(signal.SIGKILL)
        await self.wait(_KILL_WAIT_SECONDS)
        self._lifeline.close()

    def describe_end(self) -> str:
        """Say how the ended process ended, with its last words."""
        status = self._process.returncode
        if status is None:
            return "it is still running"
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        words = self._log.last_words()
        return f"{how}; its last words: {words}" if words else how

    def load_error(self, spec: EngineSpec) -> MainstayError:
        """Return the error for a process that ended before it was ready."""
        message = f"Model '{spec.model_id}' cannot be loaded from {spec.model_path} ({self.describe_end()})."
        if self._process.returncode == CANNOT_LOAD_EXIT_STATUS:
            return ConfigurationError(f"{message} Remove the model and pull or add it again.", status=503)
        return UnavailableError(f"{message} It is tried again; the whole log is {self._log.path}.")

    def _send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def _follow(self) -> None:
        if (output := self._process.stdout) is not None:
            while text := await output.read(_READ_BYTES):
                self._log.write(text)
        await self._process.wait()


async def _execute(module: str, *, stdin: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        module,
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={name: value for name, value in os.environ.items() if name in _PASSED_ON} | _THREADING,
        # Ctrl-C at the terminal is for the supervisor, which then drains its engines.
        start_new_session=True,
        cwd="/",
    )
