"""`/admin/v1/audit`: the organisation's audit log, searched, exported and verified."""

import base64
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from typing import Any, Literal, TypeVar

import msgspec

from mainstay.api.admin.requests import act_of, page_request, query
from mainstay.api.admin.responses import ListOf, show, show_page
from mainstay.api.admin.times import SECONDS_MAX
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.routes import Route
from mainstay.kit.clock import Clock
from mainstay.kit.database import Database
from mainstay.kit.errors import InvalidRequestError, MainstayError
from mainstay.kit.pages import Page, PageRequest
from mainstay.platform.audit.actions import clean_prefix
from mainstay.platform.audit.events import Event
from mainstay.platform.audit.export import Export
from mainstay.platform.audit.reading import EventFilter, find_checkpoints, find_events, get_event
from mainstay.platform.audit.signed_here import SignedHere
from mainstay.platform.audit.signing import Checkpoint, PublicKeys, Signer, write_public_key
from mainstay.platform.audit.stored import verify_stored
from mainstay.platform.audit.verify import Entry, Report
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.acts import Acts

_BASE = "/admin/v1/audit"
_FILTERS = ("action", "actor", "target", "since", "until")
_VERIFIED_AT_ONCE = 20_000
_ID_LENGTH_MAX = 256

T = TypeVar("T")


class WhoActed(msgspec.Struct, frozen=True, kw_only=True):
    """Who did it."""

    id: str
    type: str | None = None
    name: str | None = None
    credential_id: str | None = None


class ActedOn(msgspec.Struct, frozen=True, kw_only=True):
    """What it was done to."""

    id: str
    type: str | None = None
    name: str | None = None


class From(msgspec.Struct, frozen=True, kw_only=True):
    """Where it was asked for."""

    address: str | None = None
    user_agent: str | None = None
    request_id: str | None = None


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event. `created_at` is in seconds; `id` is its place in the organisation's log."""

    id: str
    object: Literal["audit.event"] = "audit.event"
    created_at: int
    action: str
    outcome: str
    actor: WhoActed
    target: ActedOn | None = None
    origin: From = From()
    reason: str | None = None
    changed: dict[str, Any] = {}  # field -> [before, after], whatever they were
    details: dict[str, Any] = {}  # whatever belongs to the action
    hash: str
    previous_hash: str


class AuditCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A signed statement of the log's hash at an event; `id` is that event's."""

    id: str
    object: Literal["audit.checkpoint"] = "audit.checkpoint"
    through_sequence: int
    hash: str
    signed_at: int
    key_id: str
    signature: str


class AuditPublicKey(msgspec.Struct, frozen=True, kw_only=True):
    """The key that checkpoints and exports are signed with; keep it elsewhere, to verify exports with."""

    id: str
    object: Literal["audit.public_key"] = "audit.public_key"
    algorithm: Literal["ed25519"] = "ed25519"
    public_key: str


class AuditVerification(msgspec.Struct, frozen=True, kw_only=True):
    """What verification has found; where there is more, `next_after` is the `after` of the next request."""

    object: Literal["audit.verification"] = "audit.verification"
    report: Report
    next_after: int | None = None


class _Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a body says."""

    outcome: str
    actor: WhoActed
    target: ActedOn | None = None
    origin: From = From()
    reason: str | None = None
    changed: dict[str, Any] = {}
    details: dict[str, Any] = {}


