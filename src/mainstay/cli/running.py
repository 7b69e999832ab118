"""The server that runs on this machine, as its owner's commands reach it: over the control socket."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mainstay.kit.control import Frame, raised
from mainstay.kit.errors import MainstayError, UnavailableError
from mainstay.settings import find_home
from mainstay.supervisor.paths import address_path, control_path, is_own_run_directory

_ANSWER_BYTES = 1024 * 1024


def call(method: str, *, seconds: float, environment: Mapping[str, str] = os.environ) -> dict[str, object]:
    """Call the supervisor and return its answer. Raises what it raises, UnavailableError when none runs."""
    home = find_home(None, environment)
    path = control_path(home)
    try:
        if not is_own_run_directory(home):
            raise FileNotFoundError(f"{path.parent} is not there")
        answer = _exchange(path, method, seconds)
    except (OSError, msgspec.DecodeError) as error:
        raise UnavailableError(
            f"No Mainstay answers on {path} ({error}); start one with `make run` or `mainstay serve`."
        ) from error
    if answer.error is not None:
        raise raised(answer.error)
    return answer.result if isinstance(answer.result, dict) else {}


def local_address(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return where the running server listens, None when none runs."""
    home = find_home(None, environment)
    if not is_own_run_directory(home):
        return None
    try:
        return address_path(home).read_text("utf-8").strip() or None
    except OSError:
        return None


def local_key(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the key that the running server keeps in memory for its owner, None when none runs."""
    try:
        return str(call("local_key", seconds=5, environment=environment)["api_key"])
    except MainstayError:
        return None


def _exchange(path: Path, method: str, seconds: float) -> Frame:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        connection.connect(str(path))
        connection.sendall(msgspec.json.encode(Frame(call=1, method=method)) + b"\n")
        line = bytearray()
        while not line.endswith(b"\n"):
            part = connection.recv(65_536)
            if not part or len(line) > _ANSWER_BYTES:
                raise ConnectionResetError("the connection was closed")
            line += part
        return msgspec.json.decode(bytes(line), type=Frame)
