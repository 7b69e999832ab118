"""Stores of providers and deployments on either database, and a router that the view keeps up to date."""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from mainstay.kit.clock import SystemClock
from mainstay.kit.database import Database
from mainstay.kit.http import Outbound
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.audit.ledger import Ledger
from mainstay.platform.gateway import ProviderKind, Router, Table
from mainstay.platform.gateway.stored.deployments import Deployments
from mainstay.platform.gateway.stored.providers import Providers
from mainstay.platform.gateway.stored.records import NewDeployment, NewProvider, StoredProvider, TargetSpec
from mainstay.platform.gateway.stored.view import OrganisationTables
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.change_feed import ChangeFeed
from mainstay.platform.vault.root_keys import RootKeys
from mainstay.platform.vault.vault import Vault

ORGANISATION, OTHER = "org_a", "org_b"
CANARY = "sk-canary-7f31-of-a-provider"
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
PUBLIC_URL = "https://93.184.216.34/v1"


@dataclass
class Gateway:
    """All that administrators and callers meet."""

    database: Database
    providers: Providers
    deployments: Deployments
    router: Router
    tables: OrganisationTables
    feed: ChangeFeed
    names: dict[str, list[str]] = field(default_factory=dict)
    """What the name server says, each time the first of several answers."""

    async def provider(self, url: str = PUBLIC_URL, organisation_id: str = ORGANISATION, **more) -> StoredProvider:
        wanted = NewProvider(
            **({"name": "acme", "kind": ProviderKind.OPENAI, "base_url": url, "api_key": CANARY} | more)
        )
        return await self.providers.create(SYSTEM, organisation_id, wanted)

    async def deployment(self, name: str = "big", organisation_id: str = ORGANISATION, **more):
        targets = more.pop("targets", (TargetSpec(provider="acme", model="m"),))
        return await self.deployments.create(SYSTEM, organisation_id, NewDeployment(name=name, targets=targets, **more))

    async def audited(self, organisation_id: str = ORGANISATION) -> list[dict]:
        rows = await self.database.fetch(
            "SELECT body FROM audit_events WHERE organisation_id = :organisation_id ORDER BY sequence",
            {"organisation_id": organisation_id},
        )
        return [msgspec.json.decode(body) for (body,) in rows]


@pytest.fixture
def allowed():
    """The networks that the operator has opened."""
    return LOOPBACK


@pytest.fixture
async def gateway(database: Database, tmp_path: Path, allowed):
    clock = SystemClock()
    acts = Acts(Ledger(clock), clock)
    vault = Vault(database, RootKeys(tmp_path / "keys" / "root"), clock)
    names: dict[str, list[str]] = {}

    async def resolve(host: str) -> list[str]:
        if host not in names:
            raise OSError(-2, "Name or service not known")
        return [names[host].pop(0) if len(names[host]) > 1 else names[host][0]]

    outbound = Outbound(allowed, resolve=resolve)
    router = Router(Table())
    providers = Providers(database, acts, clock, sealer=vault, guard=outbound.guard)
    deployments = Deployments(database, acts, clock, installed_target=router.installed_target)
    tables = OrganisationTables(database, vault, router, outbound)
    feed = ChangeFeed(database, [tables])
    await feed.refresh()
    yield Gateway(database, providers, deployments, router, tables, feed, names)
    await tables.aclose()
