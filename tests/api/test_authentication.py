"""Who is asking: every carrier, mixed ones, forged ones, restrictions that hold for all, the operator's reach."""

import pytest
from tests.api.site import LOCAL_KEY, OWN_PAGE, Site, open_site
from tests.platform.identity.signing_in import HERE, ORGANISATION

from mainstay.kit.database import Database
from mainstay.kit.errors import UnauthenticatedError
from mainstay.platform.audit.events import SYSTEM, ActorType
from mainstay.platform.identity.caller import Caller, Scope
from mainstay.platform.identity.organisations import Tenant


@pytest.fixture
async def site(database: Database) -> Site:
    return await open_site(database)


CARRIERS = {
    "bearer": lambda key: {"authorization": f"Bearer {key}"},
    "bearer in capitals": lambda key: {"authorization": f"BEARER {key}"},
    "api-key": lambda key: {"api-key": key},
    "x-api-key": lambda key: {"x-api-key": key},
}


def bare(header: dict[str, str]) -> str:
    return header["authorization"].removeprefix("Bearer ")


# Keys


FORGED = ("", "sk-" + "A" * 43, "eyJ.a.b", "eyJhbGciOiJub25lIn0.e30.", "x" * 60_000, "\xff\xfe")


async def test_a_forged_key_is_401_in_every_carrier(site: Site):
    for forged in FORGED:
        for carry in CARRIERS.values():
            answer = await site.ask("GET", "/v1/models", headers=carry(forged))
            assert answer.status == 401
            assert len(forged) < 5 or forged not in answer.text


async def test_a_key_is_not_taken_from_the_query_nor_a_cookie(site: Site):
    key = bare(await site.key())
    for target, cookie in (
        (f"/v1/models?api-key={key}&access_token={key}", ""),
        ("/v1/models", f"__Host-mainstay={key}"),
    ):
        assert (await site.ask("GET", target, cookie=cookie)).status == 401


async def test_networks_of_a_key_hold_in_every_carrier(site: Site):
    key = bare(await site.key(networks=["203.0.113.0/28", "2001:db8::/32"]))
    for carry in CARRIERS.values():
        for peer in ("203.0.113.9", "::ffff:203.0.113.9", "2001:db8::1"):
            assert (await site.ask("GET", "/v1/models", headers=carry(key), peer=peer)).status == 200, peer
        for peer in ("203.0.113.16", "198.51.100.1", "::1", "", "unix"):
            headers = carry(key) | {"x-forwarded-for": "203.0.113.9"}
            answer = await site.ask("GET", "/v1/models", headers=headers, peer=peer)
            assert (answer.status, answer.json["error"]["code"]) == (403, "address_not_allowed"), peer
    assert len(site.denied) == 20


async def test_one_good_key_of_two_is_enough(site: Site):
    headers = await site.key() | {"api-key": "wrong"}
    assert (await site.ask("GET", "/v1/models", headers=headers)).status == 200


async def test_the_organisations_of_keys_are_their_own(site: Site):
    headers = await site.key(scopes=["admin"])
    await site.door.add_organisation("org_b")
    answer = await site.ask("GET", "/v1/models", headers=headers | {"x-mainstay-organisation": "org_b"})
    assert answer.status == 403
    assert (
        await site.ask("GET", "/v1/models", headers=headers | {"x-mainstay-organisation": ORGANISATION})
    ).status == 200


# The operator


async def test_the_operator_acts_in_the_organisation_that_he_names(site: Site):
    await site.door.add_organisation("org_b")
    headers = {"authorization": f"Bearer {LOCAL_KEY}"}
    for name, expected in ((None, (ORGANISATION, "proj_default")), ("org_b", ("org_b", "proj_of_org_b"))):
        named = {} if name is None else {"x-mainstay-organisation": name}
        assert (await site.ask("POST", "/admin/v1/users", headers=headers | named, json_body={})).status == 200
        caller = site.seen[-1].caller
        assert (caller.organisation_id, caller.project_id) == expected


async def test_an_organisation_that_is_not_there_is_404(site: Site):
    for name in ("org_none", "", "org_b' OR 1=1", "x" * 5000):
        headers = {"authorization": f"Bearer {LOCAL_KEY}", "x-mainstay-organisation": name}
        assert (await site.ask("GET", "/v1/models", headers=headers)).status == 404


# Sessions


async def test_a_session_is_its_owner_within_his_rights(site: Site):
    who = await site.user()
    cookie = await site.session(who)
    answer = await site.ask("GET", "/v1/models", cookie=cookie)
    assert (answer.status, answer.json) == (200, {"who": who})
    assert (await site.ask("POST", "/admin/v1/users", cookie=cookie, headers=OWN_PAGE, json_body={})).status == 403
    await site.bind(who, "role_admin")
    assert (await site.ask("POST", "/admin/v1/users", cookie=cookie, headers=OWN_PAGE, json_body={})).status == 200


