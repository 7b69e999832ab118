"""Carries a command out: asks the server, follows pages, and shows what it answers."""

import os
import shutil
import textwrap
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import click

from mainstay.cli.admin.naming import identified, in_options
from mainstay.cli.admin.verbs import Verb, value_of
from mainstay.cli.chat.connection import checked_base_url, default_api_key, default_base_url, explained
from mainstay.cli.output import Output, table
from mainstay.client.administration import Administration, filled
from mainstay.kit.errors import InvalidRequestError, MainstayError

_PAGE = 100
_WIDTH_MAX = 60
_WIDTH_MIN = 40

Json = dict[str, Any]  # what the server answered


async def run_verb(
    verb: Verb, given: Mapping[str, str | None], output: Output, *, where: Mapping[str, str | None]
) -> None:
    """Carry a command out. Raises MainstayError."""
    said_by = "MAINSTAY_BASE_URL" if os.environ.get("MAINSTAY_BASE_URL") else "The server's address"
    said_by = "--base-url" if where.get("base_url") else said_by
    base_url = checked_base_url(where.get("base_url") or default_base_url(), said_by=said_by)
    api_key = where.get("api_key") or default_api_key(base_url)
    try:
        async with Administration(base_url, api_key, organisation=where.get("organisation")) as administration:
            if verb.columns:
                await _show_list(administration, verb, given, output)
            else:
                await _show_one(administration, verb, given, output)
    except MainstayError as error:
        raise explained(
            in_options(error, verb), f"{urlsplit(base_url).scheme}://{urlsplit(base_url).netloc}"
        ) from error


async def _show_one(
    administration: Administration, verb: Verb, given: Mapping[str, str | None], output: Output
) -> None:
    path = filled(verb.path, await identified(administration, verb, given))
    body: Json | None = None
    if verb.method in ("POST", "PATCH", "PUT"):
        body = {
            field.name: value_of(field, text) for field in verb.fields if (text := given.get(field.name)) is not None
        }
        body |= verb.constants or {}
        if verb.method == "PATCH" and not body:
            options = ", ".join(field.option for field in verb.fields)
            raise InvalidRequestError(f"Nothing is to be changed; give one of {options}.")
    headers = {}
    if verb.is_versioned:
        read = await administration.call("GET", path)
        if read.version is not None:
            headers["if-match"] = read.version
    query = {field.name: text for field in verb.filters if (text := given.get(field.name)) is not None}
    found = await administration.call(verb.method, path, body, query=query, headers=headers)
    if verb.once and verb.once in found.value:
        named = f"{verb.thing} {found.value['id']}: this" if verb.thing and "id" in found.value else "This"
        output.note(f"{named} is the only time that it is shown; keep it in a safe place.")
        output.show(found.value, str(found.value[verb.once]))
        return
    output.show(found.value, lambda: _details(found.value))
    if verb.fails_unless is not None and not found.value.get(verb.fails_unless):
        raise click.exceptions.Exit(1)


async def _show_list(
    administration: Administration, verb: Verb, given: Mapping[str, str | None], output: Output
) -> None:
    path = filled(verb.path, await identified(administration, verb, given))
    filters = {field.name: text for field in verb.filters if (text := given.get(field.name)) is not None}
    wanted = _limit(given.get("limit"))
    items: list[Json] = []
    after: str | None = None
    while True:
        rows = _PAGE if wanted is None else min(_PAGE, wanted - len(items))
        query = filters | ({"limit": str(rows)} if verb.is_paged else {}) | ({} if after is None else {"after": after})
        page = (await administration.call("GET", path, query=query)).value
        items += page["data"]
        after = page.get("last_id")
        if not page.get("has_more") or after is None or (wanted is not None and len(items) >= wanted):
            break
    columns = [name.removesuffix("_at").replace("_", " ") for name in verb.columns]
    output.show(
        items, lambda: table(columns, [[_cell(name, item.get(name)) for name in verb.columns] for item in items])
    )


def _limit(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or not 1 <= int(text[:9]) <= 10_000_000:
        raise InvalidRequestError(f"--limit is {text[:20]!r}; write a number.", param="limit")
    return int(text)


def _details(value: Json) -> str:
    """Write every value whole, in as many lines as it takes."""
    shown = {name: _cell(name, one, width=None) for name, one in value.items() if name != "object" and one is not None}
    widest = max((len(name) for name in shown), default=0) + 1
    wrapper = textwrap.TextWrapper(
        width=max(shutil.get_terminal_size().columns, widest + 1 + _WIDTH_MIN),
        subsequent_indent=" " * (widest + 1),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(wrapper.fill(f"{name.replace('_', ' ') + ':':{widest}} {one}") for name, one in shown.items())


def _cell(name: str, value: object, *, width: int | None = _WIDTH_MAX) -> str | None:
    """Write a value for people: times as such, lists with commas, and nothing that could steer a terminal."""
    if value is None:
        return None
    if name.endswith("_at") and isinstance(value, int | float):
        return datetime.fromtimestamp(min(value, time.time() + 10**10), UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        text = ", ".join(value)
    elif isinstance(value, dict) and value.keys() == {"type", "id"}:
        text = f"{value['type']}:{value['id']}"
    elif isinstance(value, dict | list):
        import json

        text = json.dumps(value, ensure_ascii=False)
    else:
        text = str(value)
    text = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return text if width is None or len(text) <= width else text[: width - 1] + "…"
