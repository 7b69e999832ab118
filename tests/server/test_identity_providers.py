"""Signing in, and calling with tokens, against a real OpenID provider in another process, over HTTP all the way."""

import ipaddress
import socket
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
from tests.api.site import Plain
from tests.identity_provider.real_provider import running_provider
from tests.platform.identity.trail import actions

from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.app import App
from mainstay.api.dialects import AzureDialect, Dialect
from mainstay.api.routes import Router
from mainstay.api.table import settled
from mainstay.kit.clock import SystemClock
from mainstay.kit.database import Database
from mainstay.kit.http import Outbound
from mainstay.platform.audit.ledger import Ledger
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.authorize import Authority
from mainstay.platform.identity.change_feed import ChangeFeed
from mainstay.platform.identity.directory import Directory
from mainstay.platform.identity.keyring import Keyring
from mainstay.platform.identity.roles import ADMIN
from mainstay.server.administration import Safeguards
from mainstay.server.edge import Ground, build_doors, build_edge, build_sign_in, with_local_key
from mainstay.server.identity_providers import build_provider_doors
from mainstay.server.listener import Listener
from mainstay.settings import Settings

OPERATOR = {"authorization": "Bearer local-key"}
AUDIENCE = "https://cognitiveservices.azure.com"
PERSON = {
    "sub": "person-1",
    "email": "ann@example.com",
    "email_verified": True,
    "name": "Ann",
    "groups": ["builders", "other"],
}


class AheadClock(SystemClock):
    """The machine's clock, whose time to measure with can be put forward."""

    ahead = 0.0

    def monotonic(self) -> float:  # type: ignore[override]
        return time.monotonic() + self.ahead


@dataclass
class Server:
    """A server that listens, and who administers it."""

    url: str
    http: httpx2.AsyncClient
    feed: ChangeFeed
    database: Database
    clock: "AheadClock"

    async def admin(self, method: str, path: str, body: object = None) -> dict:
        answer = await self.http.request(method, f"{self.url}/admin/v1{path}", json=body, headers=OPERATOR)
        assert answer.status_code in (200, 201), answer.text
        await self.feed.refresh()
        return answer.json()

    async def who(self, **headers: str) -> dict:
        answer = await self.http.get(f"{self.url}/auth/session", headers=headers)
        return answer.json() | {"status": answer.status_code}

    async def connect(self, issuer: str, **settings: object) -> tuple[dict, dict]:
        """Set the provider up as an administrator does; return it and the client that it knows Mainstay by."""
        domain = await self.admin("POST", "/domains", {"name": "example.com"})
        await self.admin("POST", f"/domains/{domain['id']}/attest")
        body = {"name": "Panva", "issuer": issuer, "client_id": "unknown", "client_secret": "unknown"}
        provider = await self.admin("POST", "/identity_providers", body | {"is_enabled": False})
        client = await self.register(issuer, redirect_uris=[provider["callback_url"]])
        changes = {"client_id": client["client_id"], "client_secret": client["client_secret"], "is_enabled": True}
        path = f"/identity_providers/{provider['id']}"
        provider = await self.admin("PATCH", path, changes | {"settings": settings})
        report = await self.admin("POST", f"{path}/test")
        assert report["is_ok"], report
        return provider, client

    async def register(self, issuer: str, **metadata: object) -> dict:
        """Register a client at the provider (RFC 7591)."""
        answer = await self.http.post(f"{issuer}/reg", json=metadata, headers={"authorization": "Bearer register"})
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def browse(self, provider: dict, **options: object) -> httpx2.Response:
        """Sign in with a browser that has no cookie yet."""
        self.http.cookies.clear()
        start = f"{self.url}/auth/oidc/{provider['id']}/start?next=/auth/session"
        return await self.http.get(start, **({"follow_redirects": True} | options))


