"""Webhooks that an organisation's audit events are sent to; `audit/deliveries.py` sends them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from msgspec import UNSET, UnsetType

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Row, Transaction, Value
from mainstay.kit.errors import ConflictError, InvalidRequestError, NotFoundError
from mainstay.kit.http.url import Url
from mainstay.kit.ids import new_sortable_id
from mainstay.kit.pages import Page, PageRequest
from mainstay.kit.sealing import SealedColumn, Sealer
from mainstay.platform.audit.actions import clean_prefix
from mainstay.platform.audit.events import Act, Event, Target
from mainstay.platform.audit.standard_webhooks import new_secret
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.change_feed import ChangeKind
from mainstay.platform.identity.names import clean_name
from mainstay.platform.identity.principals import require_version

SEALED = SealedColumn("audit_webhooks", "secret", ("id",), "audit_webhooks.secret/{id}")
WEBHOOKS_MAX = 20
ACTIONS_MAX = 100
_COLUMNS = (
    "id, organisation_id, name, url, actions, is_enabled, delivered_through, failures, last_failure, "
    "next_attempt_at_ms, created_at_ms, version"
)
_SELECT = f"SELECT {_COLUMNS} FROM audit_webhooks WHERE organisation_id = :organisation_id"  # noqa: S608 - constants only
_INSERT = (
    "INSERT INTO audit_webhooks (id, organisation_id, name, url, secret, actions, is_enabled, delivered_through, "
    "failures, created_at_ms, version) VALUES (:id, :organisation_id, :name, :url, :secret, :actions, :is_enabled, "
    ":delivered_through, 0, :created_at_ms, 1)"
)
_UPDATE = (
    "UPDATE audit_webhooks SET name = :name, url = :url, actions = :actions, is_enabled = :is_enabled, "
    "version = version + 1 WHERE organisation_id = :organisation_id AND id = :id"
)
# What was tried so far says nothing about the new address, or about what was mended.
_BEGIN_AGAIN = (
    "UPDATE audit_webhooks SET failures = 0, next_attempt_at_ms = NULL "
    "WHERE organisation_id = :organisation_id AND id = :id"
)


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook, without its secret. Times are Unix milliseconds."""

    id: str
    organisation_id: str
    name: str
    url: str
    actions: tuple[str, ...] | None
    """What is sent: these actions, or all of a noun; None is everything."""
    is_enabled: bool
    delivered_through: int
    """All events up to this one were delivered."""
    failures: int
    """Attempts in a row that failed."""
    last_failure: str | None
    next_attempt_at_ms: int | None
    created_at_ms: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWebhook:
    """What a webhook shall be; it gets the events after `after_sequence`, or those from now on."""

    name: str
    url: str
    actions: Sequence[str] | None = None
    after_sequence: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookChanges:
    """What of a webhook shall be otherwise; UNSET stays as it is."""

    name: str | UnsetType = UNSET
    url: str | UnsetType = UNSET
    actions: Sequence[str] | UnsetType | None = UNSET
    is_enabled: bool | UnsetType = UNSET


