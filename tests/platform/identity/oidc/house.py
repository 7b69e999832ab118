"""Sign-in with identity providers, wired as a server wires it."""

import ipaddress
from dataclasses import dataclass
from typing import Any

from tests.platform.identity.oidc.mock_provider import CLIENT, SECRET, MockProvider

from mainstay.kit.database import Database
from mainstay.kit.http import Outbound
from mainstay.platform.audit.events import SYSTEM, Origin
from mainstay.platform.audit.ledger import Ledger
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.authorize import Authority
from mainstay.platform.identity.change_feed import ChangeFeed
from mainstay.platform.identity.default_projects import DefaultProjects
from mainstay.platform.identity.directory import Directory
from mainstay.platform.identity.domains import Domains
from mainstay.platform.identity.identity_providers import IdentityProviders, NewProvider
from mainstay.platform.identity.oidc.accounts import Accounts
from mainstay.platform.identity.oidc.attempts import Attempts
from mainstay.platform.identity.oidc.code_flow import CodeFlow, Started
from mainstay.platform.identity.oidc.discovery import Discovery
from mainstay.platform.identity.oidc.provider_calls import ProviderCalls
from mainstay.platform.identity.oidc.registry import Registry
from mainstay.platform.identity.oidc.rules import ProviderRules
from mainstay.platform.identity.oidc.settings import ProviderSettings
from mainstay.platform.identity.oidc.sign_in import CameBack, ProviderSignIn, SignedIn
from mainstay.platform.identity.oidc.tokens import TokenVerifier
from mainstay.platform.identity.oidc.verification import Verifier
from mainstay.platform.identity.sessions import Lifetimes, Sessions, SessionSecrets
from mainstay.platform.identity.stored_provider import Ceiling, IdentityProvider
from mainstay.platform.identity.throttle import Throttle
from mainstay.platform.identity.users import NewUser, Users
from mainstay.testing.clock import StandingClock

HERE = "org_default"
PUBLIC_URL = "https://ai.example.com"
LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
BROWSER = Origin(address="192.0.2.7", user_agent="Browser/1")
OWNERS = Ceiling(is_owner=True)


class OpenSealer:
    """Seals nothing, but opens only where it was sealed for."""

    async def seal(self, organisation_id: str, plain: bytes, *, purpose: str) -> bytes:
        return f"{organisation_id}|{purpose}|".encode() + plain[::-1]

    async def open(self, organisation_id: str, sealed: bytes, *, purpose: str) -> bytes:
        place = f"{organisation_id}|{purpose}|".encode()
        assert sealed.startswith(place)
        return sealed[len(place) :][::-1]


class Zone:
    """A DNS of TXT records."""

    def __init__(self) -> None:
        self.records: dict[str, list[str]] = {}

    async def texts(self, name: str) -> list[str]:
        return self.records.get(name, [])


@dataclass
class House:
    """Everything, on one database."""

    database: Database
    clock: StandingClock
    zone: Zone
    acts: Acts
    feed: ChangeFeed
    authority: Authority
    registry: Registry
    discovery: Discovery
    providers: IdentityProviders
    domains: Domains
    users: Users
    sign_in: ProviderSignIn
    tokens: TokenVerifier
    sessions: Sessions

    async def add_domain(self, name: str = "example.com", organisation_id: str = HERE) -> None:
        """Enter and verify a domain."""
        domain = await self.domains.create(SYSTEM, organisation_id, name)
        await self.domains.attest(SYSTEM, organisation_id, domain.id)

    async def add_provider(
        self, issuer: str, organisation_id: str = HERE, *, ceiling: Ceiling = OWNERS, **settings: Any
    ) -> IdentityProvider:
        """Set a provider up, and have it known."""
        provider = await self.providers.create(
            SYSTEM,
            organisation_id,
            NewProvider(
                name="Contoso",
                issuer=issuer,
                client_id=CLIENT,
                client_secret=SECRET,
                settings=ProviderSettings(**settings),
                ceiling=ceiling,
            ),
        )
        await self.feed.refresh()
        return provider

    async def add_user(self, email: str = "ann@example.com", organisation_id: str = HERE) -> str:
        """Add a user, and have it known."""
        user = await self.users.create(SYSTEM, organisation_id, NewUser(email=email, name="Ann"))
        await self.feed.refresh()
        return user.id

    async def start(self, provider: IdentityProvider, return_to: str = "/after") -> Started:
        """Begin a sign-in."""
        return await self.sign_in.start(provider.id, return_to, BROWSER)

    async def finish(
        self, provider: IdentityProvider, answer: dict[str, str], cookie: str | None, origin: Origin = BROWSER
    ) -> SignedIn:
        """End a sign-in."""
        return await self.sign_in.finish(CameBack(provider_id=provider.id, answer=answer, cookie=cookie, origin=origin))

    async def go(self, provider: IdentityProvider, mock: MockProvider) -> SignedIn:
        """Sign in from start to end."""
        started = await self.start(provider)
        signed_in = await self.finish(provider, mock.authorize(started.url), started.cookie)
        await self.feed.refresh()
        return signed_in

    async def count(self, table: str) -> int:
        ((number,),) = await self.database.fetch(f"SELECT COUNT(*) FROM {table}")
        return int(number)


async def build_house(database: Database, clock: StandingClock) -> House:
    """Build everything."""
    acts = Acts(Ledger(clock), clock)
    directory, projects, registry = Directory(database), DefaultProjects(database), Registry(database)
    feed = ChangeFeed(database, [directory, projects, registry])
    authority = Authority(directory, clock)
    outbound = Outbound([LOOPBACK])
    discovery = Discovery(outbound, clock)
    sealer, zone = OpenSealer(), Zone()
    providers = IdentityProviders(database, acts, clock, sealer)
    users = Users(database, acts, clock)
    accounts = Accounts(users, authority, clock)
    rules = ProviderRules(
        authority.policies, Throttle(clock, failures=20, seconds=900), Throttle(clock, failures=50, seconds=600)
    )
    lifetimes = Lifetimes(idle_seconds=3600, max_seconds=86_400)
    sessions = Sessions(database, acts, clock, secrets=SessionSecrets(b"p" * 32), lifetimes=lifetimes)
    flow = CodeFlow(
        Attempts(database, clock, sealer), discovery, ProviderCalls(outbound, providers), clock, public_url=PUBLIC_URL
    )
    sign_in = ProviderSignIn(
        database, acts, clock, registry=registry, flow=flow, accounts=accounts, sessions=sessions, rules=rules
    )
    tokens = TokenVerifier(
        database,
        acts,
        clock,
        registry=registry,
        verifier=Verifier(discovery),
        accounts=accounts,
        projects=projects,
        rules=rules,
    )
    await feed.refresh()
    return House(
        database=database,
        clock=clock,
        zone=zone,
        acts=acts,
        feed=feed,
        authority=authority,
        registry=registry,
        discovery=discovery,
        providers=providers,
        domains=Domains(database, acts, clock, zone),
        users=users,
        sign_in=sign_in,
        tokens=tokens,
        sessions=sessions,
    )
