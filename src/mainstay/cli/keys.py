"""`mainstay keys`: API keys made, listed, replaced and revoked, with or without a running server."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click

from mainstay.cli.database import database_settings, existing_database, installed_database, tell_keys_changed
from mainstay.cli.installed_keys import all_keys, find_key, open_keys, operator_act, unknown_deployments
from mainstay.cli.key_views import described, details, listing, moment
from mainstay.cli.output import Output, output_option
from mainstay.kit.errors import InvalidRequestError
from mainstay.kit.pages import PageRequest
from mainstay.platform.identity.key_wishes import NewKey
from mainstay.platform.identity.keys import Keys
from mainstay.platform.identity.organisations import DEFAULT_ORGANISATION_ID
from mainstay.settings import Settings

_UNIT_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "y": 365 * 86_400}
_FIRST_NAME = "first key"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def keys() -> None:
    """Create, list, replace and revoke API keys.

    A running server knows of a change within a second.
    """


@keys.command()
@click.option("--name", required=True, help="What it is for, so that you know later.")
@click.option("--expires", metavar="30d", help="How long it is good: minutes, hours, days or years (m, h, d, y).")
@click.option("--deployments", metavar="A,B", help="The only deployments that it is good for.")
@click.option("--rpm", type=int, help="Requests per minute.")
@click.option("--tpm", type=int, help="Tokens per minute.")
@click.option(
    "--scopes", metavar="A,B", default="inference", show_default=True, help="inference, admin, or scim alone."
)
@click.option("--networks", metavar="A,B", help="The only addresses or networks (10.0.0.0/8) that it is good from.")
@output_option
async def create(
    output: Output,
    *,
    name: str,
    expires: str | None,
    deployments: str | None,
    rpm: int | None,
    tpm: int | None,
    scopes: str,
    networks: str | None,
) -> None:
    """Create a key and print it, this once."""
    wanted = NewKey(
        name=name,
        scopes=_names(scopes),
        deployments=None if deployments is None else _names(deployments),
        requests_per_minute=rpm,
        tokens_per_minute=tpm,
        expires_at_ms=None if expires is None else _expiry(expires, time.time()),
        networks=None if networks is None else _names(networks),
    )
    settings = database_settings(output)
    async with _installed_keys(settings) as installed:
        key, secret = await installed.create(operator_act(), wanted)
    await tell_keys_changed(settings.home)
    for unknown in unknown_deployments(settings, key.deployments or ()):
        output.note(
            f"warning: No deployment is named {unknown}; the key is good for it once there is one. "
            "`mainstay deployments list` shows the names."
        )
    output.note(f"Key {key.id}: this is the only time that it is shown; keep it in a safe place.")
    output.show({"api_key": secret, **described(key)}, secret)


@keys.command("list")
@click.option("--all", "with_revoked", is_flag=True, help="Revoked keys too.")
@output_option
async def list_keys(output: Output, *, with_revoked: bool) -> None:
    """List the keys."""
    async with _existing_keys(database_settings(output)) as installed:
        found = [key async for key in all_keys(installed) if with_revoked or key.revoked_at_ms is None]
    output.show([described(key) for key in found], lambda: listing(found))


@keys.command()
@click.argument("key_id", metavar="ID|NAME")
@output_option
async def show(output: Output, *, key_id: str) -> None:
    """Show one key: all but the key itself, which is not kept anywhere."""
    async with _existing_keys(database_settings(output)) as installed:
        key = await find_key(installed, key_id)
    output.show(described(key), lambda: details(key))


@keys.command()
@click.argument("key_id", metavar="ID|NAME")
@output_option
async def revoke(output: Output, *, key_id: str) -> None:
    """Revoke a key, for good."""
    settings = database_settings(output)
    async with _existing_keys(settings) as installed:
        found = await find_key(installed, key_id)
        key = await installed.revoke(operator_act(), DEFAULT_ORGANISATION_ID, found.id)
    await tell_keys_changed(settings.home)
    text = f"Revoked {key.id} ({key.name}); servers refuse it within a second."
    if found.revoked_at_ms is not None:
        text = f"{key.id} ({key.name}) was revoked already, at {moment(found.revoked_at_ms)}; nothing is changed."
    output.show(described(key), text)


@keys.command()
@click.argument("key_id", metavar="ID|NAME")
@click.option("--overlap", metavar="24h", default="1d", show_default=True, help="How long the old key stays good.")
@click.option("--expires", metavar="30d", help="How long the new key is good; as long as the old one was, if not said.")
@output_option
async def rotate(output: Output, *, key_id: str, overlap: str, expires: str | None) -> None:
    """Replace a key: print a new one, and let the old one be good for a while."""
    settings, now = database_settings(output), time.time()
    overlap_seconds = 0 if overlap == "0" else (_expiry(overlap, 0, "overlap") // 1000)
    async with _existing_keys(settings) as installed:
        found = await find_key(installed, key_id)
        key, secret = await installed.rotate(
            operator_act(),
            found.organisation_id,
            found.id,
            overlap_seconds=overlap_seconds,
            expires_at_ms=None if expires is None else _expiry(expires, now),
        )
    await tell_keys_changed(settings.home)
    output.note(f"Key {key.id} replaces {found.id}: this is the only time that it is shown; keep it in a safe place.")
    output.show({"api_key": secret, **described(key)}, secret)


@keys.command(hidden=True)
@output_option
async def first(output: Output) -> None:
    """Create a key if there has never been one."""
    settings = database_settings(output)
    async with _installed_keys(settings) as installed:
        if (await installed.list(DEFAULT_ORGANISATION_ID, PageRequest(limit=1))).items:
            output.show({"api_key": None}, "There are keys already; run `mainstay keys list`.")
            return
        _, secret = await installed.create(operator_act(), NewKey(_FIRST_NAME))
    output.show({"api_key": secret}, secret)


@asynccontextmanager
async def _existing_keys(settings: Settings) -> AsyncIterator[Keys]:
    async with existing_database(settings) as database:
        yield open_keys(database, settings)


@asynccontextmanager
async def _installed_keys(settings: Settings) -> AsyncIterator[Keys]:
    async with installed_database(settings) as database:
        yield open_keys(database, settings)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _expiry(text: str, now: float, param: str = "expires") -> int:
    """Return the time that lies `text` (`30d`, say) after `now`, as Unix milliseconds."""
    if text.isascii() and text.isdigit():
        units = ", ".join(f"{text[:40]}{unit}" for unit in _UNIT_SECONDS)
        raise InvalidRequestError(f"{text[:40]!r} has no unit; write one of {units}.", param=param)
    count, unit = text[:-1], _UNIT_SECONDS.get(text[-1:])
    if unit is None or not (count.isascii() and count.isdigit()) or not 0 < int(count[:9]) * unit <= 100 * 365 * 86_400:
        raise InvalidRequestError(
            f"{text[:40]!r} is no duration of up to 100 years; write 90m, 12h, 30d or 1y.", param=param
        )
    return int((now + int(count) * unit) * 1000)