async def test_a_header_goes_before_the_cookie_even_when_it_is_wrong(site: Site):
    cookie = await site.session(await site.user())
    assert (await site.ask("GET", "/v1/models", cookie=cookie, headers={"api-key": "wrong"})).status == 401
    key = await site.key()
    assert (await site.ask("GET", "/v1/models", cookie=cookie, headers=key)).json == {"who": None}


SPOILED = (
    lambda cookie: cookie.replace("__Host-", ""),
    lambda cookie: cookie + "; " + cookie,
    lambda cookie: cookie[:-1],
    lambda cookie: cookie + "x",
    lambda cookie: cookie.upper(),
    lambda cookie: cookie.partition("=")[2],
    lambda cookie: "__Host-mainstay=",
    lambda cookie: ";;;=;" * 1000,
)


async def test_a_spoiled_cookie_is_401(site: Site):
    cookie = await site.session(await site.user())
    for spoil in SPOILED:
        assert (await site.ask("GET", "/v1/models", cookie=spoil(cookie))).status == 401
    assert (await site.ask("GET", "/v1/models", cookie=f"theme=dark; {cookie}; other=1")).status == 200


async def test_a_session_that_began_at_another_worker_is_known_at_once(site: Site):
    who = await site.user()
    secret, _ = await site.door.links.create(SYSTEM, ORGANISATION, who)
    begun = await site.door.links.use(secret, origin=HERE)
    assert (await site.ask("GET", "/v1/models", cookie=f"__Host-mainstay={begun.secret}")).json == {"who": who}


async def test_a_deactivated_users_session_and_key_open_nothing(site: Site):
    who = await site.user()
    cookie, key = await site.session(who), await site.key(principal_id=who)
    await site.door.set_status(who, "deactivated")
    await site.directory.reload()
    assert (await site.ask("GET", "/v1/models", cookie=cookie)).status in {401, 403}
    assert (await site.ask("GET", "/v1/models", headers=key)).status in {401, 403}


# Tokens of identity providers


class Tokens:
    """Knows one token, after having looked at it once."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._known: set[bytes] = set()
        self.hints: list[str | None] = []
        self.is_taken = True

    def is_current(self, caller: Caller) -> bool:
        return self.is_taken

    def find(self, secret: bytes) -> Caller | None:
        return self._caller() if secret in self._known else None

    async def verify(self, secret: bytes, organisation_id: str | None = None) -> Caller:
        self.hints.append(organisation_id)
        if secret != b"eyJ.good.token":
            raise UnauthenticatedError("This token is not good.")
        self._known.add(secret)
        return self._caller()

    def _caller(self) -> Caller:
        return Caller(
            key_id="token_1",
            organisation_id=ORGANISATION,
            project_id="proj_default",
            scopes=frozenset({Scope.INFERENCE}),
            principal_id=self._who,
            actor_type=ActorType.USER,
        )


async def test_a_token_is_verified_once_and_found_from_then_on(database: Database):
    tokens = Tokens("user_ann_org_default")
    site = await open_site(database, tokens=lambda door: tokens)
    who = await site.user()
    for carry in CARRIERS.values():
        headers = carry("eyJ.good.token") | {"x-mainstay-organisation": ORGANISATION}
        assert (await site.ask("GET", "/v1/models", headers=headers)).json == {"who": who}
    assert tokens.hints == [ORGANISATION]
    for carry in CARRIERS.values():
        answer = await site.ask("GET", "/v1/models", headers=carry("eyJ.bad.token"))
        assert (answer.status, answer.json["error"]["message"]) == (401, "This token is not good.")
        assert (await site.ask("GET", "/v1/models", headers=carry("sk-not.a.token"))).status == 401
    assert len(tokens.hints) == 1 + len(CARRIERS)


# Who is asking


async def test_one_may_ask_who_one_is_with_any_credential(site: Site):
    await site.door.add_organisation("org_b")
    who = await site.user()
    answer = await site.ask("GET", "/auth/session", cookie=await site.session(who))
    told = answer.json
    assert (told["type"], told["principal_id"], told["email"]) == ("user", who, "ann@example.com")
    assert "models:call" in told["actions"]
    assert "users:write" not in told["actions"]
    told = (await site.ask("GET", "/auth/session", headers=await site.key())).json
    assert (told["type"], told["principal_id"], told["organisation_id"]) == ("key", None, ORGANISATION)
    other = await site.key(Tenant("org_b", "proj_of_org_b"))
    assert (await site.ask("GET", "/auth/session", headers=other)).json["organisation_id"] == "org_b"
    assert (await site.ask("GET", "/auth/session")).status == 401