@asynccontextmanager
async def serving(database: Database, tmp_path):
    """Serve sign-in and the administration of identity providers on a free port."""
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    (tmp_path / "mainstay.toml").write_text(f'[server]\npublic_url = "{url}"\n')
    settings = Settings.load(tmp_path, environ={})
    clock = AheadClock()
    acts = Acts(Ledger(clock), clock)
    directory = Directory(database)
    authority = Authority(directory, clock)
    ground = Ground(database=database, clock=clock, acts=acts, authority=authority, pepper=b"p" * 32)
    doors = build_doors(settings, ground)
    sealer = Plain()
    safeguards = Safeguards(
        vault=sealer,
        outbound=Outbound([ipaddress.ip_network("127.0.0.0/8")]),
        idempotency=Idempotency(database, sealer, clock),
    )
    provider_doors = build_provider_doors(settings, ground, doors, safeguards)
    feed = ChangeFeed(database, [directory, *doors.views, *provider_doors.views])
    await feed.refresh()
    keyring = Keyring(database, b"p" * 32, clock)
    edge = build_edge(
        settings, ground, doors, callers=with_local_key(keyring, "local-key"), tokens=provider_doors.tokens
    )
    dialect = Dialect("here")
    groups = (*build_sign_in(ground, doors), *provider_doors.groups)
    routes = [settled(route, feed.refresh) for group in groups for route in group.routes(dialect)]
    provider_doors.tokens.settle = feed.refresh
    app = App(Router(routes, dialect, AzureDialect("here")), edge, body_limit=1 << 20, on_response=lambda _: None)
    listener = Listener(app, listening, header_timeout_seconds=10)
    async with AsyncExitStack() as stack:
        stack.callback(doors.passwords.close)
        await listener.start()
        stack.push_async_callback(listener.stop, 0)
        http = await stack.enter_async_context(httpx2.AsyncClient(timeout=30, trust_env=False))
        yield Server(url, http, feed, database, clock)


@pytest.fixture
async def server(database, tmp_path):
    async with serving(database, tmp_path) as server:
        yield server


@pytest.mark.parametrize(
    ("algorithm", "claims_in"), [("RS256", "userinfo"), ("ES256", "id_token"), ("EdDSA", "id_token")]
)
async def test_a_person_signs_in_with_a_real_provider(server, algorithm, claims_in):
    with running_provider(PERSON, algorithm=algorithm, claims_in=claims_in) as issuer:
        provider, _ = await server.connect(
            issuer,
            scopes=["openid", "email", "profile", "groups"],
            group_claim="groups",
            roles={"builders": "role_builder"},
            creates_users=True,
        )
        arrived = await server.browse(provider)
        assert arrived.status_code == 200
        assert str(arrived.url) == f"{server.url}/auth/session"
        who = arrived.json()
        assert (who["email"], who["name"], who["type"]) == ("ann@example.com", "Ann", "user")
        assert who["credential_id"].startswith("sess_")
        again = (await server.browse(provider)).json()
        assert again["principal_id"] == who["principal_id"]
        assert again["credential_id"] != who["credential_id"]
        await server.feed.refresh()
        assert "deployments:write" in (await server.who())["actions"]
        done = await actions(server.database)
        assert done.count("user.created") == done.count("identity.linked") == 1
        assert done.count("session.created") == 2


async def test_a_code_is_good_once_and_only_for_who_asked_for_it(server):
    with running_provider(PERSON) as issuer:
        provider, _ = await server.connect(issuer, creates_users=True)
        back = await _back(server, provider)
        stranger = httpx2.AsyncClient(timeout=30, trust_env=False)
        async with stranger:
            refused = await stranger.get(back)
        assert refused.status_code == 400
        assert "set-cookie" in refused.headers
        assert "begin again" in refused.text
        assert refused.headers["content-type"].startswith("text/html")
        # The stranger used the state up: the code is now good for nobody.
        assert (await server.http.get(back)).status_code == 400
        fresh = await _back(server, provider)
        parts = dict(parse_qsl(urlsplit(fresh).query))
        assert parts["iss"] == issuer
        assert (await server.http.get(fresh)).status_code == 303
        assert (await server.http.get(fresh)).status_code == 400
        ((sessions,),) = await server.database.fetch("SELECT COUNT(*) FROM sessions")
        assert sessions == 1


async def test_a_stolen_code_is_worth_nothing_without_its_verifier(server):
    with running_provider(PERSON) as issuer:
        provider, client = await server.connect(issuer, creates_users=True)
        code = dict(parse_qsl(urlsplit(await _back(server, provider)).query))["code"]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": provider["callback_url"]}
        answer = await server.http.post(
            f"{issuer}/token",
            data=form | {"code_verifier": "v" * 43},
            auth=(client["client_id"], client["client_secret"]),
        )
        assert answer.status_code == 400
        assert answer.json()["error"] == "invalid_grant"


async def test_tokens_of_people_and_applications_are_credentials(server):
    with running_provider(PERSON) as issuer:
        provider, client = await server.connect(issuer, creates_users=True)
        await server.browse(provider)
        application = await server.register(
            issuer, redirect_uris=[], response_types=[], grant_types=["client_credentials"]
        )
        await _add_service_account(server.database, "sa_batch")
        settings = {
            "creates_users": True,
            "api_tokens": {
                "audiences": [AUDIENCE],
                "service_accounts": {application["client_id"]: "sa_batch"},
                "required": ["chat"],
            },
        }
        await server.admin("PATCH", f"/identity_providers/{provider['id']}", {"settings": settings})
        token = await _application_token(server, issuer, application)
        for carrier in ({"authorization": f"Bearer {token}"}, {"api-key": token}, {"x-api-key": token}):
            server.http.cookies.clear()
            who = await server.who(**carrier)
            assert (who["status"], who["principal_id"], who["type"]) == (200, "sa_batch", "service_account"), who
        for wrong in ({"resource": "https://graph.microsoft.com"}, {"scope": ""}):
            other = await _application_token(server, issuer, application, **wrong)
            assert (await server.who(authorization=f"Bearer {other}"))["status"] == 401
        person = await _person_token(server, issuer, client, provider)
        who = await server.who(authorization=f"Bearer {person}")
        assert (who["status"], who["email"], who["type"]) == (200, "ann@example.com", "user"), who
        assert (await server.who(authorization=f"Bearer {person[:-6]}AAAAAA"))["status"] == 401


