import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from mainstay.kit.processes import Lifeline

_CHILD = """
import os, sys, time
from mainstay.kit.processes import die_with_parent
die_with_parent(int(sys.argv[1]), 0)
print("alive", os.getpid(), flush=True)
time.sleep(60)
"""

_PARENT = """
import os, subprocess, sys, time
from mainstay.kit.processes import Lifeline
lifeline = Lifeline()
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())], stdin=lifeline.child_end)
time.sleep(60)
"""


def _start_child(lifeline: Lifeline, parent_id: int, stdout: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _CHILD, str(parent_id)], stdin=lifeline.child_end, stdout=stdout)


def _is_gone(process_id: int) -> bool:
    """Whether the process has ended; one that only waits to be reaped has."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _wait_until_gone(process_id: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if _is_gone(process_id):
            return True
        time.sleep(0.01)
    return False


def test_child_dies_when_its_parent_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", _PARENT, _CHILD], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        child_id = int(parent.stdout.readline().split()[1])
        parent.kill()
        assert _wait_until_gone(child_id, 5)


def test_child_dies_at_the_end_of_the_lifeline_while_its_parent_lives() -> None:
    lifeline = Lifeline()
    with _start_child(lifeline, os.getpid()) as child:
        assert child.stdout
        assert child.stdout.readline().startswith(b"alive")
        lifeline.close()
        assert child.wait(5) == -signal.SIGKILL


def test_child_whose_parent_died_before_it_could_ask_ends_at_once() -> None:
    lifeline = Lifeline()
    with _start_child(lifeline, parent_id=os.getpid() + 1) as child:
        assert child.wait(10) == 1
        assert child.stdout
        assert child.stdout.read() == b""
    lifeline.close()


def test_lifeline_is_not_inherited_by_processes_it_was_not_given_to() -> None:
    lifeline = Lifeline()
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
    with _start_child(lifeline, os.getpid()) as child:
        assert child.stdout
        child.stdout.readline()
        lifeline.close()
        assert child.wait(5) == -signal.SIGKILL
    other.kill()
    other.wait()
