"""`mainstay keys`: API keys made, listed and revoked, with or without a running server."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import click
import msgspec

from mainstay.cli.database import database_settings, installed_database, tell_keys_changed
from mainstay.cli.output import Output, output_option, table
from mainstay.kit.clock import SystemClock
from mainstay.kit.errors import InvalidRequestError
from mainstay.kit.secrets import load_or_create_secret
from mainstay.platform.identity.keys import Key, Keys, NewKey
from mainstay.settings import Settings

_UNIT_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "y": 365 * 86_400}
_PAGE = 1000
_FIRST_NAME = "first key"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def keys() -> None:
    """Create, list and revoke API keys.

    A running server knows of a change within a second.
    """


@keys.command()
@click.option("--name", required=True, help="What it is for, so that you know later.")
@click.option("--expires", metavar="30d", help="How long it is good: minutes, hours, days or years (m, h, d, y).")
@click.option("--deployments", metavar="A,B", help="The only deployments that it is good for.")
@click.option("--rpm", type=int, help="Requests per minute.")
@click.option("--tpm", type=int, help="Tokens per minute.")
@click.option("--scopes", metavar="A,B", default="inference", show_default=True, help="inference, admin or both.")
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
) -> None:
    """Create a key and print it, this once."""
    wanted = NewKey(
        name=name,
        scopes=_names(scopes),
        deployments=None if deployments is None else _names(deployments),
        requests_per_minute=rpm,
        tokens_per_minute=tpm,
        expires_at_ms=None if expires is None else _expiry(expires, time.time()),
    )
    settings = database_settings(output)
    async with _installed_keys(settings) as installed:
        key, secret = await installed.create(wanted)
    await tell_keys_changed(settings.home)
    output.note("This is the only time that the key is shown; keep it in a safe place.")
    output.show({"api_key": secret, **_described(key)}, secret)


@keys.command("list")
@click.option("--all", "with_revoked", is_flag=True, help="Revoked keys too.")
@output_option
async def list_keys(output: Output, *, with_revoked: bool) -> None:
    """List the keys."""
    async with _installed_keys(database_settings(output)) as installed:
        found = [key async for key in _all(installed) if with_revoked or key.revoked_at_ms is None]
    columns = ("id", "name", "key", "state", "scopes", "deployments", "rpm", "tpm", "created", "expires")
    output.show([_described(key) for key in found], lambda: table(columns, [_cells(key) for key in found]))


@keys.command()
@click.argument("key_id", metavar="ID")
@output_option
async def show(output: Output, *, key_id: str) -> None:
    """Show one key: all but the key itself, which is not kept anywhere."""
    async with _installed_keys(database_settings(output)) as installed:
        key = await installed.get(key_id)
    output.show(_described(key), lambda: "\n".join(f"{name}: {value}" for name, value in _described(key).items()))


@keys.command()
@click.argument("key_id", metavar="ID")
@output_option
async def revoke(output: Output, *, key_id: str) -> None:
    """Revoke a key, for good."""
    settings = database_settings(output)
    async with _installed_keys(settings) as installed:
        key = await installed.revoke(key_id)
    await tell_keys_changed(settings.home)
    output.show(_described(key), f"Revoked {key.id} ({key.name}); servers refuse it within a second.")


@keys.command(hidden=True)
@output_option
async def first(output: Output) -> None:
    """Create a key if there has never been one."""
    settings = database_settings(output)
    async with _installed_keys(settings) as installed:
        if await installed.list(limit=1):
            output.show({"api_key": None}, "There are keys already; run `mainstay keys list`.")
            return
        _, secret = await installed.create(NewKey(_FIRST_NAME))
    output.show({"api_key": secret}, secret)


@asynccontextmanager
async def _installed_keys(settings: Settings) -> AsyncIterator[Keys]:
    async with installed_database(settings) as database:
        yield Keys(database, load_or_create_secret(settings.home / "keys" / "pepper"), SystemClock())


async def _all(installed: Keys) -> AsyncIterator[Key]:
    after: Key | None = None
    while page := await installed.list(after=after, limit=_PAGE):
        for key in page:
            yield key
        after = page[-1]


def _described(key: Key) -> dict[str, object]:
    """Return a key as JSON members; times as people and programs both read them."""
    described: dict[str, object] = msgspec.structs.asdict(key)
    for name in ("created_at", "expires_at", "revoked_at"):
        described[name] = _moment(getattr(key, f"{name}_ms"))
        del described[f"{name}_ms"]
    return {**described, "state": _state(key)}


def _cells(key: Key) -> tuple[object, ...]:
    return (
        key.id,
        key.name,
        key.hint,
        _state(key),
        ",".join(key.scopes),
        "all" if key.deployments is None else ",".join(key.deployments),
        key.requests_per_minute,
        key.tokens_per_minute,
        (_moment(key.created_at_ms) or "")[:10],
        _moment(key.expires_at_ms),
    )


def _state(key: Key) -> str:
    if key.revoked_at_ms is not None:
        return "revoked"
    if key.expires_at_ms is not None and key.expires_at_ms <= time.time() * 1000:
        return "expired"
    return "active"


def _moment(milliseconds: int | None) -> str | None:
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _expiry(text: str, now: float) -> int:
    """Return the time that lies `text` (`30d`, say) after `now`, as Unix milliseconds."""
    count, unit = text[:-1], _UNIT_SECONDS.get(text[-1:])
    if unit is None or not (count.isascii() and count.isdigit()) or not 0 < int(count[:9]) * unit <= 100 * 365 * 86_400:
        raise InvalidRequestError(
            f"{text[:40]!r} is no duration of up to 100 years; write 90m, 12h, 30d or 1y.", param="expires"
        )
    return int((now + int(count) * unit) * 1000)
