"""What Ctrl-C means: at the prompt a key like others, during a piece of work its end, in between nothing."""

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterator
from typing import TypeVar

_Result = TypeVar("_Result")


@contextlib.contextmanager
def ignored() -> Iterator[None]:
    """Let Ctrl-C do nothing; whoever is in the middle of something says otherwise with `stopping`."""
    before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def stopping(task: "asyncio.Task[_Result]") -> Iterator[None]:
    """Let Ctrl-C cancel the task."""
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGINT)
    loop.add_signal_handler(signal.SIGINT, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)


async def unless_stopped(work: Coroutine[object, object, _Result]) -> _Result | None:
    """Return the result of the work, or None if Ctrl-C stopped it."""
    task = asyncio.create_task(work)
    with stopping(task):
        try:
            # The work bounds its own waits.
            await asyncio.wait({task})
        finally:
            task.cancel()
    return None if task.cancelled() else task.result()
