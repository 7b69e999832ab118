"""Every place where someone can enter an address, from the entry to the connection.

An entry point takes an address, does all that can be done with it, and returns when nothing more would happen. What it
raises must be a MainstayError. Each is given the one client for such addresses; add those to come to `ENTRY_POINTS`.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
from tests.api.admin.asking import Asking, caller_of
from tests.platform.gateway.conftest import make_request

from mainstay.api.admin.audit_webhooks import AuditWebhookRoutes
from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.admin.providers import ProviderRoutes
from mainstay.kit.clock import SystemClock
from mainstay.kit.database import Database
from mainstay.kit.errors import InvalidRequestError, MainstayError
from mainstay.kit.http import Outbound
from mainstay.platform.audit.deliveries import Deliveries
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.audit.ledger import Ledger
from mainstay.platform.gateway import ProviderKind, Router
from mainstay.platform.gateway.stored.deployments import Deployments
from mainstay.platform.gateway.stored.providers import Providers
from mainstay.platform.gateway.stored.records import NewDeployment, NewProvider, TargetSpec
from mainstay.platform.gateway.stored.view import OrganisationTables
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.audit_webhooks import NewWebhook, Webhooks
from mainstay.platform.identity.identity_providers import IdentityProviders
from mainstay.platform.identity.identity_providers import NewProvider as NewIdentityProvider
from mainstay.platform.identity.oidc.check import check
from mainstay.platform.identity.oidc.discovery import Discovery, Metadata, checked_issuer
from mainstay.platform.identity.oidc.provider_calls import ProviderCalls
from mainstay.platform.identity.oidc.settings import ProviderSettings
from mainstay.platform.identity.organisations import DEFAULT_ORGANISATION_ID
from mainstay.platform.identity.stored_provider import Ceiling
from mainstay.platform.vault.root_keys import RootKeys
from mainstay.platform.vault.vault import Vault

Enter = Callable[[str], Awaitable[None]]
EntryPoint = Callable[[Database, Outbound, Path], contextlib.AbstractAsyncContextManager[Enter]]

ORGANISATION = "org_a"
CANARY = "sk-canary-that-may-not-come-inside"


@contextlib.asynccontextmanager
async def fetched(database: Database, outbound: Outbound, folder: Path) -> AsyncIterator[Enter]:
    """The client itself."""
    del database, folder

    async def enter(url: str) -> None:
        await outbound.fetch("GET", url, headers=[(b"authorization", CANARY.encode())], follow_redirects=True)

    yield enter


@contextlib.asynccontextmanager
async def providers(database: Database, outbound: Outbound, folder: Path) -> AsyncIterator[Enter]:
    """A provider that an administrator makes, tests, and calls by a deployment."""
    clock = SystemClock()
    acts, vault, router = Acts(Ledger(clock), clock), Vault(database, RootKeys(folder / "root"), clock), Router()
    store = Providers(database, acts, clock, sealer=vault, guard=outbound.guard)
    deployments = Deployments(database, acts, clock, installed_target=router.installed_target)
    tables = OrganisationTables(database, vault, router, outbound)
    ask = Asking([ProviderRoutes(store, router, outbound, Idempotency(database, vault, clock))])
    admin = caller_of(ORGANISATION)
    made = await store.create(
        SYSTEM,
        ORGANISATION,
        NewProvider(name="p", kind=ProviderKind.OPENAI, base_url="https://93.184.216.34", api_key=CANARY),
    )
    wanted = NewDeployment(name="d", targets=(TargetSpec(provider="p", model="m"),))
    await deployments.create(SYSTEM, ORGANISATION, wanted)
    path = "/admin/v1/providers"

    async def enter(url: str) -> None:
        body = {"name": "q", "kind": "openai", "base_url": url, "api_key": CANARY}
        created = await ask(admin, "POST", path, body)
        await ask(admin, "PATCH", f"{path}/{made.id}", {"base_url": url, "api_key": CANARY})
        if created.status == 201:
            await ask(admin, "POST", f"{path}/{created.json['id']}/test")
            await ask(admin, "DELETE", f"{path}/{created.json['id']}")
        assert created.status in (201, 400), created.body
        # As if the name had led elsewhere when it was entered, and as a hostile hand could write it.
        async with database.transaction() as transaction:
            await transaction.execute(
                "UPDATE providers SET base_url = :url WHERE id = :id", {"url": url.replace("\x00", ""), "id": made.id}
            )
        await ask(admin, "POST", f"{path}/{made.id}/test")
        await tables.reload()
        with contextlib.suppress(MainstayError):
            await router.resolve("d", ORGANISATION).answer(make_request())

    yield enter
    await tables.aclose()


@contextlib.asynccontextmanager
async def audit_webhooks(database: Database, outbound: Outbound, folder: Path) -> AsyncIterator[Enter]:
    """A webhook for audit events: tried out, and sent what is due."""
    clock = SystemClock()
    vault, ledger = Vault(database, RootKeys(folder / "root"), clock), Ledger(clock)
    store = Webhooks(database, Acts(ledger, clock), vault, clock)
    deliveries = Deliveries(database, ledger, vault, outbound, clock=clock)
    ask = Asking([AuditWebhookRoutes(store, deliveries, Idempotency(database, vault, clock))])
    admin = caller_of(ORGANISATION)
    made, _ = await store.create(SYSTEM, ORGANISATION, NewWebhook(name="w", url="https://93.184.216.34/"))
    path = "/admin/v1/audit/webhooks"

    async def enter(url: str) -> None:
        created = await ask(admin, "POST", path, {"name": "v", "url": url})
        assert created.status in (201, 400), created.body
        await ask(admin, "PATCH", f"{path}/{made.id}", {"url": url})
        if created.status == 201:
            await ask(admin, "POST", f"{path}/{created.json['id']}/test")
        async with database.transaction() as transaction:
            await transaction.execute(
                "UPDATE audit_webhooks SET url = :url, next_attempt_at_ms = NULL, failures = 0, is_enabled = TRUE "
                "WHERE id = :id",
                {"url": url.replace("\x00", ""), "id": made.id},
            )
        tested = await ask(admin, "POST", f"{path}/{made.id}/test")
        assert tested.status == 200, tested.body
        await deliveries.deliver_due()
        if created.status == 201:
            await ask(admin, "DELETE", f"{path}/{created.json['id']}")

    yield enter


@contextlib.asynccontextmanager
async def identity_providers(database: Database, outbound: Outbound, folder: Path) -> AsyncIterator[Enter]:
    """An identity provider: its issuer, and every address that its discovery document may name."""
    clock = SystemClock()
    vault, acts = Vault(database, RootKeys(folder / "root"), clock), Acts(Ledger(clock), clock)
    store, discovery = IdentityProviders(database, acts, clock, vault), Discovery(outbound, clock)
    calls = ProviderCalls(outbound, store)
    wanted = NewIdentityProvider(
        name="i",
        issuer="https://93.184.216.34",
        client_id="c",
        client_secret=CANARY,
        settings=ProviderSettings(),
        is_enabled=True,
        ceiling=Ceiling(),
    )
    made = await store.create(SYSTEM, DEFAULT_ORGANISATION_ID, wanted)

    async def enter(url: str) -> None:
        with contextlib.suppress(InvalidRequestError):
            checked_issuer(url)
        await check(discovery, msgspec.structs.replace(made, issuer=url))
        document = Metadata(
            issuer=made.issuer,
            authorization_endpoint=url,
            token_endpoint=url,
            jwks_uri=url,
            userinfo_endpoint=url,
            names_itself=False,
            has_pkce=True,
        )
        for use in (
            discovery.keys(url, is_renewed=True),
            calls.userinfo(url, CANARY),
            calls.redeem(made, document, code="c", verifier="v", redirect_uri="https://here/"),
        ):
            with contextlib.suppress(MainstayError):
                await use

    yield enter


ENTRY_POINTS: dict[str, EntryPoint] = {
    "the client itself": fetched,
    "providers": providers,
    "audit webhooks": audit_webhooks,
    "identity providers": identity_providers,
}
