"""Children that die with their parent, also when the parent is killed with SIGKILL.

Two ways at once, since each has a gap. PDEATHSIG is sent by the kernel without delay, but only when the *thread* that
started the child ends, and it is lost across a setuid exec. End of file on an inherited pipe works everywhere, but
only while a thread of the child can run.
"""

import ctypes
import os
import signal
import threading

_PR_SET_PDEATHSIG = 1
"""prctl(2), Linux."""


def die_with_parent(parent_id: int, lifeline: int) -> None:
    """Arrange for this process to be killed when its parent is gone.

    To be called first thing in a child. `parent_id` is the parent's process id as the parent knows it; `lifeline` is
    the reading end of a pipe of which only the parent holds the writing end. If the parent has died already, the
    process exits here.
    """
    _ask_for_signal_at_parent_death()
    # The parent may have died before the call above, in which case no signal will ever come.
    if os.getppid() != parent_id:
        os._exit(1)
    threading.Thread(target=_wait_for_end, args=(lifeline,), name="lifeline", daemon=True).start()


def _ask_for_signal_at_parent_death() -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl(PR_SET_PDEATHSIG): {os.strerror(number)}")


def _wait_for_end(lifeline: int) -> None:
    while os.read(lifeline, 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


class Lifeline:
    """A pipe. As long as this process holds it, a child that was given `child_end` lives.

    Neither end is inherited unless handed on by name; do not fork without exec while one is open.
    """

    def __init__(self) -> None:
        self.child_end, self._own_end = os.pipe()

    def write(self, message: bytes) -> None:
        """Leave the child a first message, to be read before `die_with_parent`; at most 64 KiB, a pipe's buffer."""
        os.write(self._own_end, message)

    def close(self) -> None:
        """Let go: every child that watches the pipe kills itself."""
        for descriptor in (self.child_end, self._own_end):
            os.close(descriptor)
