"""`mainstay secrets`: the keys that secrets in the database are sealed with."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click

from mainstay.cli.database import database_settings, existing_database
from mainstay.cli.installed_keys import operator_act
from mainstay.cli.output import Output, output_option, table
from mainstay.kit.clock import SystemClock
from mainstay.kit.database import Transaction
from mainstay.platform.audit.events import Event
from mainstay.platform.audit.ledger import Ledger
from mainstay.platform.vault.root_keys import RootKeys
from mainstay.platform.vault.rotation import RootKeyUse, Rotation
from mainstay.server.sealed_columns import SEALED_COLUMNS

_SHOWN = 20


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def secrets() -> None:
    """Show and rotate the keys that stored secrets are sealed with.

    A secret is sealed with a data key of its organisation, and that with a root key: a file in the home's keys/root.
    Back these files up, apart from the database: without them no stored secret can be opened.
    """


@secrets.command()
@output_option
async def status(output: Output) -> None:
    """Show the root keys, and how many data keys each of them seals."""
    async with _rotation(output) as rotation:
        uses = await rotation.root_keys_in_use()
    output.show(uses, lambda: _listing(uses))


@secrets.command()
@click.option("--data-keys", is_flag=True, help="New data keys too, and every secret sealed anew with them.")
@output_option
async def rotate(output: Output, *, data_keys: bool) -> None:
    """Make a new root key and seal every data key with it; servers go on meanwhile.

    With several servers on one database, copy the new file to the others before they start again.
    """
    async with _rotation(output) as rotation:
        newest, count = await rotation.rotate_root_key(_record)
        result: dict[str, object] = {"root_key": newest, "data_keys": count}
        lines = [f"Root key {newest} seals all data keys now ({count} were sealed anew)."]
        if data_keys:
            result["organisations"] = await rotation.rotate_data_keys(_record)
            done = await rotation.reseal(SEALED_COLUMNS)
            result["secrets"] = done
            lines.append(f"{done.sealed_anew} secrets were sealed with new data keys.")
            lines += [f"It does not open, enter it again: {place}" for place in done.unreadable[:_SHOWN]]
        unused = [use for use in await rotation.root_keys_in_use() if not use.data_keys and not use.is_newest]
    output.show(result, "\n".join(lines))
    for use in unused:
        output.note(f"Nothing in the database needs {use.file} any more; remove it once no backup needs it either.")


@asynccontextmanager
async def _rotation(output: Output) -> AsyncIterator[Rotation]:
    settings = database_settings(output)
    async with existing_database(settings) as database:
        yield Rotation(database, RootKeys(settings.home / "keys" / "root"), SystemClock())


async def _record(transaction: Transaction, organisation_id: str, details: dict[str, str]) -> None:
    event = Event(action="secrets.rotated", details=dict(details))
    await Ledger(SystemClock()).append(transaction, operator_act(), organisation_id, [event])


def _listing(uses: list[RootKeyUse]) -> str:
    rows = [(use.id, use.file or "MISSING", use.data_keys, "seals" if use.is_newest else None) for use in uses]
    return table(("root key", "file", "data keys", ""), rows)
