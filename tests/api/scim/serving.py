"""A server with SCIM alone, over HTTP on a free port, for tests that use blocking clients."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx2
from scim2_client.engines.httpx2 import SyncSCIMClient

from mainstay.api.app import App, Edge
from mainstay.api.authentication import Authentication
from mainstay.api.dialects import AzureDialect, Dialect
from mainstay.api.live_calls import LiveCalls
from mainstay.api.organisation_header import OrganisationHeader
from mainstay.api.routes import Router
from mainstay.api.scim.provisioning import Provisioning
from mainstay.kit.clock import SystemClock
from mainstay.kit.database import Database, open_database
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.audit.ledger import Ledger
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.authorize import Authority
from mainstay.platform.identity.caller import Scope
from mainstay.platform.identity.change_feed import ChangeFeed
from mainstay.platform.identity.default_projects import DefaultProjects
from mainstay.platform.identity.directory import Directory
from mainstay.platform.identity.keyring import Keyring
from mainstay.platform.identity.keys import Keys, NewKey
from mainstay.platform.identity.organisations import DEFAULT_TENANT, Tenant
from mainstay.platform.identity.scim.groups import ScimGroups
from mainstay.platform.identity.scim.users import ScimUsers
from mainstay.server.listener import Listener

PEPPER = b"p" * 32
T = TypeVar("T")


class ScimServer:
    """The server, and what tests do to it from another thread."""

    def __init__(self, database_url: str, public_url: str | None) -> None:
        self._database_url = database_url
        self._public_url = public_url
        self.loop = asyncio.new_event_loop()
        self.database: Database
        self.keys: Keys
        self.keyring: Keyring
        self.feed: ChangeFeed
        self.directory: Directory
        self.projects: DefaultProjects
        self.acts: Acts
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/scim/v2"

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def token(self, scope: str = Scope.SCIM, tenant: Tenant = DEFAULT_TENANT) -> str:
        """Make a key and have it known."""

        async def make() -> str:
            _, secret = await self.keys.create(SYSTEM, NewKey(name="directory", scopes=(scope,)), tenant)
            await self.keyring.refresh()
            await self.feed.refresh()
            return secret

        return self.do(make())

    def fetch(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        return self.do(self.database.fetch(sql, values))

    def execute(self, sql: str, **values: Any) -> None:
        async def run() -> None:
            async with self.database.transaction() as transaction:
                await transaction.execute(sql, values)

        self.do(run())

    def execute_many(self, sql: str, rows: list[tuple[Any, ...]]) -> None:
        async def run() -> None:
            async with self.database.transaction() as transaction:
                await transaction.execute_many(sql, rows)

        self.do(run())

    def reload(self) -> None:
        """Have what tests wrote behind everyone's back be known."""
        self.do(self.directory.reload())
        self.do(self.projects.reload())

    async def start(self) -> Listener:
        clock = SystemClock()
        self.database = database = open_database(self._database_url)
        self.acts = acts = Acts(Ledger(clock), clock)
        self.keys = Keys(database, PEPPER, acts, clock)
        self.keyring = Keyring(database, PEPPER, clock)
        self.directory = Directory(database)
        self.projects = DefaultProjects(database)
        self.feed = ChangeFeed(database, [self.directory, self.projects])
        await self.keyring.refresh()
        await self.feed.refresh()
        provisioning = Provisioning(
            ScimUsers(database, acts, clock), ScimGroups(database, acts, clock), public_url=self._public_url
        )
        openai = Dialect("test")
        router = Router(provisioning.routes(openai), openai, AzureDialect("test"))
        authentication = Authentication(self.keyring)
        authority = Authority(self.directory, clock)
        edge = Edge(
            authentication=authentication,
            authority=authority,
            live_calls=LiveCalls(authentication, authority),
            organisations=OrganisationHeader(self.projects),
        )
        app = App(router, edge, body_limit=32 * 1024 * 1024, on_response=lambda exchange: None)
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        listener = Listener(app, listening, header_timeout_seconds=10)
        await listener.start()
        return listener


@contextmanager
def running(database_url: str, *, public_url: str | None = None) -> Iterator[ScimServer]:
    """Serve until the end of the block."""
    server = ScimServer(database_url, public_url)
    thread = threading.Thread(target=server.loop.run_forever, daemon=True)
    thread.start()
    listener = server.do(server.start())
    try:
        yield server
    finally:
        server.do(listener.stop(0))
        server.do(server.database.aclose())
        server.loop.call_soon_threadsafe(server.loop.stop)
        thread.join(10)
        server.loop.close()


def client_of(server: ScimServer, token: str, make: Callable[..., T]) -> T:
    """A client of some kind with the token."""
    return make(base_url=server.url, headers={"authorization": f"Bearer {token}"}, timeout=60)


def scim_client(http: httpx2.Client) -> SyncSCIMClient:
    """A client that checks what it gets against the schemas."""
    return SyncSCIMClient(http)
