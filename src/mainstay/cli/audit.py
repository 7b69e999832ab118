"""`mainstay audit`: the log of what was done, verified, exported and listed without going through the server."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import click
import msgspec

from mainstay.cli.database import database_settings, existing_database, require_installation
from mainstay.cli.installed_keys import operator_act
from mainstay.cli.output import Output, output_option, table
from mainstay.kit.clock import SystemClock
from mainstay.kit.database import Database
from mainstay.kit.errors import InvalidRequestError, MainstayError
from mainstay.kit.secrets import load_or_create_secret
from mainstay.platform.audit.actions import clean_prefix
from mainstay.platform.audit.events import Event
from mainstay.platform.audit.export import Export
from mainstay.platform.audit.exported import Verified, verify_export
from mainstay.platform.audit.ledger import Ledger
from mainstay.platform.audit.reading import EventFilter, find_events
from mainstay.platform.audit.signed_here import SignedHere
from mainstay.platform.audit.signing import PublicKeys, Signer, read_public_key, write_public_key
from mainstay.platform.audit.stored import organisations_with_events, verify_stored
from mainstay.platform.audit.verify import Entry, Report
from mainstay.platform.identity.organisations import DEFAULT_ORGANISATION_ID
from mainstay.platform.metering.usage import parse_time
from mainstay.settings import Settings

_SHOWN_FAULTS = 10
Anchors = dict[int, tuple[bytes, str]]


class BrokenLogError(MainstayError):
    """Verification has found faults."""

    code = "audit_log_broken"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def audit() -> None:
    """Verify, export and list the audit log.

    Each organisation's log is a chain of hashes, signed a minute after an event at the latest. Keep exports, and the
    key that `public-key` prints, where those who administer the server cannot change them.
    """


@dataclass(frozen=True, slots=True)
class _Installed:
    """The log of this installation."""

    settings: Settings
    database: Database

    @property
    def signed_here(self) -> SignedHere:
        return SignedHere(self.settings.home / "audit" / "signed.json")

    def signer(self) -> Signer:
        return Signer(load_or_create_secret(self.settings.home / "keys" / "audit"))


# Any: click's decorators take commands of every signature.
def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--until", metavar="TIME", help="As --since."),
        click.option("--since", metavar="7d", help="7d, 12h, 30m, or a date or time (UTC)."),
        click.option("--target", metavar="ID", help="Only what was done to this."),
        click.option("--actor", metavar="ID", help="Only what this one did."),
        click.option("--action", metavar="NAME", help="Such as user.created, or user for all of them."),
        _organisation,
    ):
        command = option(command)
    return command


_organisation = click.option(
    "--organisation", metavar="ID", default=DEFAULT_ORGANISATION_ID, show_default=True, help="Whose log."
)


@audit.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="[EXPORT]...")
@click.option("--organisation", metavar="ID", help="Only this organisation's log; all of them without it.")
@click.option("--public-key", "keys", metavar="KEY", multiple=True, help="A key that is trusted, instead of our own.")
@click.option(
    "--against",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="EXPORT",
    help="An older export of the same organisation that the log must agree with.",
)
@output_option
async def verify(
    output: Output,
    *,
    files: tuple[Path, ...],
    organisation: str | None,
    keys: tuple[str, ...],
    against: tuple[Path, ...],
) -> None:
    """Verify the log in the database, or exports, which needs neither server nor database.

    Ends with exit code 1 if anything is wrong.
    """
    trusted = [read_public_key(key) for key in keys] or None
    older = [_verified_file(path, trusted) for path in against]
    if files:
        found = [_verified_file(path, trusted) for path in files]
        if older:
            found = [
                _verified_file(path, trusted, _anchors(older, one.header.organisation_id))
                for path, one in zip(files, found, strict=True)
            ]
        for one in found:
            _note_trust(output, one)
        reports = [one.report for one in found]
    else:
        reports = await _verify_installed(output, organisation, trusted, older)
    reports += [one.report for one in older if not one.report.is_intact]
    output.show(reports, lambda: "\n".join(_described(report) for report in reports) or "The audit log is empty.")
    broken = [report for report in reports if not report.is_intact]
    if broken:
        output.note(f"{len(broken)} of {len(reports)} logs are not intact.")
        raise click.exceptions.Exit(1)


@audit.command()
@_filters
@click.option("--after", type=click.IntRange(0), default=0, help="Only events after this one.")
@click.option("--output", "path", type=click.Path(path_type=Path), metavar="FILE", help="A new file; else to stdout.")
@output_option
async def export(output: Output, *, organisation: str, after: int, path: Path | None, **filters: str | None) -> None:
    """Write the log as lines of JSON, signed at their end."""
    wanted = _wanted(filters)
    async with _installed(output) as installed:
        lines = Export(installed.database, SystemClock(), installed.signer()).lines(organisation, wanted, after=after)
        async with aclosing(lines):
            first = await anext(lines)
            await _record_export(installed.database, organisation, wanted, after)
            with _destination(path) as file:
                file.write(first)
                async for piece in lines:
                    file.write(piece)
                file.flush()
    if path is not None:
        output.show({"file": str(path)}, f"Exported to {path}; `mainstay audit verify {path}` verifies it anywhere.")


@audit.command("list")
@_filters
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="The newest ones.")
@output_option
async def list_events(output: Output, *, organisation: str, limit: int, **filters: str | None) -> None:
    """List events, newest first."""
    wanted = _wanted(filters)
    async with _installed(output) as installed:
        found = await find_events(installed.database, organisation, wanted, limit=limit, is_descending=True)
    output.show([_body(entry) for entry in found], lambda: _listing(found))


@audit.command("public-key")
@output_option
async def public_key(output: Output) -> None:
    """Print the key that verifies this installation's signatures."""
    settings = database_settings(output)
    path = settings.home / "keys" / "audit"
    if not await asyncio.to_thread(path.exists):
        await require_installation(settings)
    signer = Signer(load_or_create_secret(path))
    text = write_public_key(signer.public_key)
    output.show({"key_id": signer.key_id, "algorithm": "ed25519", "public_key": text}, text)


