"""`/admin/v1/providers`: no answer holds a credential, nobody reads another's, and the file has the last word."""

import msgspec
import pytest
from tests.api.admin.asking import Asking, caller_of
from tests.platform.gateway.stored.conftest import CANARY, ORGANISATION, OTHER, PUBLIC_URL, allowed, gateway

from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.admin.providers import ProviderRoutes
from mainstay.kit.clock import SystemClock
from mainstay.platform.gateway import Provider, ProviderKind, Table, open_pools
from mainstay.platform.identity.organisations import DEFAULT_ORGANISATION_ID
from mainstay.testing.vendor import Vendor

__all__ = ["allowed", "gateway"]

ADMIN, STRANGER, INSTALLER = caller_of(ORGANISATION), caller_of(OTHER), caller_of(DEFAULT_ORGANISATION_ID)
PATH = "/admin/v1/providers"
FILE_KEY = "sk-canary-of-the-file-0123456789"


@pytest.fixture
async def vendor():
    async with Vendor(api_key=CANARY) as vendor:
        yield vendor


@pytest.fixture
def ask(gateway):
    idempotency = Idempotency(gateway.database, gateway.tables._sealer, SystemClock())
    return Asking([ProviderRoutes(gateway.providers, gateway.router, gateway.tables._outbound, idempotency)])


@pytest.fixture
async def declared(gateway, vendor):
    provider = Provider("a/declared", ProviderKind.OPENAI, vendor.url, api_key=CANARY, headers=(("x-key", FILE_KEY),))
    pools = open_pools([provider], kept={})
    gateway.router.replace(Table(pools=pools))
    yield provider
    await pools[provider].aclose()


def body(**members):
    return {"name": "acme", "kind": "openai", "base_url": PUBLIC_URL, "api_key": CANARY} | members


async def test_provider_goes_through_its_whole_life(ask):
    made = await ask(ADMIN, "POST", PATH, body(headers={"x-gateway": CANARY}))
    assert (made.status, made.headers["etag"]) == (201, '"1"')
    shown = made.json
    assert shown["object"] == "provider"
    assert (shown["has_api_key"], shown["headers"], shown["source"]) == (True, ["x-gateway"], "api")
    one = f"{PATH}/{shown['id']}"
    assert (await ask(ADMIN, "GET", one)).json == shown
    changed = await ask(ADMIN, "PATCH", one, {"is_enabled": False, "headers": {}}, {"if-match": '"1"'})
    assert (changed.json["is_enabled"], changed.json["headers"], changed.json["version"]) == (False, [], 2)
    assert (await ask(ADMIN, "PATCH", one, {"is_enabled": True}, {"if-match": '"1"'})).status == 412
    assert (await ask(ADMIN, "DELETE", one)).json == {"id": shown["id"], "object": "provider", "deleted": True}
    assert (await ask(ADMIN, "GET", one)).status == 404


async def test_no_answer_holds_a_credential(ask, declared):
    told = [await ask(ADMIN, "POST", PATH, body(headers={"x": CANARY}))]
    one = f"{PATH}/{told[0].json['id']}"
    told += [await ask(ADMIN, "GET", one), await ask(ADMIN, "GET", PATH), await ask(INSTALLER, "GET", PATH)]
    told += [await ask(ADMIN, "POST", PATH, body(headers={"x": CANARY}))]  # the name is taken
    told += [
        await ask(ADMIN, "PATCH", one, {"api_key": CANARY + "\n"}),
        await ask(ADMIN, "POST", PATH, body(nmae=CANARY)),
    ]
    told += [await ask(ADMIN, "PATCH", one, {"api_key": CANARY + "é"}), await ask(ADMIN, "PATCH", one, {"api_key": 1})]
    told += [await ask(ADMIN, "POST", PATH, body(name="b", base_url=f"https://u:{CANARY}@h/"))]
    assert [one.status for one in told] == [201, 200, 200, 200, 409, 400, 400, 400, 400, 400]
    for one in told:
        assert CANARY.encode() not in one.body
        assert FILE_KEY.encode() not in one.body


@pytest.mark.parametrize("member", ["id", "organisation_id", "version", "source", "has_api_key", "created_at"])
async def test_members_that_are_not_the_callers_to_set_are_refused(ask, member):
    assert (await ask(ADMIN, "POST", PATH, body(**{member: "x"}))).status == 400
    provider = (await ask(ADMIN, "POST", PATH, body())).json
    assert (await ask(ADMIN, "PATCH", f"{PATH}/{provider['id']}", {member: "x"})).status == 400


async def test_strangers_find_nothing(ask):
    one = f"{PATH}/{(await ask(ADMIN, 'POST', PATH, body())).json['id']}"
    for method, path, sent in (
        ("GET", one, None),
        ("PATCH", one, {"is_enabled": False}),
        ("DELETE", one, None),
        ("POST", one + "/test", None),
    ):
        assert (await ask(STRANGER, method, path, sent)).status == 404
    assert (await ask(STRANGER, "GET", PATH)).json["data"] == []