class Webhooks:
    """Keeps webhooks."""

    def __init__(self, database: Database, acts: Acts, sealer: Sealer, clock: Clock) -> None:
        self._database = database
        self._acts = acts
        self._sealer = sealer
        self._clock = clock

    async def create(self, act: Act, organisation_id: str, wanted: NewWebhook) -> tuple[Webhook, str]:
        """Make a webhook; return it and the secret that signs its messages, which is not shown again.

        Raises InvalidRequestError, or ConflictError when there are too many.
        """
        id_, secret = new_sortable_id("hook_"), new_secret()
        actions = _clean_actions(wanted.actions)
        row: dict[str, Value] = {
            "id": id_,
            "organisation_id": organisation_id,
            "name": clean_name(wanted.name, "A webhook"),
            "url": str(Url.parse(wanted.url)),
            "secret": await self._seal(organisation_id, id_, secret),
            "actions": _encoded(actions),
            "is_enabled": True,
            "created_at_ms": int(self._clock.wall() * 1000),
        }
        async with self._database.transaction() as transaction:
            await _refuse_too_many(transaction, organisation_id)
            row["delivered_through"] = await _first_position(transaction, organisation_id, wanted.after_sequence)
            await transaction.execute(_INSERT, row)
            webhook = await self._find(transaction, organisation_id, id_)
            said: dict[str, list[object]] = {
                "name": [None, webhook.name],
                "url": [None, _origin(webhook)],
                "actions": [None, webhook.actions],
            }
            await self._record(transaction, act, webhook, "webhook.created", changed=said)
        return webhook, secret

    async def get(self, organisation_id: str, webhook_id: str) -> Webhook:
        """Return a webhook. Raises NotFoundError."""
        rows = await self._database.fetch(
            _SELECT + " AND id = :id", {"organisation_id": organisation_id, "id": webhook_id}
        )
        return _one(rows, webhook_id)

    async def list(self, organisation_id: str, page: PageRequest) -> Page[Webhook]:
        """Return a page of the organisation's webhooks."""
        rows = await self._database.fetch(
            _SELECT + page.clause(), {**page.values(), "organisation_id": organisation_id}
        )
        return page.cut(rows, _webhook)

    async def update(
        self,
        act: Act,
        organisation_id: str,
        webhook_id: str,
        wanted: WebhookChanges,
        *,
        expected_version: int | None = None,
    ) -> Webhook:
        """Change a webhook. Whether it is tried again at once is begun anew with another address, or when enabled.

        Raises NotFoundError, VersionMismatchError and InvalidRequestError.
        """
        async with self._database.transaction() as transaction:
            before = await self._find(transaction, organisation_id, webhook_id)
            require_version(before.version, expected_version, f"The webhook '{webhook_id}'")
            after = _changed(before, wanted)
            changed = {
                field: [getattr(before, field), getattr(after, field)]
                for field in ("name", "url", "actions", "is_enabled")
                if getattr(before, field) != getattr(after, field)
            }
            if not changed:
                return before
            values: dict[str, Value] = {
                "id": webhook_id,
                "organisation_id": organisation_id,
                "name": after.name,
                "url": after.url,
                "actions": _encoded(after.actions),
                "is_enabled": after.is_enabled,
            }
            await transaction.execute(_UPDATE, values)
            if "url" in changed or "is_enabled" in changed:
                await transaction.execute(_BEGIN_AGAIN, values)
            webhook = await self._find(transaction, organisation_id, webhook_id)
            if "url" in changed:
                changed["url"] = [_origin(before), _origin(webhook)]
            await self._record(transaction, act, webhook, "webhook.updated", changed=changed)
        return webhook

    async def renew_secret(self, act: Act, organisation_id: str, webhook_id: str) -> tuple[Webhook, str]:
        """Give a webhook another secret and return it, this once. Raises NotFoundError."""
        secret = new_secret()
        sealed = await self._seal(organisation_id, webhook_id, secret)
        async with self._database.transaction() as transaction:
            await self._find(transaction, organisation_id, webhook_id)
            await transaction.execute(
                "UPDATE audit_webhooks SET secret = :secret, version = version + 1 "
                "WHERE organisation_id = :organisation_id AND id = :id",
                {"secret": sealed, "organisation_id": organisation_id, "id": webhook_id},
            )
            webhook = await self._find(transaction, organisation_id, webhook_id)
            await self._record(
                transaction, act, webhook, "webhook.secret_renewed", changed={"secret": ["changed", "changed"]}
            )
        return webhook, secret

    async def delete(
        self, act: Act, organisation_id: str, webhook_id: str, *, expected_version: int | None = None
    ) -> None:
        """Delete a webhook. Raises NotFoundError and VersionMismatchError."""
        async with self._database.transaction() as transaction:
            webhook = await self._find(transaction, organisation_id, webhook_id)
            require_version(webhook.version, expected_version, f"The webhook '{webhook_id}'")
            await transaction.execute(
                "DELETE FROM audit_webhooks WHERE organisation_id = :organisation_id AND id = :id",
                {"organisation_id": organisation_id, "id": webhook_id},
            )
            await self._record(transaction, act, webhook, "webhook.deleted", changed={"url": [_origin(webhook), None]})

    async def _find(self, transaction: Transaction, organisation_id: str, webhook_id: str) -> Webhook:
        rows = await transaction.fetch(
            _SELECT + " AND id = :id", {"organisation_id": organisation_id, "id": webhook_id}
        )
        return _one(rows, webhook_id)

    async def _seal(self, organisation_id: str, webhook_id: str, secret: str) -> bytes:
        return await self._sealer.seal(organisation_id, secret.encode(), purpose=SEALED.purpose.format(id=webhook_id))

    async def _record(
        self,
        transaction: Transaction,
        act: Act,
        webhook: Webhook,
        action: str,
        *,
        changed: Mapping[str, Sequence[object]],
    ) -> None:
        target = Target(type="webhook", id=webhook.id, name=webhook.name)
        await self._acts.record(
            transaction,
            act,
            webhook.organisation_id,
            events=[Event(action=action, target=target, changed=dict(changed))],
            changes=[(ChangeKind.WEBHOOK, webhook.id)],
        )


