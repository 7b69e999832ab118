"""The first API key, made once: in a child process, since the database's libraries are slow to import and the
supervisor must stay small and quick.
"""

import asyncio
import json
import sys

from mainstay.kit.errors import ConfigurationError

_SECONDS = 120.0


async def create_first_key() -> str | None:
    """Return the first key of an installation that has none, None when there is one already."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mainstay.cli", "keys", "first", "--json", stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(_SECONDS):
            answer, _ = await process.communicate()
    except TimeoutError as error:
        process.kill()
        raise ConfigurationError(
            f"The first API key was not made within {_SECONDS:.0f} s; run 'mainstay doctor' to see about the database."
        ) from error
    told = json.loads(answer or b"{}")
    if process.returncode != 0:
        message = told.get("error", {}).get("message", "the command failed")
        raise ConfigurationError(f"The first API key cannot be made: {message}")
    key = told["api_key"]
    return None if key is None else str(key)
