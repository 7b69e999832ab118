"""Sending audit events to webhooks: each at least once, in their order, by one worker at a time.

A webhook has a cursor; it moves when the receiver has answered 2xx. What fails is tried again, later each time, and
after many failures the webhook is disabled, which is an audit event of its own. Once it is enabled again, it gets what
it has missed.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus

import msgspec

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, DatabaseError, Row, Value
from mainstay.kit.errors import MainstayError, NotFoundError
from mainstay.kit.http.outbound import Outbound
from mainstay.kit.ids import new_id
from mainstay.kit.sealing import Sealer
from mainstay.platform.audit.actions import matches
from mainstay.platform.audit.events import SYSTEM, Event, Outcome, Target
from mainstay.platform.audit.export import EventLine, event_line
from mainstay.platform.audit.ledger import Ledger
from mainstay.platform.audit.reading import find_events
from mainstay.platform.audit.standard_webhooks import signed_headers
from mainstay.platform.audit.verify import Entry

BATCH_EVENTS = 100
PAUSES_SECONDS = (5, 30, 120, 600, 1800, 3600, 7200, 14_400, 28_800, 43_200, 43_200)
"""Before the second attempt and those that follow; after as many failures and one more it is given up."""
TIMEOUT_SECONDS = 10.0
AT_ONCE = 8
_ANSWER_BYTES_MAX = 65_536
_TOLD_CHARACTERS = 300
_COLUMNS = "w.id, w.organisation_id, w.name, w.url, w.secret, w.actions, w.delivered_through, w.failures"
_DUE = (
    f"SELECT {_COLUMNS} FROM audit_webhooks w JOIN audit_heads h ON h.organisation_id = w.organisation_id "  # noqa: S608 - constants only
    "WHERE w.is_enabled AND w.delivered_through < h.sequence "
    "AND (w.next_attempt_at_ms IS NULL OR w.next_attempt_at_ms <= :now_ms) ORDER BY w.id"
)
_ONE = f"SELECT {_COLUMNS} FROM audit_webhooks w WHERE w.organisation_id = :organisation_id AND w.id = :id"  # noqa: S608 - constants only
# Only from where it was: another worker may have delivered, or an administrator changed it.
_ADVANCE = (
    "UPDATE audit_webhooks SET delivered_through = :through, failures = 0, last_failure = NULL, "
    "next_attempt_at_ms = NULL WHERE id = :id AND delivered_through = :was"
)
_POSTPONE = (
    "UPDATE audit_webhooks SET failures = :failures, last_failure = :last_failure, next_attempt_at_ms = :next_ms "
    "WHERE id = :id AND delivered_through = :was AND is_enabled"
)
_DISABLE = (
    "UPDATE audit_webhooks SET is_enabled = FALSE, failures = :failures, last_failure = :last_failure, "
    "next_attempt_at_ms = NULL, version = version + 1 WHERE id = :id AND delivered_through = :was AND is_enabled"
)

_LOG = logging.getLogger(__name__)
_ENCODER = msgspec.json.Encoder()


class Hook(msgspec.Struct, frozen=True):
    """A webhook as it is needed to send to it."""

    id: str
    organisation_id: str
    name: str
    url: str
    secret: bytes
    actions: tuple[str, ...] | None
    delivered_through: int
    failures: int


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended."""

    is_delivered: bool
    status: int | None = None
    """Of the answer, if there was one."""
    failure: str | None = None
    retry_after_seconds: int | None = None


class _Events(msgspec.Struct, frozen=True, kw_only=True):
    organisation_id: str
    events: list[EventLine]


