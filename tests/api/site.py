"""A whole edge over the real stores, asked without a socket: for tests of signing in, carriers and browsers."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.platform.identity import signing_in
from tests.platform.identity.signing_in import ORGANISATION, PEPPER, open_door

from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.admin.sessions import AdminSessions
from mainstay.api.app import App, Edge
from mainstay.api.auth.door import Door
from mainstay.api.auth.own import Own
from mainstay.api.auth.pages import Pages
from mainstay.api.auth.signing_in import SigningIn
from mainstay.api.authentication import Authentication, WithLocalKey
from mainstay.api.browsers import Browsers
from mainstay.api.client_address import ClientAddresses
from mainstay.api.cookies import Cookies
from mainstay.api.dialects import AzureDialect, Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.live_calls import LiveCalls
from mainstay.api.organisation_header import OrganisationHeader
from mainstay.api.routes import Route, Router
from mainstay.api.table import settled
from mainstay.kit.database import Database
from mainstay.platform.audit.events import SYSTEM, ActorType
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.authorize import Authority
from mainstay.platform.identity.caller import Caller, Scope
from mainstay.platform.identity.change_feed import ChangeFeed, ChangeKind
from mainstay.platform.identity.directory import Directory
from mainstay.platform.identity.keyring import Keyring
from mainstay.platform.identity.keys import Keys, NewKey
from mainstay.platform.identity.organisations import DEFAULT_TENANT, Tenant
from mainstay.platform.identity.session_ring import SessionRing
from mainstay.platform.identity.sign_in_options import SignInOptions

LOCAL_KEY = "local-key-of-this-machine"
HOST = (b"host", b"ai.example.com")
PUBLIC_URL = "https://ai.example.com"
OWN_PAGE = {"origin": PUBLIC_URL, "sec-fetch-site": "same-origin"}


class Plain:
    """Seals nothing."""

    async def seal(self, organisation_id: str, plain: bytes, *, purpose: str) -> bytes:
        return plain

    async def open(self, organisation_id: str, sealed: bytes, *, purpose: str) -> bytes:
        return sealed


@dataclass
class Answer:
    """What came back."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    is_complete: bool = False

    def __getitem__(self, name: str) -> str | None:
        """The last header of that name."""
        return dict(self.headers).get(name.encode(), b"").decode() or None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def cookie(self) -> str:
        """What the browser will send, as `name=value`."""
        return (self["set-cookie"] or "").partition(";")[0]


class Site:
    """The edge, what lies behind it, and someone to ask."""

    door: signing_in.Door
    app: App
    live_calls: LiveCalls
    keys: Keys
    keyring: Keyring
    directory: Directory
    ring: SessionRing
    feed: ChangeFeed
    authority: Authority

    def __init__(self) -> None:
        self.seen: list[Exchange] = []
        self.denied: list[tuple[str, str]] = []
        self.is_streaming = asyncio.Event()
        self.before_success: Callable[[], Awaitable[None]] | None = None

    async def settle(self) -> None:
        """What is done before a success is told of."""
        if self.before_success is not None:
            await self.before_success()

    async def ask(
        self,
        method: str,
        target: str,
        *,
        headers: dict[str, str] | None = None,
        cookie: str = "",
        json_body: object = None,
        form: str | None = None,
        peer: str = "203.0.113.9",
        answer: Answer | None = None,
    ) -> Answer:
        """Send a request; `answer` may be looked at while it comes."""
        sent = [HOST, *((name.encode(), value.encode("latin-1")) for name, value in (headers or {}).items())]
        body = b""
        if cookie:
            sent.append((b"cookie", cookie.encode("latin-1")))
        if json_body is not None:
            body = json.dumps(json_body).encode()
            sent += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        if form is not None:
            body = form.encode()
            sent += [(b"content-type", b"application/x-www-form-urlencoded"), (b"content-length", b"%d" % len(body))]
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": sent,
            "client": (peer, 1),
        }
        found = Answer() if answer is None else answer

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                found.status, found.headers = message["status"], list(message["headers"])
            else:
                found.body += message.get("body", b"")
                found.is_complete = not message.get("more_body", False)

        await self.app(scope, receive, send)
        return found

    async def key(self, tenant: Tenant = DEFAULT_TENANT, **wanted: Any) -> dict[str, str]:
        """Make a key; return the header that carries it."""
        _, secret = await self.keys.create(SYSTEM, NewKey(name="key", **wanted), tenant)
        await self.refresh()
        return {"authorization": f"Bearer {secret}"}

    async def refresh(self) -> None:
        """Let this worker hear of every change."""
        await self.feed.refresh()
        await self.keyring.refresh()

    async def bind(self, principal_id: str, role_id: str, organisation_id: str = ORGANISATION) -> None:
        """Give someone a role in the whole organisation."""
        async with self.door.database.transaction() as transaction:
            await transaction.execute(
                "INSERT INTO role_bindings (id, organisation_id, principal_id, role_id, scope_type, scope_id, "
                "created_by, created_at_ms) VALUES (:id, :organisation_id, :principal_id, :role_id, 'organisation', "
                ":organisation_id, 'x', 1)",
                {
                    "id": f"binding_{principal_id}_{role_id}",
                    "organisation_id": organisation_id,
                    "principal_id": principal_id,
                    "role_id": role_id,
                },
            )
        await self.directory.reload()

    async def user(self, email: str = "ann@example.com", *, role: str = "role_member", **more: Any) -> str:
        """Add someone with a role."""
        id_ = await self.door.add_user(email, **more)
        await self.bind(id_, role, more.get("organisation_id", ORGANISATION))
        return id_

    async def session(self, principal_id: str) -> str:
        """Sign someone in; return the cookie, as `name=value`."""
        secret, _ = await self.door.links.create(SYSTEM, ORGANISATION, principal_id)
        answer = await self.ask("POST", "/auth/link", json_body={"token": secret})
        assert answer.status == 201, answer.body
        await self.refresh()
        return answer.cookie

    def streaming(self, **request: Any) -> tuple["asyncio.Task[Answer]", Answer]:
        """Begin a model call that never ends by itself."""
        answer = Answer()
        asking = self.ask("POST", "/v1/chat/completions", answer=answer, **{"json_body": {}, **request})
        return asyncio.get_running_loop().create_task(asking), answer


