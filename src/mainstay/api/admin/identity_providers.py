"""`/admin/v1/identity_providers`: with whom an organisation's people sign in."""

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
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.identity_providers import IdentityProviders, NewProvider, ProviderChanges
from mainstay.platform.identity.oidc.check import Finding, check
from mainstay.platform.identity.oidc.discovery import Discovery
from mainstay.platform.identity.oidc.settings import ProviderSettings
from mainstay.platform.identity.provider_ceiling import ProviderCeilings
from mainstay.platform.identity.stored_provider import Ceiling, IdentityProvider

PATH = "/admin/v1/identity_providers"
_ONE = PATH + "/{identity_provider}"


class IdentityProviderBody(Body, frozen=True, kw_only=True):
    """A provider that speaks OpenID Connect: `issuer` as its discovery document says it."""

    name: str
    issuer: str
    client_id: str
    client_secret: str | None = None
    settings: ProviderSettings = ProviderSettings()
    is_enabled: bool = True


class IdentityProviderPatch(Patch, frozen=True, kw_only=True):
    """What shall be otherwise; `settings` are replaced as a whole. The issuer stays."""

    name: str | UnsetType = UNSET
    client_id: str | UnsetType = UNSET
    client_secret: str | UnsetType | None = UNSET
    settings: ProviderSettings | UnsetType = UNSET
    is_enabled: bool | UnsetType = UNSET


class IdentityProviderObject(msgspec.Struct, frozen=True, kw_only=True):
    """A provider. `callback_url` is what to enter there as the only redirect address."""

    id: str
    object: Literal["identity_provider"] = "identity_provider"
    type: Literal["oidc"] = "oidc"
    name: str
    issuer: str
    client_id: str
    has_client_secret: bool
    settings: ProviderSettings
    is_enabled: bool
    links_owners: bool
    """Whether accounts of owners are linked by their mail address: only where an owner has set the provider up."""
    callback_url: str
    created_at: int
    updated_at: int
    version: int


class IdentityProviderReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of trying a provider out."""

    object: Literal["identity_provider.report"] = "identity_provider.report"
    is_ok: bool
    findings: list[Finding]


class IdentityProviderRoutes:
    """Administration of identity providers."""

    def __init__(
        self,
        providers: IdentityProviders,
        ceilings: ProviderCeilings,
        discovery: Discovery,
        idempotency: Idempotency,
        *,
        public_url: str,
    ) -> None:
        self._providers = providers
        self._ceilings = ceilings
        self._discovery = discovery
        self._idempotency = idempotency
        self._public_url = public_url.rstrip("/")

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        yield Route(
            method="GET",
            path=PATH,
            action=Action.READ_IDENTITY_PROVIDERS,
            dialect=dialect,
            handler=self._list,
            summary="The identity providers.",
            response=ListOf[IdentityProviderObject],
            query=("limit", "after", "order"),
        )
        yield Route(
            method="POST",
            path=PATH,
            action=Action.WRITE_IDENTITY_PROVIDERS,
            dialect=dialect,
            handler=self._idempotency.of(self._create),
            summary="Set an identity provider up.",
            request=IdentityProviderBody,
            response=IdentityProviderObject,
            status=201,
        )
        look, change = Action.READ_IDENTITY_PROVIDERS, Action.WRITE_IDENTITY_PROVIDERS
        shown = IdentityProviderObject
        for method, path, action, handler, summary, request, response in (
            ("GET", _ONE, look, self._show, "One identity provider.", None, shown),
            ("PATCH", _ONE, change, self._update, "Change an identity provider.", IdentityProviderPatch, shown),
            ("DELETE", _ONE, change, self._delete, "Remove an identity provider.", None, Deleted),
            ("POST", _ONE + "/test", change, self._test, "Try a provider out.", None, IdentityProviderReport),
        ):
            yield Route(
                method=method,
                path=path,
                action=action,
                dialect=dialect,
                handler=handler,
                summary=summary,
                request=request,
                response=response,
            )

    async def _list(self, exchange: Exchange) -> None:
        page, _ = page_request(exchange)
        await show_page(exchange, await self._providers.list(exchange.caller.organisation_id, page), self._shown)

    async def _create(self, exchange: Exchange) -> None:
        body = await read(exchange, IdentityProviderBody)
        caller = exchange.caller
        await self._ceilings.require_may_set(caller, body.settings)
        provider = await self._providers.create(
            act_of(exchange),
            caller.organisation_id,
            NewProvider(
                name=body.name,
                issuer=body.issuer,
                client_id=body.client_id,
                client_secret=body.client_secret,
                settings=body.settings,
                ceiling=self._ceilings.ceiling_of(caller),
                is_enabled=body.is_enabled,
            ),
        )
        await show(exchange, self._shown(provider), version=provider.version, status=201)

    async def _show(self, exchange: Exchange) -> None:
        query(exchange)
        provider = await self._found(exchange)
        await show(exchange, self._shown(provider), version=provider.version)

    async def _update(self, exchange: Exchange) -> None:
        body = await read(exchange, IdentityProviderPatch)
        before = await self._found(exchange)
        expected = expected_version(exchange)
        ceiling: Ceiling | UnsetType = UNSET
        if body.settings is not UNSET:
            await self._ceilings.require_may_set(exchange.caller, body.settings, before.settings)
            expected = expected or before.version  # what was compared must be what is changed
            mine = self._ceilings.ceiling_of(exchange.caller)
            if mine.is_owner or self._ceilings.says_who_is_who_otherwise(before.settings, body.settings):
                ceiling = mine
        provider = await self._providers.update(
            act_of(exchange),
            exchange.caller.organisation_id,
            before.id,
            ProviderChanges(
                name=body.name,
                client_id=body.client_id,
                client_secret=body.client_secret,
                settings=body.settings,
                ceiling=ceiling,
                is_enabled=body.is_enabled,
            ),
            expected_version=expected,
        )
        await show(exchange, self._shown(provider), version=provider.version)

    async def _delete(self, exchange: Exchange) -> None:
        provider_id = exchange.parameters["identity_provider"]
        await self._providers.delete(
            act_of(exchange),
            exchange.caller.organisation_id,
            provider_id,
            expected_version=expected_version(exchange),
        )
        await show(exchange, Deleted(id=provider_id, object="identity_provider"))

    async def _test(self, exchange: Exchange) -> None:
        findings = list(await check(self._discovery, await self._found(exchange)))
        report = IdentityProviderReport(is_ok=all(one.is_ok for one in findings), findings=findings)
        await show(exchange, report)

    async def _found(self, exchange: Exchange) -> IdentityProvider:
        return await self._providers.get(exchange.caller.organisation_id, exchange.parameters["identity_provider"])

    def _shown(self, provider: IdentityProvider) -> IdentityProviderObject:
        return IdentityProviderObject(
            id=provider.id,
            name=provider.name,
            issuer=provider.issuer,
            client_id=provider.client_id,
            has_client_secret=provider.sealed_secret is not None,
            settings=provider.settings,
            is_enabled=provider.is_enabled,
            links_owners=provider.ceiling.is_owner,
            callback_url=f"{self._public_url}/auth/oidc/{provider.id}/callback",
            created_at=seconds(provider.created_at_ms),
            updated_at=seconds(provider.updated_at_ms),
            version=provider.version,
        )