class AuditRoutes:
    """Reading the log; nobody writes or changes it here."""

    def __init__(
        self, database: Database, acts: Acts, signer: Signer, *, signed_here: SignedHere, clock: Clock
    ) -> None:
        self._database = database
        self._acts = acts
        self._signer = signer
        self._signed_here = signed_here
        self._clock = clock
        self._export = Export(database, clock, signer)

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        page = ("limit", "after", "order")
        for path, action, handler, summary, response, asked in (
            (
                "/events",
                Action.READ_AUDIT,
                self._list,
                "What was done, when and by whom.",
                ListOf[AuditEvent],
                page + _FILTERS,
            ),
            ("/events/{event}", Action.READ_AUDIT, self._show, "One event.", AuditEvent, ()),
            (
                "/export",
                Action.EXPORT_AUDIT,
                self._send_export,
                "The log as lines of JSON, signed.",
                None,
                ("after", *_FILTERS),
            ),
            (
                "/checkpoints",
                Action.READ_AUDIT,
                self._list_checkpoints,
                "Signed statements of the log's hash.",
                ListOf[AuditCheckpoint],
                page,
            ),
            (
                "/public_key",
                Action.READ_AUDIT,
                self._show_key,
                "The key that verifies signatures.",
                AuditPublicKey,
                (),
            ),
            (
                "/verification",
                Action.READ_AUDIT,
                self._verify,
                "Verify the log, a part at a time.",
                AuditVerification,
                ("after",),
            ),
        ):
            yield Route(
                method="GET",
                path=_BASE + path,
                action=action,
                dialect=dialect,
                handler=handler,
                summary=summary,
                response=response,
                query=asked,
            )

    async def _list(self, exchange: Exchange) -> None:
        page, asked = page_request(exchange, *_FILTERS)
        found = await find_events(
            self._database,
            exchange.caller.organisation_id,
            _filter(asked, self._clock.wall()),
            after=_position(page.after),
            limit=page.limit + 1,
            is_descending=page.is_descending,
        )
        await show_page(exchange, _cut(found, page), _shown)

    async def _show(self, exchange: Exchange) -> None:
        query(exchange)
        sequence = _position(exchange.parameters["event"], "event") or 0
        await show(exchange, _shown(await get_event(self._database, exchange.caller.organisation_id, sequence)))

    async def _send_export(self, exchange: Exchange) -> None:
        asked = query(exchange, "after", *_FILTERS)
        after = _position(asked.pop("after", None)) or 0
        wanted = _filter(asked, self._clock.wall())
        organisation_id = exchange.caller.organisation_id
        async with aclosing(self._export.lines(organisation_id, wanted, after=after)) as lines:
            piece = await anext(lines)  # the end of the export is known from here on, so it has not itself in it
            await self._record_export(exchange, wanted, after)
            name = f'attachment; filename="audit-{organisation_id}.jsonl"'
            await exchange.start_lines([(b"content-disposition", name.encode()), (b"cache-control", b"no-store")])
            await exchange.send_lines(piece)
            try:
                async for piece in lines:
                    await exchange.send_lines(piece)
            except MainstayError as error:
                await exchange.fail(error)
            else:
                await exchange.end_lines()

    async def _record_export(self, exchange: Exchange, wanted: EventFilter, after: int) -> None:
        details = {"filters": wanted.described(), "after_sequence": after}
        async with self._database.transaction() as transaction:
            await self._acts.record(
                transaction,
                act_of(exchange),
                exchange.caller.organisation_id,
                events=[Event(action="audit.exported", details=details)],
            )

    async def _list_checkpoints(self, exchange: Exchange) -> None:
        page, _ = page_request(exchange)
        found = await find_checkpoints(
            self._database,
            exchange.caller.organisation_id,
            after=_position(page.after),
            limit=page.limit + 1,
            is_descending=page.is_descending,
        )
        await show_page(exchange, _cut(found, page), _shown_checkpoint)

    async def _show_key(self, exchange: Exchange) -> None:
        query(exchange)
        key = AuditPublicKey(id=self._signer.key_id, public_key=write_public_key(self._signer.public_key))
        await show(exchange, key)

    async def _verify(self, exchange: Exchange) -> None:
        after = _position(query(exchange, "after").get("after")) or 0
        organisation_id = exchange.caller.organisation_id
        report = await verify_stored(
            self._database,
            organisation_id,
            PublicKeys([self._signer.public_key]),
            after=after,
            events_max=_VERIFIED_AT_ONCE,
            anchors=self._signed_here.anchors(organisation_id),
        )
        is_cut = report.events >= _VERIFIED_AT_ONCE
        await show(exchange, AuditVerification(report=report, next_after=report.last_sequence if is_cut else None))


def _cut(found: Sequence[T], page: PageRequest) -> Page[T]:
    return Page(list(found[: page.limit]), has_more=len(found) > page.limit)


def _position(text: str | None, param: str = "after") -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidRequestError(f"'{param}' is the id of an audit event, which is a number.", param=param)
    return int(text)


def _filter(asked: dict[str, str], now: float) -> EventFilter:
    for name in ("actor", "target"):
        if name in asked and (len(asked[name]) > _ID_LENGTH_MAX or not asked[name].isprintable()):
            raise InvalidRequestError(f"'{name}' must be an id.", param=name)
    action = asked.get("action")
    return EventFilter(
        action=None if action is None else clean_prefix(action, param="action"),
        actor=asked.get("actor"),
        target=asked.get("target"),
        since_ms=_time(asked, "since", now),
        until_ms=_time(asked, "until", now),
    )


def _time(asked: dict[str, str], name: str, now: float) -> int | None:
    """Return a time that is given in seconds, or as a date or a span such as 7d."""
    text = asked.get(name)
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        if len(text) > 12 or int(text) > SECONDS_MAX:
            raise InvalidRequestError(f"'{name}' is a Unix time in seconds.", param=name)
        return int(text) * 1000
    from mainstay.platform.metering.usage import parse_time

    try:
        return parse_time(text, now)
    except (InvalidRequestError, OverflowError):
        raise InvalidRequestError(
            f"'{name}' is a Unix time in seconds, a span such as 7d, or a date or time such as 2026-11-22.", param=name
        ) from None


def _shown(entry: Entry) -> AuditEvent:
    try:
        said = msgspec.json.decode(entry.body, type=_Said)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # It was changed: verification says so. The columns are what is left to show.
        said = _Said(outcome="unreadable", actor=WhoActed(id=entry.actor_id))
    return AuditEvent(
        id=str(entry.sequence),
        created_at=entry.at_ms // 1000,
        action=entry.action,
        outcome=said.outcome,
        actor=said.actor,
        target=said.target,
        origin=said.origin,
        reason=said.reason,
        changed=said.changed,
        details=said.details,
        hash=entry.hash.hex(),
        previous_hash=entry.previous_hash.hex(),
    )


def _shown_checkpoint(checkpoint: Checkpoint) -> AuditCheckpoint:
    return AuditCheckpoint(
        id=str(checkpoint.through_sequence),
        through_sequence=checkpoint.through_sequence,
        hash=checkpoint.hash.hex(),
        signed_at=checkpoint.signed_at_ms // 1000,
        key_id=checkpoint.key_id,
        signature=base64.b64encode(checkpoint.signature).decode(),
    )
