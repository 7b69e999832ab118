"""Builds administration and provisioning: the stores, what they lean on, and their routes."""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from mainstay.api.admin.bindings import BindingRoutes
from mainstay.api.admin.budgets import BudgetRoutes
from mainstay.api.admin.deployments import DeploymentRoutes
from mainstay.api.admin.giving import Giving
from mainstay.api.admin.grants import GrantRoutes
from mainstay.api.admin.groups import GroupRoutes
from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.admin.key_writing import KeyWriting
from mainstay.api.admin.keys import KeyRoutes
from mainstay.api.admin.limits import LimitRoutes
from mainstay.api.admin.my_keys import MyKeyRoutes
from mainstay.api.admin.organisations import OrganisationRoutes
from mainstay.api.admin.policies import PolicyRoutes
from mainstay.api.admin.projects import ProjectRoutes
from mainstay.api.admin.providers import ProviderRoutes
from mainstay.api.admin.roles import RoleRoutes
from mainstay.api.admin.service_accounts import ServiceAccountRoutes
from mainstay.api.admin.sessions import AdminSessions
from mainstay.api.admin.users import UserRoutes
from mainstay.api.admin.why import WhyRoutes
from mainstay.api.organization.groups import organization_routes
from mainstay.api.organization.parts import Parts
from mainstay.api.routes import RouteGroup
from mainstay.api.scim.provisioning import Provisioning
from mainstay.kit.http.outbound import Outbound
from mainstay.platform.gateway import Router
from mainstay.platform.gateway.stored.deployments import Deployments
from mainstay.platform.gateway.stored.providers import Providers
from mainstay.platform.identity.bindings import Bindings
from mainstay.platform.identity.explain import Explainer
from mainstay.platform.identity.grants import Grants
from mainstay.platform.identity.groups import Groups
from mainstay.platform.identity.held_roles import HeldRoles
from mainstay.platform.identity.key_policy import KeyPolicy
from mainstay.platform.identity.keyring import Keyring
from mainstay.platform.identity.keys import Keys
from mainstay.platform.identity.members import Members
from mainstay.platform.identity.organisation_store import Organisations
from mainstay.platform.identity.policy_store import PolicyStore
from mainstay.platform.identity.projects import Projects
from mainstay.platform.identity.role_exchange import RoleExchange
from mainstay.platform.identity.role_store import Roles
from mainstay.platform.identity.scim.groups import ScimGroups
from mainstay.platform.identity.scim.users import ScimUsers
from mainstay.platform.identity.service_accounts import ServiceAccounts
from mainstay.platform.identity.subjects import Subjects
from mainstay.platform.identity.users import Users
from mainstay.platform.identity.visibility import Visibility
from mainstay.platform.metering.budget_store import Budgets
from mainstay.platform.metering.limit_store import Limits
from mainstay.platform.vault.root_keys import RootKeys
from mainstay.platform.vault.vault import Vault
from mainstay.server.edge import Doors, Ground, build_sign_in
from mainstay.server.metering import Metering
from mainstay.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Safeguards:
    """What seals what is stored, and what lets nothing out to where it should not go."""

    vault: Vault
    outbound: Outbound
    idempotency: Idempotency


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What administration changes, and what must know of it."""

    ground: Ground
    safeguards: Safeguards
    doors: Doors
    metering: Metering
    keyring: Keyring
    router: Router


def build_safeguards(settings: Settings, ground: Ground) -> Safeguards:
    """Build what stored secrets and outgoing requests rest on."""
    vault = Vault(ground.database, RootKeys(settings.home / "keys" / "root"), ground.clock)
    allowed = [ipaddress.ip_network(text) for text in settings.outbound.allowed_networks]
    return Safeguards(
        vault=vault,
        outbound=Outbound(allowed),
        idempotency=Idempotency(ground.database, vault, ground.clock),
    )


def build_administration(settings: Settings, around: Surroundings) -> Iterator[RouteGroup]:
    """Yield the routes of signing in, administration and provisioning."""
    yield from build_sign_in(around.ground, around.doors)
    yield from _people(around)
    yield from _permissions(around)
    yield from _keys(around)
    yield from _openai_shapes(around)
    yield from _models(around)
    ground, idempotency = around.ground, around.safeguards.idempotency
    yield AdminSessions(
        around.doors.sessions,
        around.doors.links,
        ground.authority,
        idempotency=idempotency,
        public_url=settings.server.public_url,
    )
    yield Provisioning(
        ScimUsers(ground.database, ground.acts, ground.clock),
        ScimGroups(ground.database, ground.acts, ground.clock),
        public_url=settings.server.public_url,
    )


def _people(around: Surroundings) -> Iterator[RouteGroup]:
    ground, idempotency = around.ground, around.safeguards.idempotency
    database, acts, clock = ground.database, ground.acts, ground.clock
    giving = Giving(ground.authority, Roles(database, acts, clock))
    visibility = Visibility(ground.authority, clock)
    users = Users(database, acts, clock)
    yield OrganisationRoutes(Organisations(database, acts, users, clock), idempotency)
    yield ProjectRoutes(Projects(database, acts, clock), visibility, idempotency)
    yield UserRoutes(users, giving, idempotency)
    yield GroupRoutes(Groups(database, acts, clock), Members(database, acts, clock), giving, idempotency)
    yield ServiceAccountRoutes(
        ServiceAccounts(database, acts, clock),
        giving,
        visibility,
        idempotency=idempotency,
        authority=ground.authority,
    )


def _permissions(around: Surroundings) -> Iterator[RouteGroup]:
    ground, idempotency = around.ground, around.safeguards.idempotency
    database, acts, clock, authority = ground.database, ground.acts, ground.clock, ground.authority
    roles = Roles(database, acts, clock)
    yield RoleRoutes(roles, authority, idempotency)
    yield BindingRoutes(Bindings(database, acts, clock), roles, authority, idempotency)
    yield GrantRoutes(Grants(database, acts, clock), authority, idempotency, around.router.names)
    yield PolicyRoutes(PolicyStore(database, acts, clock), authority, idempotency)
    yield WhyRoutes(Explainer(authority, clock), Subjects(database, authority.directory), around.router.names)


def _keys(around: Surroundings) -> Iterator[RouteGroup]:
    ground, idempotency = around.ground, around.safeguards.idempotency
    database, acts, clock, authority = ground.database, ground.acts, ground.clock, ground.authority
    keys = Keys(database, ground.pepper, acts, clock)
    writing = KeyWriting(keys, KeyPolicy(authority.policies, clock), around.keyring)
    giving = Giving(authority, Roles(database, acts, clock))
    yield KeyRoutes(writing, giving, Visibility(authority, clock), authority=authority, idempotency=idempotency)
    yield MyKeyRoutes(writing, authority, idempotency)


def _openai_shapes(around: Surroundings) -> Iterator[RouteGroup]:
    ground = around.ground
    database, acts, clock, authority = ground.database, ground.acts, ground.clock, ground.authority
    keys = Keys(database, ground.pepper, acts, clock)
    parts = Parts(
        database=database,
        projects=Projects(database, acts, clock),
        users=Users(database, acts, clock),
        accounts=ServiceAccounts(database, acts, clock),
        exchange=RoleExchange(database, acts, clock),
        held_roles=HeldRoles(database, clock),
        writing=KeyWriting(keys, KeyPolicy(authority.policies, clock), around.keyring),
        giving=Giving(authority, Roles(database, acts, clock)),
        visibility=Visibility(authority, clock),
        authority=authority,
        idempotency=around.safeguards.idempotency,
    )
    yield from organization_routes(parts)


def _models(around: Surroundings) -> Iterator[RouteGroup]:
    ground, safeguards = around.ground, around.safeguards
    database, acts, clock, idempotency = ground.database, ground.acts, ground.clock, safeguards.idempotency
    yield LimitRoutes(Limits(database, acts, clock), idempotency)
    budgets = Budgets(database, acts, clock, currencies_of=around.router.currencies)
    yield BudgetRoutes(budgets, around.metering.allotments, idempotency)
    providers = Providers(database, acts, clock, sealer=safeguards.vault, guard=safeguards.outbound.guard)
    yield ProviderRoutes(providers, around.router, safeguards.outbound, idempotency)
    deployments = Deployments(database, acts, clock, installed_target=around.router.installed_target)
    yield DeploymentRoutes(deployments, around.router, idempotency)