async def open_site(
    database: Database,
    *,
    public_url: str | None = PUBLIC_URL,
    cors_origins: tuple[str, ...] = (),
    addresses: ClientAddresses | None = None,
    tokens: Callable[[signing_in.Door], Any] | None = None,
    attempts_per_address: int = 100,
) -> Site:
    """Build it."""
    site = Site()
    door = site.door = await open_door(database, attempts_per_address=attempts_per_address)
    site.keys = Keys(database, PEPPER, door.acts, door.clock)
    site.keyring = Keyring(database, PEPPER, door.clock)
    site.directory = Directory(database)
    site.authority = Authority(site.directory, door.clock)
    site.ring = door.ring()
    site.feed = ChangeFeed(database, [site.directory, door.projects, site.ring])
    await site.refresh()
    cookies, browsers = Cookies(public_url), Browsers(public_url, cors_origins)
    own_door = Door(
        sessions=door.sessions,
        ring=site.ring,
        links=door.links,
        by_password=door.by_password,
        cookies=cookies,
        browsers=browsers,
        authority=site.authority,
        clock=door.clock,
    )
    operator = Caller(
        key_id="key_local",
        organisation_id=ORGANISATION,
        project_id="proj_default",
        scopes=frozenset({Scope.INFERENCE, Scope.ADMIN, Scope.OPERATOR}),
        actor_type=ActorType.OPERATOR,
    )
    authentication = Authentication(
        WithLocalKey(site.keyring, LOCAL_KEY, operator),
        sessions=site.ring,
        tokens=None if tokens is None else tokens(door),
        cookies=cookies,
        browsers=browsers,
    )
    site.live_calls = LiveCalls(authentication, site.authority)
    options, own = SignInOptions(database, door.rules), Own(own_door, database)
    admin = AdminSessions(
        door.sessions,
        door.links,
        site.authority,
        idempotency=Idempotency(database, Plain(), door.clock),
        public_url=public_url,
    )
    dialect = Dialect("here")
    groups = (SigningIn(own_door, options), own, Pages(own_door, own, options), admin)
    routes = [settled(route, site.settle) for group in groups for route in group.routes(dialect)]
    site.app = App(
        Router([*routes, *_probes(site, dialect)], dialect, AzureDialect("here")),
        Edge(
            authentication=authentication,
            authority=site.authority,
            live_calls=site.live_calls,
            organisations=OrganisationHeader(door.projects),
            browsers=browsers,
            addresses=addresses or ClientAddresses(),
            on_denied=lambda exchange, route, error: site.denied.append((exchange.caller.key_id, route.path)),
        ),
        body_limit=1_000_000,
        on_response=lambda exchange: None,
    )
    return site


def _probes(site: Site, dialect: Dialect) -> list[Route]:
    """Routes that note who asked: one to read, one to write, and a model call that streams without end."""

    async def note(exchange: Exchange) -> None:
        site.seen.append(exchange)
        await exchange.read_body()
        await exchange.respond(200, json.dumps({"who": exchange.caller.principal_id}).encode())

    async def stream(exchange: Exchange) -> None:
        exchange.deployment = json.loads(await exchange.read_body()).get("model", "")
        await exchange.start_events()
        await exchange.send_events([b"{}"])
        site.is_streaming.set()
        await asyncio.Event().wait()

    return [
        Route(method=method, path=path, action=action, dialect=dialect, handler=handler, summary="x")
        for method, path, action, handler in (
            ("GET", "/v1/models", Action.READ_MODELS, note),
            ("POST", "/admin/v1/users", Action.WRITE_USERS, note),
            ("POST", "/v1/embeddings", Action.CALL_MODEL, note),
            ("POST", "/v1/chat/completions", Action.CALL_MODEL, stream),
        )
    ]


def changed(kind: ChangeKind, *ids: str) -> dict[ChangeKind, frozenset[str]]:
    """What a change feed tells."""
    return {kind: frozenset(ids)}
