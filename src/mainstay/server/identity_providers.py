"""Builds sign-in with identity providers, their tokens as credentials, and the administration of both."""

from collections.abc import Sequence
from dataclasses import dataclass

from mainstay.api.admin.domains import DomainRoutes
from mainstay.api.admin.identities import IdentityRoutes
from mainstay.api.admin.identity_providers import IdentityProviderRoutes
from mainstay.api.auth.oidc import ProviderSignInRoutes
from mainstay.api.routes import RouteGroup
from mainstay.kit.http import Outbound
from mainstay.kit.sealing import Sealer
from mainstay.platform.identity.change_feed import View
from mainstay.platform.identity.domain_names import NameServers
from mainstay.platform.identity.domains import Domains
from mainstay.platform.identity.identities import Identities
from mainstay.platform.identity.identity_providers import IdentityProviders
from mainstay.platform.identity.oidc.accounts import Accounts
from mainstay.platform.identity.oidc.attempts import KEPT_SECONDS, OPEN_PER_ADDRESS, Attempts
from mainstay.platform.identity.oidc.code_flow import CodeFlow
from mainstay.platform.identity.oidc.discovery import Discovery
from mainstay.platform.identity.oidc.provider_calls import ProviderCalls
from mainstay.platform.identity.oidc.registry import Registry
from mainstay.platform.identity.oidc.rules import ProviderRules
from mainstay.platform.identity.oidc.sign_in import ProviderSignIn
from mainstay.platform.identity.oidc.tokens import TokenVerifier
from mainstay.platform.identity.oidc.verification import Verifier
from mainstay.platform.identity.provider_ceiling import ProviderCeilings
from mainstay.platform.identity.role_store import Roles
from mainstay.platform.identity.throttle import Throttle
from mainstay.platform.identity.users import Users
from mainstay.server.administration import Safeguards
from mainstay.server.edge import Doors, Ground, build_door
from mainstay.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderDoors:
    """The ways in by identity providers."""

    registry: Registry
    """A view of the change feed."""
    tokens: TokenVerifier
    groups: tuple[RouteGroup, ...]

    @property
    def views(self) -> Sequence[View]:
        """What the change feed keeps up to date."""
        return (self.registry,)


@dataclass(frozen=True, slots=True)
class _Parts:
    accounts: Accounts
    discovery: Discovery
    registry: Registry
    rules: ProviderRules
    providers: IdentityProviders


def build_provider_doors(settings: Settings, ground: Ground, doors: Doors, safeguards: Safeguards) -> ProviderDoors:
    """Build them. Without `server.public_url`, providers send people back to the address that the server listens on."""
    database, acts, clock = ground.database, ground.acts, ground.clock
    sealer, outbound, idempotency = safeguards.vault, safeguards.outbound, safeguards.idempotency
    public_url = settings.server.public_url or f"http://{settings.server.host}:{settings.server.port}"
    parts = _build_parts(settings, ground, sealer=sealer, outbound=outbound)
    calls = ProviderCalls(outbound, parts.providers)
    flow = CodeFlow(Attempts(database, clock, sealer), parts.discovery, calls, clock, public_url=public_url)
    sign_in = ProviderSignIn(
        database,
        acts,
        clock,
        registry=parts.registry,
        flow=flow,
        accounts=parts.accounts,
        sessions=doors.sessions,
        rules=parts.rules,
    )
    tokens = TokenVerifier(
        database,
        acts,
        clock,
        registry=parts.registry,
        verifier=Verifier(parts.discovery),
        accounts=parts.accounts,
        projects=doors.projects,
        rules=parts.rules,
    )
    ceilings = ProviderCeilings(ground.authority, Roles(database, acts, clock))
    records = NameServers(settings.outbound.name_servers)
    groups = (
        ProviderSignInRoutes(build_door(ground, doors), sign_in, public_url=settings.server.public_url),
        IdentityProviderRoutes(parts.providers, ceilings, parts.discovery, idempotency, public_url=public_url),
        IdentityRoutes(Identities(database, acts, clock), parts.providers, ground.authority, idempotency),
        DomainRoutes(Domains(database, acts, clock, records), idempotency),
    )
    return ProviderDoors(registry=parts.registry, tokens=tokens, groups=groups)


def _build_parts(settings: Settings, ground: Ground, *, sealer: Sealer, outbound: Outbound) -> _Parts:
    database, acts, clock = ground.database, ground.acts, ground.clock
    seconds = settings.sign_in.lockout_minutes * 60
    throttle = Throttle(
        clock, failures=settings.sign_in.attempts_per_address / settings.server.workers, seconds=seconds
    )
    starts = Throttle(clock, failures=OPEN_PER_ADDRESS / settings.server.workers, seconds=KEPT_SECONDS)
    return _Parts(
        accounts=Accounts(Users(database, acts, clock), ground.authority, clock),
        discovery=Discovery(outbound, clock),
        registry=Registry(database),
        rules=ProviderRules(ground.authority.policies, throttle, starts),
        providers=IdentityProviders(database, acts, clock, sealer),
    )