async def _refuse_too_many(transaction: Transaction, organisation_id: str) -> None:
    ((count,),) = await transaction.fetch(
        "SELECT COUNT(*) FROM audit_webhooks WHERE organisation_id = :organisation_id",
        {"organisation_id": organisation_id},
    )
    if count >= WEBHOOKS_MAX:
        raise ConflictError(f"The organisation has {count} webhooks, which is the limit; delete one first.")


async def _first_position(transaction: Transaction, organisation_id: str, after: int | None) -> int:
    rows = await transaction.fetch(
        "SELECT sequence FROM audit_heads WHERE organisation_id = :organisation_id",
        {"organisation_id": organisation_id},
    )
    newest = int(rows[0][0]) if rows else 0
    if after is None:
        return newest
    if not 0 <= after <= newest:
        raise InvalidRequestError(
            f"'after_sequence' must be from 0, for everything, to {newest}, the newest event.", param="after_sequence"
        )
    return after


def _changed(before: Webhook, wanted: WebhookChanges) -> Webhook:
    actions = before.actions if isinstance(wanted.actions, UnsetType) else _clean_actions(wanted.actions)
    return msgspec.structs.replace(
        before,
        name=before.name if isinstance(wanted.name, UnsetType) else clean_name(wanted.name, "A webhook"),
        url=before.url if isinstance(wanted.url, UnsetType) else str(Url.parse(wanted.url)),
        actions=actions,
        is_enabled=before.is_enabled if isinstance(wanted.is_enabled, UnsetType) else wanted.is_enabled,
    )


def _origin(webhook: Webhook) -> str:
    """Where it leads, without the path, which may be a secret between the two sides."""
    return str(Url.parse(webhook.url).origin)


def _clean_actions(actions: Sequence[str] | None) -> tuple[str, ...] | None:
    if actions is None:
        return None
    if not 1 <= len(actions) <= ACTIONS_MAX:
        raise InvalidRequestError(f"'actions' takes 1 to {ACTIONS_MAX} names, or null for all.", param="actions")
    return tuple(dict.fromkeys(clean_prefix(action, param="actions") for action in actions))


def _encoded(actions: Sequence[str] | None) -> str | None:
    return None if actions is None else msgspec.json.encode(actions).decode()


def _one(rows: Sequence[Row], webhook_id: str) -> Webhook:
    if not rows:
        raise NotFoundError(f"There is no webhook '{webhook_id[:100]}'; the list of webhooks has their ids.")
    return _webhook(rows[0])


def _webhook(row: Row) -> Webhook:
    id_, organisation_id, name, url, actions, is_enabled, delivered_through, failures, *rest = row
    last_failure, next_attempt_at_ms, created_at_ms, version = rest
    return Webhook(
        id=id_,
        organisation_id=organisation_id,
        name=name,
        url=url,
        actions=None if actions is None else tuple(msgspec.json.decode(actions, type=list[str])),
        is_enabled=bool(is_enabled),
        delivered_through=delivered_through,
        failures=failures,
        last_failure=last_failure,
        next_attempt_at_ms=next_attempt_at_ms,
        created_at_ms=created_at_ms,
        version=version,
    )