async def _verify_installed(
    output: Output, organisation: str | None, trusted: list[bytes] | None, older: list[Verified]
) -> list[Report]:
    async with _installed(output) as installed:
        keys = PublicKeys(trusted if trusted is not None else [installed.signer().public_key])
        known = await organisations_with_events(installed.database)
        ids = [organisation] if organisation is not None else known
        if organisation is not None and organisation not in known:
            raise InvalidRequestError(f"There is no audit log of '{organisation[:100]}'.", param="organisation")
        strangers = {one.header.organisation_id for one in older} - set(ids)
        if strangers:
            raise BrokenLogError(
                f"There is an export of {', '.join(sorted(strangers))}, but no log to compare it with."
            )
        return [
            await verify_stored(
                installed.database,
                one,
                keys,
                anchors=installed.signed_here.anchors(one) | _anchors(older, one),
            )
            for one in ids
        ]


def _verified_file(path: Path, trusted: list[bytes] | None, anchors: Anchors | None = None) -> Verified:
    try:
        with path.open("rb") as file:
            return verify_export(file, trusted, name=path.name, anchors=anchors)
    except OSError as error:
        raise InvalidRequestError(f"The export {path} cannot be read: {error.strerror}.") from error


def _anchors(older: list[Verified], organisation_id: str) -> Anchors:
    anchors: Anchors = {}
    for one in older:
        if organisation_id == one.header.organisation_id:
            anchors |= one.anchors
    return anchors


def _note_trust(output: Output, verified: Verified) -> None:
    if verified.trusts_itself:
        key = ", ".join(verified.header.public_keys)
        output.note(
            f"warning: The signatures were checked with the key that the export brings along ({key}). Compare it with "
            "`mainstay audit public-key` on the server, or give it as --public-key."
        )


def _described(report: Report) -> str:
    what = f"{report.organisation_id}: {report.events} events"
    if report.after_sequence:
        what += f" after event {report.after_sequence}"
    if report.is_intact:
        unsigned = report.last_sequence - report.signed_through
        note = f", the last {unsigned} not signed yet" if report.signed_through and unsigned else ""
        return f"{what} intact, {report.checkpoints} checkpoints right{note}. Last hash: {report.last_hash}"
    lines = [f"{what}, NOT INTACT: {report.fault_count} faults"]
    lines += [f"  {fault.message}" for fault in report.faults[:_SHOWN_FAULTS]]
    if report.fault_count > _SHOWN_FAULTS:
        lines.append("  ...")
    return "\n".join(lines)


async def _record_export(database: Database, organisation_id: str, wanted: EventFilter, after: int) -> None:
    event = Event(action="audit.exported", details={"filters": wanted.described(), "after_sequence": after})
    async with database.transaction() as transaction:
        await Ledger(SystemClock()).append(transaction, operator_act(), organisation_id, [event])


def _destination(path: Path | None) -> AbstractContextManager[BinaryIO]:
    if path is None:
        return nullcontext(sys.stdout.buffer)
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except OSError as error:
        raise InvalidRequestError(f"The file {path} cannot be made: {error.strerror}.", param="output") from error


def _wanted(filters: dict[str, str | None]) -> EventFilter:
    action, since, until = filters["action"], filters["since"], filters["until"]
    return EventFilter(
        action=None if action is None else clean_prefix(action, param="action"),
        actor=filters["actor"],
        target=filters["target"],
        since_ms=None if since is None else parse_time(since, time.time()),
        until_ms=None if until is None else parse_time(until, time.time()),
    )


def _body(entry: Entry) -> dict[str, Any]:  # whatever the event says
    try:
        return msgspec.json.decode(entry.body, type=dict[str, Any]) | {"hash": entry.hash.hex()}
    except msgspec.MsgspecError:
        return {"sequence": entry.sequence, "action": entry.action, "unreadable": True, "hash": entry.hash.hex()}


def _listing(found: list[Entry]) -> str:
    rows = []
    for entry in found:
        moment = datetime.fromtimestamp(entry.at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        outcome = _body(entry).get("outcome", "unreadable")
        ids = (_printable(entry.action), outcome, _printable(entry.actor_id), _printable(entry.target_id))
        rows.append((entry.sequence, moment, *ids))
    return table(("event", "time", "action", "outcome", "actor", "target"), rows)


def _printable(text: str | None) -> str | None:
    """Leave nothing that could steer a terminal: those who are refused have a say in it too."""
    return None if text is None else "".join(one if one.isprintable() else "\ufffd" for one in text)


@asynccontextmanager
async def _installed(output: Output) -> AsyncIterator[_Installed]:
    settings = database_settings(output)
    async with existing_database(settings) as database:
        yield _Installed(settings, database)