class _Message(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    timestamp: str
    data: _Events


class Deliveries:
    """Sends what is due."""

    def __init__(self, database: Database, ledger: Ledger, sealer: Sealer, outbound: Outbound, *, clock: Clock) -> None:
        self._database = database
        self._ledger = ledger
        self._sealer = sealer
        self._outbound = outbound
        self._clock = clock
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._busy: set[str] = set()

    async def deliver_due(self) -> None:
        """Send all that is due now, and wait for its end. Raises DatabaseError."""
        async with asyncio.TaskGroup() as tasks:
            await self.start_due(tasks)

    async def start_due(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to send what is due and is not being sent already. Raises DatabaseError."""
        for row in await self._database.fetch(_DUE, {"now_ms": self._now_ms()}):
            hook = _hook(row)
            if hook.id not in self._busy:
                self._busy.add(hook.id)
                tasks.create_task(self._work(hook), name=f"audit webhook {hook.id}")

    async def test(self, organisation_id: str, webhook_id: str) -> Sent:
        """Send a message that says only that it is a test. Raises NotFoundError."""
        rows = await self._database.fetch(_ONE, {"organisation_id": organisation_id, "id": webhook_id})
        if not rows:
            raise NotFoundError(f"There is no webhook '{webhook_id[:100]}'; the list of webhooks has their ids.")
        return await self._send(_hook(rows[0]), "audit.test", [], new_id("msg_"))

    async def _work(self, hook: Hook) -> None:
        try:
            async with self._slots:
                while (advanced := await self._deliver(hook)) is not None:
                    hook = advanced
        except DatabaseError as error:
            _LOG.warning("audit: webhook %s waits for the database: %s", hook.id, error.message)
        finally:
            self._busy.discard(hook.id)

    async def _deliver(self, hook: Hook) -> Hook | None:
        """Send the next batch; return the webhook as it is then, or None when there is nothing more to do now."""
        after = hook.delivered_through
        batch = await find_events(self._database, hook.organisation_id, after=after, limit=BATCH_EVENTS)
        if not batch:
            return None
        wanted = [entry for entry in batch if matches(entry.action, hook.actions)]
        if wanted:
            message_id = f"{hook.id}_{wanted[0].sequence}_{wanted[-1].sequence}"
            sent = await self._send(hook, "audit.events", wanted, message_id)
            if not sent.is_delivered:
                await self._failed(hook, sent)
                return None
        through = batch[-1].sequence
        async with self._database.transaction() as transaction:
            moved = await transaction.execute(_ADVANCE, {"id": hook.id, "through": through, "was": after})
        return msgspec.structs.replace(hook, delivered_through=through, failures=0) if moved else None

    async def _send(self, hook: Hook, kind: str, entries: Sequence[Entry], message_id: str) -> Sent:
        now = self._clock.wall()
        data = _Events(organisation_id=hook.organisation_id, events=[event_line(entry) for entry in entries])
        timestamp = datetime.fromtimestamp(int(now), UTC).isoformat().replace("+00:00", "Z")
        body = _ENCODER.encode(_Message(type=kind, timestamp=timestamp, data=data))
        try:
            purpose = f"audit_webhooks.secret/{hook.id}"
            secret = await self._sealer.open(hook.organisation_id, hook.secret, purpose=purpose)
            answer = await self._outbound.fetch(
                "POST",
                hook.url,
                headers=signed_headers(secret.decode(), body, message_id=message_id, at_seconds=int(now)),
                body=body,
                timeout_seconds=TIMEOUT_SECONDS,
                max_bytes=_ANSWER_BYTES_MAX,
            )
        except DatabaseError:
            raise
        except MainstayError as error:
            return Sent(is_delivered=False, failure=_printable(error.message))
        if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return Sent(is_delivered=True, status=answer.status)
        return Sent(
            is_delivered=False,
            status=answer.status,
            failure=f"The receiver answered with status {answer.status}.",
            retry_after_seconds=_seconds(answer.header("retry-after")),
        )

    async def _failed(self, hook: Hook, sent: Sent) -> None:
        failures = hook.failures + 1
        values: dict[str, Value] = {
            "id": hook.id,
            "was": hook.delivered_through,
            "failures": failures,
            "last_failure": sent.failure,
        }
        if failures <= len(PAUSES_SECONDS) and sent.status != HTTPStatus.GONE:
            pause = max(PAUSES_SECONDS[failures - 1], sent.retry_after_seconds or 0)
            async with self._database.transaction() as transaction:
                await transaction.execute(_POSTPONE, {**values, "next_ms": self._now_ms() + pause * 1000})
            return
        event = Event(
            action="webhook.disabled",
            target=Target(type="webhook", id=hook.id, name=hook.name),
            outcome=Outcome.FAILURE,
            details={"failures": failures, "last_failure": sent.failure, "delivered_through": hook.delivered_through},
        )
        async with self._database.transaction() as transaction:
            if await transaction.execute(_DISABLE, values):
                await self._ledger.append(transaction, SYSTEM, hook.organisation_id, [event])
        _LOG.warning("audit: webhook %s is disabled after %d failures: %s", hook.id, failures, sent.failure)

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)


def _hook(row: Row) -> Hook:
    id_, organisation_id, name, url, secret, actions, delivered_through, failures = row
    prefixes = None if actions is None else tuple(msgspec.json.decode(actions, type=list[str]))
    return Hook(id_, organisation_id, name, url, bytes(secret), prefixes, delivered_through, failures)


def _seconds(text: str | None) -> int | None:
    """Return a Retry-After, up to an hour; a date is not looked at."""
    return min(int(text), 3600) if text is not None and text.isascii() and text.isdigit() and len(text) < 9 else None


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else " " for one in text)[:_TOLD_CHARACTERS]
