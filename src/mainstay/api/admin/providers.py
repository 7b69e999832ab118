"""`/admin/v1/providers`: vendors' accounts of an organisation. Credentials go in and never come out."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from mainstay.api.admin.declared import declared_id, declared_name, merged, refuse_change
from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.admin.requests import act_of, expected_version, page_request, query, read
from mainstay.api.admin.responses import Deleted, ListOf, show, show_page
from mainstay.api.admin.times import seconds
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.routes import Route
from mainstay.kit.http import Outbound
from mainstay.kit.pages import Page
from mainstay.platform.gateway.probe import Probe, probe
from mainstay.platform.gateway.provider import Provider
from mainstay.platform.gateway.router import Router
from mainstay.platform.gateway.stored.providers import Providers, no_provider
from mainstay.platform.gateway.stored.records import NewProvider, ProviderChanges, ProviderTimeouts, StoredProvider
from mainstay.platform.gateway.stored.view import callable_provider, open_guarded_pool
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.organisations import DEFAULT_ORGANISATION_ID

_PATH = "/admin/v1/providers"
_ONE = _PATH + "/{provider}"


class ProviderObject(msgspec.Struct, frozen=True, kw_only=True):
    """A provider. `source` is `file` for what mainstay.toml declares, which is changed there alone."""

    id: str
    object: Literal["provider"] = "provider"
    name: str
    kind: str
    base_url: str
    api_version: str | None
    has_api_key: bool
    api_key_hint: str | None
    headers: tuple[str, ...]
    """Their names; the values may be secret."""
    timeouts: ProviderTimeouts
    max_connections: int
    is_enabled: bool
    source: Literal["api", "file"]
    created_at: int | None = None
    updated_at: int | None = None
    version: int | None = None


class ProviderTest(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider answered to the question for its models, which costs nothing."""

    id: str
    object: Literal["provider.test"] = "provider.test"
    is_ok: bool
    status: int | None
    models: int | None
    failure: str | None
    error: str | None
    duration_ms: int


