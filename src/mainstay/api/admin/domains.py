"""`/admin/v1/domains`: mail domains, proved by a record in the DNS or attested by the server's operator."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.admin.requests import Body, act_of, expected_version, page_request, query, read
from mainstay.api.admin.responses import Deleted, ListOf, show, show_page
from mainstay.api.admin.times import seconds
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.routes import Route
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.domains import Domain, Domains

_PATH = "/admin/v1/domains"
_ONE = _PATH + "/{domain}"


class DomainBody(Body, frozen=True, kw_only=True):
    """A domain such as example.com."""

    name: str


class DomainRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The record that proves a domain."""

    type: Literal["TXT"] = "TXT"
    name: str
    value: str


class DomainObject(msgspec.Struct, frozen=True, kw_only=True):
    """A domain; add `record` to its DNS, then verify it."""

    id: str
    object: Literal["domain"] = "domain"
    name: str
    is_verified: bool
    record: DomainRecord
    verified_at: int | None
    created_at: int
    version: int


class DomainRoutes:
    """Administration of domains."""

    def __init__(self, domains: Domains, idempotency: Idempotency) -> None:
        self._domains = domains
        self._idempotency = idempotency

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        yield Route(
            method="GET",
            path=_PATH,
            action=Action.READ_IDENTITY_PROVIDERS,
            dialect=dialect,
            handler=self._list,
            summary="The mail domains.",
            response=ListOf[DomainObject],
            query=("limit", "after", "order"),
        )
        yield Route(
            method="POST",
            path=_PATH,
            action=Action.WRITE_IDENTITY_PROVIDERS,
            dialect=dialect,
            handler=self._idempotency.of(self._create),
            summary="Enter a mail domain, to be verified.",
            request=DomainBody,
            response=DomainObject,
            status=201,
        )
        look, change = Action.READ_IDENTITY_PROVIDERS, Action.WRITE_IDENTITY_PROVIDERS
        operator = Action.CREATE_ORGANISATIONS
        for method, path, action, handler, summary, response in (
            ("GET", _ONE, look, self._show, "One mail domain.", DomainObject),
            ("DELETE", _ONE, change, self._delete, "Give a mail domain up.", Deleted),
            ("POST", _ONE + "/verify", change, self._verify, "Look for the record in the DNS.", DomainObject),
            ("POST", _ONE + "/attest", operator, self._attest, "Verify a domain on the operator's word.", DomainObject),
        ):
            yield Route(
                method=method,
                path=path,
                action=action,
                dialect=dialect,
                handler=handler,
                summary=summary,
                response=response,
            )

    async def _list(self, exchange: Exchange) -> None:
        page, _ = page_request(exchange)
        await show_page(exchange, await self._domains.list(exchange.caller.organisation_id, page), _shown)

    async def _create(self, exchange: Exchange) -> None:
        body = await read(exchange, DomainBody)
        domain = await self._domains.create(act_of(exchange), exchange.caller.organisation_id, body.name)
        await show(exchange, _shown(domain), version=domain.version, status=201)

    async def _show(self, exchange: Exchange) -> None:
        query(exchange)
        domain = await self._domains.get(exchange.caller.organisation_id, exchange.parameters["domain"])
        await show(exchange, _shown(domain), version=domain.version)

    async def _delete(self, exchange: Exchange) -> None:
        domain_id = exchange.parameters["domain"]
        await self._domains.delete(
            act_of(exchange),
            exchange.caller.organisation_id,
            domain_id,
            expected_version=expected_version(exchange),
        )
        await show(exchange, Deleted(id=domain_id, object="domain"))

    async def _verify(self, exchange: Exchange) -> None:
        domain = await self._domains.verify(
            act_of(exchange), exchange.caller.organisation_id, exchange.parameters["domain"]
        )
        await show(exchange, _shown(domain), version=domain.version)

    async def _attest(self, exchange: Exchange) -> None:
        domain = await self._domains.attest(
            act_of(exchange), exchange.caller.organisation_id, exchange.parameters["domain"]
        )
        await show(exchange, _shown(domain), version=domain.version)


def _shown(domain: Domain) -> DomainObject:
    return DomainObject(
        id=domain.id,
        name=domain.name,
        is_verified=domain.verified_at_ms is not None,
        record=DomainRecord(name=domain.record_name, value=domain.record_text),
        verified_at=seconds(domain.verified_at_ms),
        created_at=seconds(domain.created_at_ms),
        version=domain.version,
    )
