"""A whole application without a network, with the routes of people, projects and keys, and callers of every kind."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from mainstay.api.admin.bindings import BindingRoutes
from mainstay.api.admin.giving import Giving
from mainstay.api.admin.groups import GroupRoutes
from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.admin.key_writing import KeyWriting
from mainstay.api.admin.keys import KeyRoutes
from mainstay.api.admin.my_keys import MyKeyRoutes
from mainstay.api.admin.organisations import OrganisationRoutes
from mainstay.api.admin.projects import ProjectRoutes
from mainstay.api.admin.service_accounts import ServiceAccountRoutes
from mainstay.api.admin.users import UserRoutes
from mainstay.api.app import App, Edge
from mainstay.api.authentication import Authentication
from mainstay.api.dialects import AzureDialect, Dialect
from mainstay.api.live_calls import LiveCalls
from mainstay.api.organisation_header import OrganisationHeader
from mainstay.api.routes import RouteGroup, Router
from mainstay.kit.database import Database
from mainstay.platform.audit.events import SYSTEM, ActorType
from mainstay.platform.audit.ledger import Ledger
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.authorize import Authority
from mainstay.platform.identity.bindings import Bindings, NewBinding
from mainstay.platform.identity.caller import Caller, Scope
from mainstay.platform.identity.change_feed import ChangeFeed
from mainstay.platform.identity.default_projects import DefaultProjects
from mainstay.platform.identity.directory import Directory
from mainstay.platform.identity.groups import Groups
from mainstay.platform.identity.key_policy import KeyPolicy
from mainstay.platform.identity.key_use import KeyUse
from mainstay.platform.identity.keyring import Keyring
from mainstay.platform.identity.keys import Keys
from mainstay.platform.identity.members import Members
from mainstay.platform.identity.organisation_store import NewOrganisation, Organisations
from mainstay.platform.identity.policy_store import PolicyStore
from mainstay.platform.identity.projects import Projects
from mainstay.platform.identity.role_store import Roles
from mainstay.platform.identity.service_accounts import ServiceAccounts
from mainstay.platform.identity.users import NewUser, User, Users
from mainstay.platform.identity.visibility import Visibility
from mainstay.testing.clock import StandingClock

PEPPER = b"p" * 32
OPERATOR = "the-operator"
HERE, PROJECT = "org_default", "proj_default"
BOTH = frozenset({Scope.INFERENCE, Scope.ADMIN})


class Plain:
    """Seals nothing: for tests that look at what lies in the database."""

    async def seal(self, organisation_id: str, plain: bytes, *, purpose: str) -> bytes:
        return plain

    async def open(self, organisation_id: str, sealed: bytes, *, purpose: str) -> bytes:
        return sealed


@dataclass
class Credentials:
    """The keyring, and callers who have signed in, each under a word of the tests."""

    keyring: Keyring
    signed_in: dict[bytes, Caller] = field(default_factory=dict)

    def find(self, secret: bytes) -> Caller:
        return self.signed_in.get(secret) or self.keyring.find(secret)

    def current(self, key_id: str) -> Caller | None:
        return self.keyring.current(key_id)


class Office:
    """Everything that the routes need, and who asks them."""

    def __init__(
        self, database: Database, *, more_routes: "Callable[[Office], Iterable[RouteGroup]]" = lambda _: ()
    ) -> None:
        self.database = database
        self.clock = clock = StandingClock()
        self.acts = acts = Acts(Ledger(clock), clock)
        self.users = Users(database, acts, clock)
        self.groups, self.members = Groups(database, acts, clock), Members(database, acts, clock)
        self.projects = Projects(database, acts, clock)
        self.accounts = ServiceAccounts(database, acts, clock)
        self.organisations = Organisations(database, acts, self.users, clock)
        self.roles, self.bindings = Roles(database, acts, clock), Bindings(database, acts, clock)
        self.policies = PolicyStore(database, acts, clock)
        self.keys = Keys(database, PEPPER, acts, clock)
        self.keyring = Keyring(database, PEPPER, clock)
        self.key_use = KeyUse(self.keyring, database, clock)
        self.directory, self.default_projects = Directory(database), DefaultProjects(database)
        self.feed = ChangeFeed(database, [self.directory, self.default_projects])
        self.authority = Authority(self.directory, clock)
        self.visibility = Visibility(self.authority, clock)
        self.giving = Giving(self.authority, self.roles)
        self.idempotency = Idempotency(database, Plain(), clock)
        self.writing = KeyWriting(self.keys, KeyPolicy(self.authority.policies, clock), self.keyring)
        self.credentials = Credentials(self.keyring)
        self.credentials.signed_in[OPERATOR.encode()] = Caller(
            "key_local", HERE, PROJECT, BOTH | {Scope.OPERATOR}, actor_type=ActorType.OPERATOR
        )
        self.app = self._app([*self._groups(), *more_routes(self)])

    def _groups(self) -> list[RouteGroup]:
        giving, idempotency, authority = self.giving, self.idempotency, self.authority
        return [
            OrganisationRoutes(self.organisations, idempotency),
            ProjectRoutes(self.projects, self.visibility, idempotency),
            UserRoutes(self.users, giving, idempotency),
            GroupRoutes(self.groups, self.members, giving, idempotency),
            BindingRoutes(self.bindings, self.roles, authority, idempotency),
            ServiceAccountRoutes(self.accounts, giving, self.visibility, authority=authority, idempotency=idempotency),
            KeyRoutes(self.writing, giving, self.visibility, authority=authority, idempotency=idempotency),
            MyKeyRoutes(self.writing, authority, idempotency),
        ]

    def _app(self, groups: Sequence[RouteGroup]) -> App:
        openai = Dialect("test")
        self.routes = [route for group in groups for route in group.routes(openai)]
        authentication = Authentication(self.credentials)
        edge = Edge(
            authentication=authentication,
            authority=self.authority,
            live_calls=LiveCalls(authentication, self.authority),
            organisations=OrganisationHeader(self.default_projects),
        )
        router = Router(self.routes, openai, AzureDialect("test"))
        return App(router, edge, body_limit=1 << 20, on_response=lambda exchange: None)

    async def refresh(self) -> None:
        """Have what was written be known."""
        await self.keyring.refresh()
        await self.feed.refresh()

    async def person(
        self, name: str, role: str | None = None, *, organisation_id: str = HERE, project_id: str | None = None
    ) -> User:
        """Make a user with a role, in the organisation or in one project, who has signed in as his name."""
        wanted = NewUser(email=f"{name}@example.com", name=name, role_id=None if project_id else role)
        user = await self.users.create(SYSTEM, organisation_id, wanted)
        if project_id is not None and role is not None:
            binding = NewBinding(principal_id=user.id, role_id=role, project_id=project_id)
            await self.bindings.create(SYSTEM, organisation_id, binding)
        await self.refresh()
        home = self.default_projects.of(organisation_id) or ""
        self.credentials.signed_in[name.encode()] = Caller(
            f"sess_{name}", organisation_id, home, BOTH, principal_id=user.id, actor_type=ActorType.USER
        )
        return user

    async def other_organisation(self) -> str:
        """Make a second organisation; its owner signs in as `eve`."""
        made = await self.organisations.create(SYSTEM, HERE, NewOrganisation(name="Other"))
        await self.person("eve", "role_owner", organisation_id=made.organisation.id)
        return made.organisation.id

    def http(self, secret: str | None = OPERATOR, **headers: str) -> httpx2.AsyncClient:
        """Return a client that sends the credential."""
        own = {} if secret is None else {"authorization": f"Bearer {secret}"}
        return httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=self.app, client=("192.0.2.1", 1)),
            base_url="http://mainstay.test",
            headers=own | headers,
        )

    async def ask(self, who: str | None, method: str, path: str, **more: Any) -> httpx2.Response:
        """Send one request as someone; what it wrote is known afterwards."""
        async with self.http(who) as http:
            response = await http.request(method, path, **more)
        await self.refresh()
        return response