async def test_an_outage_of_the_provider_and_its_new_keys_are_survived(server):
    with running_provider(PERSON, algorithm="ES256") as issuer:
        provider, _ = await server.connect(issuer, creates_users=True)
        first = (await server.browse(provider)).json()
        application = await server.register(
            issuer, redirect_uris=[], response_types=[], grant_types=["client_credentials"]
        )
        await _add_service_account(server.database, "sa_batch")
        tokens = {"audiences": [AUDIENCE], "service_accounts": {application["client_id"]: "sa_batch"}}
        path = f"/identity_providers/{provider['id']}"
        await server.admin("PATCH", path, {"settings": {"creates_users": True, "api_tokens": tokens}})
        token = await _application_token(server, issuer, application)
    server.http.cookies.clear()
    assert (await server.who(authorization=f"Bearer {token}"))["status"] == 200  # its keys are remembered
    with running_provider(PERSON, algorithm="ES256", port=urlsplit(issuer).port or 0) as again:
        assert again == issuer
        client = await server.register(issuer, redirect_uris=[provider["callback_url"]])
        changes = {"client_id": client["client_id"], "client_secret": client["client_secret"]}
        await server.admin("PATCH", path, changes)
        server.clock.ahead += 31  # so often are keys asked for
        assert (await server.browse(provider)).json()["principal_id"] == first["principal_id"]
        server.http.cookies.clear()
        assert (await server.who(authorization=f"Bearer {token}"))["status"] == 401  # its key is gone


async def _back(server: Server, provider: dict) -> str:
    """Go through the provider; return where it sends the browser back to, without going there."""
    answer = await server.browse(provider, follow_redirects=False)
    for _ in range(10):
        location = answer.headers["location"]
        if location.startswith(provider["callback_url"]):
            return location
        answer = await server.http.get(httpx2.URL(str(answer.url)).join(location))
    raise AssertionError("the provider did not send the browser back")


async def _application_token(server: Server, issuer: str, client: dict, **more: str) -> str:
    answer = await server.http.post(
        f"{issuer}/token",
        data={"grant_type": "client_credentials", "resource": AUDIENCE, "scope": "chat"} | more,
        auth=(client["client_id"], client["client_secret"]),
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["access_token"]


async def _person_token(server: Server, issuer: str, client: dict, provider: dict) -> str:
    """Sign in at the provider as an application of the person's would, for a token for the API."""
    import base64
    import hashlib

    verifier = "v" * 50
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "response_type": "code",
        "client_id": client["client_id"],
        "redirect_uri": provider["callback_url"],
        "scope": "openid chat",
        "resource": AUDIENCE,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "state": "x",
    }
    answer = await server.http.get(f"{issuer}/auth", params=asked)
    for _ in range(10):
        location = answer.headers["location"]
        if location.startswith(provider["callback_url"]):
            break
        answer = await server.http.get(httpx2.URL(str(answer.url)).join(location))
    code = dict(parse_qsl(urlsplit(location).query))["code"]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": provider["callback_url"]}
    answer = await server.http.post(
        f"{issuer}/token",
        data=form | {"code_verifier": verifier, "resource": AUDIENCE},
        auth=(client["client_id"], client["client_secret"]),
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["access_token"]


async def _add_service_account(database: Database, id_: str) -> None:
    values = {"id": id_, "organisation_id": "org_default", "role": ADMIN.id}
    async with database.transaction() as transaction:
        await transaction.execute(
            "INSERT INTO principals (id, organisation_id, type, name, status, created_at_ms, updated_at_ms, version) "
            "VALUES (:id, :organisation_id, 'service_account', 'Batch', 'active', 1, 1, 1)",
            values,
        )
        await transaction.execute(
            "INSERT INTO service_accounts (principal_id, organisation_id, project_id) "
            "VALUES (:id, :organisation_id, 'proj_default')",
            values,
        )
        await transaction.execute("INSERT INTO changes VALUES (999999, 'principal', :id)", values)