class ProviderRoutes:
    """Administration of providers."""

    def __init__(self, providers: Providers, router: Router, outbound: Outbound, idempotency: Idempotency) -> None:
        self._providers = providers
        self._router = router
        self._outbound = outbound
        self._idempotency = idempotency

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        yield Route(
            method="GET",
            path=_PATH,
            action=Action.READ_PROVIDERS,
            dialect=dialect,
            handler=self._list,
            summary="The providers, those of mainstay.toml included.",
            response=ListOf[ProviderObject],
            query=("limit", "after", "order", "name"),
        )
        yield Route(
            method="POST",
            path=_PATH,
            action=Action.WRITE_PROVIDERS,
            dialect=dialect,
            handler=self._idempotency.of(self._create),
            summary="Make a provider; its credentials are never shown again.",
            request=NewProvider,
            response=ProviderObject,
            status=201,
        )
        for method, path, action, handler, summary, request, response in (
            ("GET", _ONE, Action.READ_PROVIDERS, self._show, "One provider.", None, ProviderObject),
            (
                "PATCH",
                _ONE,
                Action.WRITE_PROVIDERS,
                self._update,
                "Change a provider.",
                ProviderChanges,
                ProviderObject,
            ),
            ("DELETE", _ONE, Action.WRITE_PROVIDERS, self._delete, "Delete an unused provider.", None, Deleted),
            (
                "POST",
                _ONE + "/test",
                Action.WRITE_PROVIDERS,
                self._test,
                "Ask a provider for its models, to see whether it answers.",
                None,
                ProviderTest,
            ),
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
        page, filters = page_request(exchange, "name")
        name = filters.get("name")
        organisation_id = exchange.caller.organisation_id
        found = await self._providers.list(organisation_id, page, name=name)
        stored = Page([_shown(one) for one in found.items], found.has_more)
        declared = [_declared(one) for one in self._declared(organisation_id) if name in (None, one.name)]
        await show_page(exchange, merged(page, stored, declared), lambda one: one)

    async def _create(self, exchange: Exchange) -> None:
        wanted = await read(exchange, NewProvider)
        provider = await self._providers.create(act_of(exchange), exchange.caller.organisation_id, wanted)
        await show(exchange, _shown(provider), version=provider.version, status=201)

    async def _show(self, exchange: Exchange) -> None:
        query(exchange)
        declared = self._declared_one(exchange)
        if declared is not None:
            await show(exchange, _declared(declared))
            return
        provider = await self._providers.get(exchange.caller.organisation_id, exchange.parameters["provider"])
        await show(exchange, _shown(provider), version=provider.version)

    async def _update(self, exchange: Exchange) -> None:
        self._refuse_declared(exchange)
        changes = await read(exchange, ProviderChanges)
        provider = await self._providers.update(
            act_of(exchange),
            exchange.caller.organisation_id,
            exchange.parameters["provider"],
            changes,
            expected_version=expected_version(exchange),
        )
        await show(exchange, _shown(provider), version=provider.version)

    async def _delete(self, exchange: Exchange) -> None:
        self._refuse_declared(exchange)
        provider_id = exchange.parameters["provider"]
        await self._providers.delete(
            act_of(exchange), exchange.caller.organisation_id, provider_id, expected_version=expected_version(exchange)
        )
        await show(exchange, Deleted(id=provider_id, object="provider"))

    async def _test(self, exchange: Exchange) -> None:
        declared = self._declared_one(exchange)
        if declared is not None:
            found = await probe(declared, self._router.pools[declared])
        else:
            found = await self._probe(exchange)
        tested = ProviderTest(
            id=exchange.parameters["provider"],
            is_ok=found.is_ok,
            status=found.status,
            models=found.models,
            failure=found.failure,
            error=found.error or None,
            duration_ms=int(found.seconds * 1000),
        )
        await show(exchange, tested)

    async def _probe(self, exchange: Exchange) -> Probe:
        """Ask a stored provider, as it is now and not as the calls of this worker may still know it."""
        stored = await self._providers.get(exchange.caller.organisation_id, exchange.parameters["provider"])
        provider = callable_provider(stored, await self._providers.credentials(stored))
        pool = open_guarded_pool(provider, self._outbound)
        try:
            return await probe(provider, pool)
        finally:
            await pool.aclose()

    def _declared(self, organisation_id: str) -> list[Provider]:
        """The providers of mainstay.toml are the business of the organisation that the installation began with."""
        return list(self._router.pools) if organisation_id == DEFAULT_ORGANISATION_ID else []

    def _declared_one(self, exchange: Exchange) -> Provider | None:
        """Return the declared provider that is asked for, None if it is none. Raises NotFoundError."""
        id_ = exchange.parameters["provider"]
        name = declared_name(id_)
        if name is None:
            return None
        for provider in self._declared(exchange.caller.organisation_id):
            if provider.name == name:
                return provider
        raise no_provider(id_)

    def _refuse_declared(self, exchange: Exchange) -> None:
        declared = self._declared_one(exchange)
        if declared is not None:
            raise refuse_change("Provider", declared.name)


def _shown(provider: StoredProvider) -> ProviderObject:
    options = provider.options
    return ProviderObject(
        id=provider.id,
        name=provider.name,
        kind=provider.kind.value,
        base_url=provider.base_url,
        api_version=options.api_version,
        has_api_key=options.has_api_key,
        api_key_hint=options.api_key_hint,
        headers=options.header_names,
        timeouts=options.timeouts,
        max_connections=options.max_connections,
        is_enabled=provider.is_enabled,
        source="api",
        created_at=seconds(provider.created_at_ms),
        updated_at=seconds(provider.updated_at_ms),
        version=provider.version,
    )


def _declared(provider: Provider) -> ProviderObject:
    timeouts = provider.timeouts
    return ProviderObject(
        id=declared_id(provider.name),
        name=provider.name,
        kind=provider.kind.value,
        base_url=provider.base_url,
        api_version=provider.api_version,
        has_api_key=provider.api_key is not None,
        api_key_hint=None,
        headers=tuple(name for name, _ in provider.headers),
        timeouts=ProviderTimeouts(
            connect_seconds=timeouts.connect_seconds,
            first_byte_seconds=timeouts.first_byte_seconds,
            idle_seconds=timeouts.idle_seconds,
            total_seconds=provider.total_seconds,
        ),
        max_connections=provider.limits.max_connections,
        is_enabled=True,
        source="file",
    )
