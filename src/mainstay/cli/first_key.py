"""What the first start makes, once: an API key, and a link for the owner to sign in with. In child processes, since the
database's libraries are slow to import and the supervisor must stay small and quick.
"""

import asyncio
import json
import sys
from typing import Any

from mainstay.kit.errors import ConfigurationError

_SECONDS = 120.0


async def create_first_key() -> str | None:
    """Return the first key of an installation that has none, None when there is one already."""
    key = (await _ask("API key", "keys", "first"))["api_key"]
    return None if key is None else str(key)


async def create_first_link(url: str) -> str | None:
    """Return a link for the first owner of an installation without users, None when there are users already."""
    link = (await _ask("sign-in link", "sign-in-link", "--first", "--url", url))["sign_in_link"]
    return None if link is None else str(link)


async def _ask(what: str, *command: str) -> dict[str, Any]:  # a JSON object of the command's own
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "mainstay.cli",
        *command,
        "--json",
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_SECONDS):
            answer, _ = await process.communicate()
    except TimeoutError as error:
        process.kill()
        raise ConfigurationError(
            f"The first {what} was not made within {_SECONDS:.0f} s; run 'mainstay doctor' to see about the database."
        ) from error
    told: dict[str, Any] = json.loads(answer or b"{}")  # as above
    if process.returncode != 0:
        message = told.get("error", {}).get("message", "the command failed")
        raise ConfigurationError(f"The first {what} cannot be made: {message}")
    return told
