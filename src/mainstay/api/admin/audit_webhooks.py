"""`/admin/v1/audit/webhooks`: where audit events are sent."""

from collections.abc import Iterator
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.admin.requests import Body, Patch, act_of, expected_version, page_request, query, read
from mainstay.api.admin.responses import Deleted, ListOf, show, show_page
from mainstay.api.admin.times import seconds
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.routes import Route
from mainstay.platform.audit.deliveries import Deliveries
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.audit_webhooks import NewWebhook, Webhook, WebhookChanges, Webhooks
from mainstay.platform.identity.names import clean_id

_PATH = "/admin/v1/audit/webhooks"
_ONE = _PATH + "/{webhook}"


class WebhookBody(Body, frozen=True, kw_only=True):
    """A new webhook. `actions` are such as `user.created`, or `user` for all of them; null is everything.

    It gets what happens from now on, or after the event `after_sequence`.
    """

    name: str
    url: str
    actions: list[str] | None = None
    after_sequence: int | None = None


class WebhookPatch(Patch, frozen=True, kw_only=True):
    """What of a webhook shall be otherwise. One that is enabled again gets what it has missed."""

    name: str | UnsetType = UNSET
    url: str | UnsetType = UNSET
    actions: list[str] | UnsetType | None = UNSET
    is_enabled: bool | UnsetType = UNSET


class AuditWebhook(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook. `failures` are those in a row; `next_attempt_at` is when it is tried again."""

    id: str
    object: Literal["audit.webhook"] = "audit.webhook"
    name: str
    url: str
    actions: tuple[str, ...] | None
    is_enabled: bool
    delivered_through: int
    failures: int
    last_failure: str | None
    next_attempt_at: int | None
    created_at: int
    version: int
    secret: str | None = None
    """With which messages are signed, as Standard Webhooks says: shown when it is made, this once."""


class WebhookTest(msgspec.Struct, frozen=True, kw_only=True):
    """How a message that is only a test was received."""

    object: Literal["audit.webhook.test"] = "audit.webhook.test"
    is_delivered: bool
    status: int | None
    failure: str | None


class AuditWebhookRoutes:
    """Administration of webhooks."""

    def __init__(self, webhooks: Webhooks, deliveries: Deliveries, idempotency: Idempotency) -> None:
        self._webhooks = webhooks
        self._deliveries = deliveries
        self._idempotency = idempotency

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        of = self._idempotency.of
        yield Route(
            method="GET",
            path=_PATH,
            action=Action.CONFIGURE_AUDIT,
            dialect=dialect,
            handler=self._list,
            summary="Where audit events are sent.",
            response=ListOf[AuditWebhook],
            query=("limit", "after", "order"),
        )
        yield Route(
            method="POST",
            path=_PATH,
            action=Action.CONFIGURE_AUDIT,
            dialect=dialect,
            handler=of(self._create),
            summary="Send audit events somewhere.",
            request=WebhookBody,
            response=AuditWebhook,
            status=201,
        )
        for method, path, handler, summary, request, response in (
            ("GET", _ONE, self._show, "One webhook.", None, AuditWebhook),
            ("PATCH", _ONE, self._update, "Change a webhook.", WebhookPatch, AuditWebhook),
            ("DELETE", _ONE, self._delete, "Delete a webhook.", None, Deleted),
            ("POST", _ONE + "/test", self._test, "Send a message that is only a test.", None, WebhookTest),
            ("POST", _ONE + "/secret", of(self._renew_secret), "Give it another secret.", None, AuditWebhook),
        ):
            yield Route(
                method=method,
                path=path,
                action=Action.CONFIGURE_AUDIT,
                dialect=dialect,
                handler=handler,
                summary=summary,
                request=request,
                response=response,
            )

    async def _list(self, exchange: Exchange) -> None:
        page, _ = page_request(exchange)
        await show_page(exchange, await self._webhooks.list(exchange.caller.organisation_id, page), _shown)

    async def _create(self, exchange: Exchange) -> None:
        body = await read(exchange, WebhookBody)
        wanted = NewWebhook(name=body.name, url=body.url, actions=body.actions, after_sequence=body.after_sequence)
        webhook, secret = await self._webhooks.create(act_of(exchange), exchange.caller.organisation_id, wanted)
        await show(exchange, _shown(webhook, secret), version=webhook.version, status=201)

    async def _show(self, exchange: Exchange) -> None:
        query(exchange)
        webhook = await self._webhooks.get(exchange.caller.organisation_id, _named(exchange))
        await show(exchange, _shown(webhook), version=webhook.version)

    async def _update(self, exchange: Exchange) -> None:
        body = await read(exchange, WebhookPatch)
        webhook = await self._webhooks.update(
            act_of(exchange),
            exchange.caller.organisation_id,
            _named(exchange),
            WebhookChanges(name=body.name, url=body.url, actions=body.actions, is_enabled=body.is_enabled),
            expected_version=expected_version(exchange),
        )
        await show(exchange, _shown(webhook), version=webhook.version)

    async def _delete(self, exchange: Exchange) -> None:
        webhook_id = _named(exchange)
        await self._webhooks.delete(
            act_of(exchange), exchange.caller.organisation_id, webhook_id, expected_version=expected_version(exchange)
        )
        await show(exchange, Deleted(id=webhook_id, object="audit.webhook"))

    async def _test(self, exchange: Exchange) -> None:
        query(exchange)
        sent = await self._deliveries.test(exchange.caller.organisation_id, _named(exchange))
        await show(exchange, WebhookTest(is_delivered=sent.is_delivered, status=sent.status, failure=sent.failure))

    async def _renew_secret(self, exchange: Exchange) -> None:
        query(exchange)
        webhook, secret = await self._webhooks.renew_secret(
            act_of(exchange), exchange.caller.organisation_id, _named(exchange)
        )
        await show(exchange, _shown(webhook, secret), version=webhook.version)


def _named(exchange: Exchange) -> str:
    """Return the id that the address names."""
    return clean_id(exchange.parameters["webhook"])


def _shown(webhook: Webhook, secret: str | None = None) -> AuditWebhook:
    return AuditWebhook(
        id=webhook.id,
        name=webhook.name,
        url=webhook.url,
        actions=webhook.actions,
        is_enabled=webhook.is_enabled,
        delivered_through=webhook.delivered_through,
        failures=webhook.failures,
        last_failure=webhook.last_failure,
        next_attempt_at=seconds(webhook.next_attempt_at_ms),
        created_at=seconds(webhook.created_at_ms),
        version=webhook.version,
        secret=secret,
    )
