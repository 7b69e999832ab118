"""How people name things and options, and how the API does."""

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

from mainstay.cli.admin.verbs import Verb
from mainstay.client.administration import Administration
from mainstay.kit.errors import ConflictError, MainstayError, NotFoundError

_PAGE = "100"
_SHORTEST_ID = 8
_ID_CHARACTERS = len("key_") + 32
_SHOWN_IDS = 5

Json = dict[str, Any]  # what the server answered


async def identified(administration: Administration, verb: Verb, given: Mapping[str, str | None]) -> dict[str, str]:
    """Return the arguments of a command as the API takes them: ids for mail addresses, and whole ids of keys."""
    arguments = {name: given.get(name) or "" for name in verb.parameters}
    if "@" in arguments.get("user", ""):
        arguments["user"] = await user_of(administration, arguments["user"])
    if verb.name == "rotate" and _SHORTEST_ID <= len(arguments.get("key", "")) < _ID_CHARACTERS:
        arguments["key"] = await _key_of(administration, verb.path.partition("/{key}")[0], arguments["key"])
    return arguments


async def user_of(administration: Administration, email: str) -> str:
    """Return the id of the user with this mail address. Raises NotFoundError."""
    found = (await administration.call("GET", "/admin/v1/users", query={"email": email})).value["data"]
    if not found:
        raise NotFoundError(f"There is no user {email[:100]}; `mainstay admin users list` shows who there is.")
    return str(found[0]["id"])


async def everything(administration: Administration, path: str) -> AsyncIterator[Json]:
    """Yield the items of a list, page by page."""
    query = {"limit": _PAGE}
    while True:
        page = (await administration.call("GET", path, query=query)).value
        for item in page["data"]:
            yield item
        if not page.get("has_more") or page.get("last_id") is None:
            return
        query["after"] = page["last_id"]


def in_options(error: MainstayError, verb: Verb) -> MainstayError:
    """Return the error in the words of the command line: options where the API names members."""
    message = re.sub(r"(?:at )?/admin/v1/why\b", "with `mainstay why`", error.message)
    name = re.split(r"[.\[]", error.param or "")[0]
    for field in (*verb.fields, *verb.filters):
        if field.name == name:
            message = re.sub(rf"^{name}\b|'{name}'", field.option, message)
    error.message = message
    return error


async def _key_of(administration: Administration, path: str, beginning: str) -> str:
    ids = [item["id"] async for item in everything(administration, path) if item["id"].startswith(beginning)]
    if not ids:
        raise NotFoundError(f"There is no key whose id is, or begins with, {beginning[:100]}.")
    if len(ids) > 1:
        shown = ", ".join(ids[:_SHOWN_IDS]) + (", ..." if len(ids) > _SHOWN_IDS else "")
        raise ConflictError(f"{len(ids)} keys have an id that begins with {beginning[:80]}: {shown}; give more of it.")
    return str(ids[0])
