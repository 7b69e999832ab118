"""The keys of this installation, found as people call them: by id, by the beginning of an id, or by name."""

from collections.abc import AsyncIterator

from mainstay.kit.clock import SystemClock
from mainstay.kit.database import Database
from mainstay.kit.errors import ConflictError, MainstayError, NotFoundError
from mainstay.kit.secrets import load_or_create_secret
from mainstay.platform.identity.keys import Key, Keys
from mainstay.server.local_models import LocalModels
from mainstay.settings import Settings

_PAGE = 1000
_SHORTEST_ID = 8
_SHOWN_IDS = 5


def open_keys(database: Database, settings: Settings) -> Keys:
    """Return the keys of an open database."""
    return Keys(database, load_or_create_secret(settings.home / "keys" / "pepper"), SystemClock())


async def all_keys(installed: Keys) -> AsyncIterator[Key]:
    """Yield all keys, oldest first; revoked ones too."""
    after: Key | None = None
    while page := await installed.list(after=after, limit=_PAGE):
        for key in page:
            yield key
        after = page[-1]


async def find_key(installed: Keys, text: str) -> Key:
    """Return the key that is meant. Raises NotFoundError, or ConflictError if it may be one of several."""
    try:
        return await installed.get(text)
    except NotFoundError:
        keys = [key async for key in all_keys(installed)]
        named = [key for key in keys if key.name == text]
        found = [key for key in named if key.revoked_at_ms is None] or named
        what = "are named"
        if not found and len(text) >= _SHORTEST_ID:
            found, what = [key for key in keys if key.id.startswith(text)], "have an id that begins with"
        if not found:
            raise
    if len(found) > 1:
        ids = ", ".join(key.id for key in found[:_SHOWN_IDS]) + (", ..." if len(found) > _SHOWN_IDS else "")
        raise ConflictError(f"{len(found)} keys {what} {text[:80]}: {ids}; give the id of one.")
    return found[0]


def unknown_deployments(settings: Settings, names: tuple[str, ...]) -> list[str]:
    """Return the names that no deployment or alias has; none if the settings do not say for sure."""
    if settings.problems:
        return []
    try:
        settings = LocalModels.of(settings).complete(settings)
    except MainstayError:
        return []
    return [name for name in names if settings.find_deployment(name) is None]
