"""What an examination finds: how bad it is, and what to do about it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from mainstay.kit.errors import MainstayError

CHECK_SECONDS = 30.0
"""No check may hold up the others for longer."""

_LOG = logging.getLogger(__name__)


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `remedy` is what to do, empty if nothing is."""

    name: str
    level: Level
    message: str
    remedy: str = ""


Check = Callable[[], Awaitable[list[Finding]]]


def in_thread(check: Callable[[], list[Finding]]) -> Check:
    """Make a check of one that blocks, on a disk that may not answer."""

    async def run() -> list[Finding]:
        return await asyncio.to_thread(check)

    return run


def ok(name: str, message: str) -> Finding:
    """All is well."""
    return Finding(name, Level.OK, message)


def warning(name: str, message: str, remedy: str) -> Finding:
    """It works, but somebody should look at it."""
    return Finding(name, Level.WARNING, message, remedy)


def problem(name: str, message: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(name, Level.PROBLEM, message, remedy)


async def examine(checks: Iterable[tuple[str, Check]]) -> list[Finding]:
    """Run the checks side by side; the findings come in the order of the checks."""
    found = await asyncio.gather(*(_run(name, check) for name, check in checks))
    return [finding for findings in found for finding in findings]


async def _run(name: str, check: Check) -> list[Finding]:
    """Run one check; whatever breaks in it is a finding, since a broken installation is what it looks at."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check()
    except TimeoutError:
        return [
            problem(name, f"No answer within {CHECK_SECONDS:.0f} s.", "Look for a stuck disk, database or network.")
        ]
    except MainstayError as error:
        return [problem(name, error.message, "")]
    except Exception as error:  # noqa: BLE001 - the boundary around each check: one that fails must not hide the others
        _LOG.debug("The check %s failed.", name, exc_info=True)
        return [problem(name, f"The check itself failed: {type(error).__name__}: {error}", "Report this as a bug.")]