async def test_what_the_file_declares_is_shown_to_its_organisation_and_changed_in_the_file(ask, declared):
    (shown,) = (await ask(INSTALLER, "GET", PATH)).json["data"]
    assert (shown["id"], shown["source"], shown["headers"]) == ("file:a/declared", "file", ["x-key"])
    one = f"{PATH}/file:a%2Fdeclared"
    assert (await ask(INSTALLER, "GET", one)).json == shown
    for method, sent in (("PATCH", {"is_enabled": False}), ("DELETE", None)):
        told = await ask(INSTALLER, method, one, sent)
        assert (told.status, told.json["error"]["code"]) == (409, "declared_in_file")
        assert "mainstay.toml" in told.message
    for caller, path in ((ADMIN, one), (INSTALLER, f"{PATH}/file:other")):
        for method in ("GET", "PATCH", "DELETE"):
            assert (await ask(caller, method, path, {})).status == 404
    assert (await ask(ADMIN, "GET", PATH)).json["data"] == []


@pytest.mark.parametrize("limit", [1, 2, 4])
@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_hold_what_is_declared_at_its_place(ask, declared, order, limit):
    for number in range(3):
        assert (await ask(INSTALLER, "POST", PATH, body(name=f"p{number}"))).status == 201
    names, after = [], ""
    while True:
        page = (await ask(INSTALLER, "GET", f"{PATH}?limit={limit}&order={order}{after}")).json
        names += [one["name"] for one in page["data"]]
        if not page["has_more"]:
            break
        after = f"&after={page['last_id'].replace('/', '%2F')}"
    assert names == sorted(names, reverse=order == "desc")
    assert len(names) == 4
    assert [one["name"] for one in (await ask(INSTALLER, "GET", f"{PATH}?name=p1")).json["data"]] == ["p1"]


async def test_request_with_an_idempotency_key_makes_one_provider(ask):
    key = {"idempotency-key": "once"}
    first = await ask(ADMIN, "POST", PATH, body(), key)
    again = await ask(ADMIN, "POST", PATH, body(), key)
    assert (again.status, again.body) == (first.status, first.body)
    assert len((await ask(ADMIN, "GET", PATH)).json["data"]) == 1


async def test_test_tells_of_a_provider_that_answers(ask, declared, vendor):
    one = (await ask(ADMIN, "POST", PATH, body(base_url=vendor.url))).json["id"]
    for caller, id_ in ((ADMIN, one), (INSTALLER, "file:a%2Fdeclared")):
        told = (await ask(caller, "POST", f"{PATH}/{id_}/test")).json
        assert (told["is_ok"], told["status"], told["models"], told["error"]) == (True, 200, 1, None)
    azure = body(name="azure", kind="azure", base_url=vendor.root_url, api_version="2024-10-21")
    one = (await ask(ADMIN, "POST", PATH, azure)).json["id"]
    assert (await ask(ADMIN, "POST", f"{PATH}/{one}/test")).json["is_ok"]
    assert vendor.requests[-1].path == "/openai/models?api-version=2024-10-21"


@pytest.mark.parametrize(
    ("members", "failure"),
    [
        ({"api_key": "sk-wrong-0123456789abc"}, "credentials_refused"),
        ({"base_url": "http://127.0.0.1:1/v1"}, "connect_refused"),
        ({"base_url": "http://nobody.example/v1"}, "dns"),
    ],
)
async def test_test_tells_of_a_provider_that_does_not(ask, vendor, members, failure):
    one = (await ask(ADMIN, "POST", PATH, body(base_url=vendor.url) | members)).json["id"]
    told = await ask(ADMIN, "POST", f"{PATH}/{one}/test")
    assert (told.status, told.json["is_ok"], told.json["failure"]) == (200, False, failure)
    assert told.json["error"]
    assert b"sk-wrong" not in told.body


@pytest.mark.parametrize("allowed", [()])
async def test_test_button_opens_no_way_inside(ask, gateway, vendor, allowed):
    gateway.names["rebind.example"] = ["93.184.216.34", "127.0.0.1"]
    sent = body(base_url=f"http://rebind.example:{vendor.port}/v1")
    one = (await ask(ADMIN, "POST", PATH, sent)).json["id"]
    told = (await ask(ADMIN, "POST", f"{PATH}/{one}/test")).json
    assert (told["is_ok"], told["failure"]) == (False, "forbidden_address")
    told = await ask(ADMIN, "POST", PATH, body(name="b", base_url=vendor.url))
    assert (told.status, told.json["error"]["code"]) == (400, "forbidden_address")
    assert vendor.accepted_connections == 0


async def test_routes_declare_what_they_take_and_return(ask):
    for route in ask.routes:
        assert route.action.value.startswith("providers:")
        assert route.response is not None
        assert msgspec.json.schema(route.response)
        if route.method in ("POST", "PATCH") and not route.path.endswith("/test"):
            assert msgspec.json.schema(route.request)["$defs"]
