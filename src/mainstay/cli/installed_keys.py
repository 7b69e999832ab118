"""The keys of this installation, found as people call them: by id, by the beginning of an id, or by name."""

import getpass
from collections.abc import AsyncIterator

from mainstay.kit.clock import SystemClock
from mainstay.kit.database import Database
from mainstay.kit.errors import ConflictError, MainstayError, NotFoundError
from mainstay.kit.pages import PageRequest
from mainstay.kit.secrets import load_or_create_secret
from mainstay.platform.audit.events import Act, Actor, ActorType
from mainstay.platform.audit.ledger import Ledger
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.key_rows import Key
from mainstay.platform.identity.keys import KeyFilter, Keys
from mainstay.platform.identity.organisations import DEFAULT_ORGANISATION_ID, DEFAULT_PROJECT_ID
from mainstay.server.local_models import LocalModels
from mainstay.settings import Settings

_PAGE = 1000
_SHORTEST_ID = 8
_SHOWN_IDS = 5


def open_keys(database: Database, settings: Settings) -> Keys:
    """Return the keys of an open database."""
    clock = SystemClock()
    return Keys(database, load_or_create_secret(settings.home / "keys" / "pepper"), Acts(Ledger(clock), clock), clock)


def operator_act() -> Act:
    """Return who acts in commands: the owner of the machine, under the name that the system knows."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a user without a name: in a container, say
        name = None
    return Act(actor=Actor(type=ActorType.OPERATOR, id="operator", name=name))


async def all_keys(installed: Keys) -> AsyncIterator[Key]:
    """Yield all keys, oldest first; revoked ones too."""
    wanted = KeyFilter(project_id=DEFAULT_PROJECT_ID)
    request = PageRequest(limit=_PAGE)
    while True:
        page = await installed.list(DEFAULT_ORGANISATION_ID, request, wanted)
        for key in page.items:
            yield key
        if not page.has_more:
            return
        request = PageRequest(limit=_PAGE, after=page.items[-1].id)


async def find_key(installed: Keys, text: str) -> Key:
    """Return the key that is meant. Raises NotFoundError, or ConflictError if it may be one of several."""
    try:
        return await installed.get(DEFAULT_ORGANISATION_ID, text)
    except NotFoundError:
        keys = [key async for key in all_keys(installed)]
        named = [key for key in keys if key.name == text]
        found = [key for key in named if key.revoked_at_ms is None and key.rotated_to is None] or named
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
