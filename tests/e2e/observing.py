"""What tests of running servers look at, beside the servers themselves."""

import os
import subprocess
import sys
import time
from pathlib import Path

SMALL = "smollm2-135m-instruct"


class VendorProcess:
    """The scripted vendor in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mainstay.testing.vendor", "--port", "0", "--print-port", *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        self.process.stdout.close()


def vendor_configuration(port: int, *extra: str) -> str:
    """mainstay.toml with one deployment, `upstream`, at the vendor."""
    return "\n".join(
        [
            *extra,
            "[[providers]]",
            'name = "vendor"',
            'kind = "openai"',
            f'base_url = "http://127.0.0.1:{port}/v1"',
            "[[deployments]]",
            'name = "upstream"',
            'targets = [{ provider = "vendor", model = "m" }]',
        ]
    )


def descendants(process_id: int) -> set[int]:
    """The process ids of all children of a process, theirs included."""
    found: set[int] = set()
    waiting = [process_id]
    while waiting:
        parent = waiting.pop()
        try:
            children = [int(word) for word in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
        except OSError:
            continue
        found.update(children)
        waiting += children
    return found


def is_alive(process_id: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def until(condition, seconds: float = 20.0) -> bool:
    """Wait for a condition of the outside world, which gives no events."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def memory_bytes(process_id: int) -> int:
    """Resident memory."""
    return int(Path(f"/proc/{process_id}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
