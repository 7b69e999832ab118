"""`/admin/v1/deployments`: an organisation's own names, beside those that the server declares."""

import pytest
from tests.api.admin.asking import Asking, caller_of
from tests.platform.gateway.stored.conftest import ORGANISATION, OTHER, allowed, gateway

from mainstay.api.admin.deployments import DeploymentRoutes
from mainstay.api.admin.idempotency import Idempotency
from mainstay.kit.clock import SystemClock
from mainstay.platform.gateway import Deployment, Table, Target
from mainstay.platform.metering.prices import Price

__all__ = ["allowed", "gateway"]

ADMIN, STRANGER = caller_of(ORGANISATION), caller_of(OTHER)
PATH = "/admin/v1/deployments"
TARGETS = [{"provider": "acme", "model": "gpt-4.1"}]


@pytest.fixture
async def ask(gateway):
    await gateway.provider()
    targets = (Target("vendor", "m", None, priority=1),)
    declared = Deployment("a/declared", targets, Price(input_per_million=2.0), "From the file")
    gateway.router.replace(Table({"a/declared": declared}, {"gpt-4o": "a/declared", "x": "other"}))
    idempotency = Idempotency(gateway.database, gateway.tables._sealer, SystemClock())
    return Asking([DeploymentRoutes(gateway.deployments, gateway.router, idempotency)])


def body(**members):
    return {"name": "big", "targets": TARGETS} | members


async def test_deployment_goes_through_its_whole_life(ask):
    made = await ask(ADMIN, "POST", PATH, body(prices={"input_per_million": 2.5}))
    assert (made.status, made.headers["etag"]) == (201, '"1"')
    shown = made.json
    assert shown["targets"] == [{"provider": "acme", "model": "gpt-4.1", "weight": 1, "priority": 0}]
    assert (shown["prices"]["currency"], shown["source"], shown["is_enabled"]) == ("USD", "api", True)
    one = f"{PATH}/{shown['id']}"
    assert (await ask(ADMIN, "GET", one)).json == shown
    changed = await ask(ADMIN, "PATCH", one, {"prices": None, "description": "D"}, {"if-match": '"1"'})
    assert (changed.json["prices"], changed.json["description"], changed.json["version"]) == (None, "D", 2)
    assert (await ask(ADMIN, "DELETE", one, None, {"if-match": '"1"'})).status == 412
    assert (await ask(ADMIN, "DELETE", one)).json == {"id": shown["id"], "object": "deployment", "deleted": True}
    assert (await ask(ADMIN, "GET", one)).status == 404


async def test_mistakes_are_told_with_their_place(ask):
    for sent, param in (
        (body(targets=[{"provider": "acme", "model": "m", "wieght": 2}]), "targets[0]"),
        (body(targets=[{"provider": "nobody", "model": "m"}]), "targets[0].provider"),
        (body(name="no spaces"), "name"),
        (body(is_admin=True), None),
    ):
        told = await ask(ADMIN, "POST", PATH, sent)
        assert (told.status, told.json["error"]["param"]) == (400, param)
    one = (await ask(ADMIN, "POST", PATH, body())).json["id"]
    for member in ("name", "id", "organisation_id", "version"):
        assert (await ask(ADMIN, "PATCH", f"{PATH}/{one}", {member: "x"})).status == 400


async def test_strangers_find_nothing_but_what_is_everybodys(ask):
    one = f"{PATH}/{(await ask(ADMIN, 'POST', PATH, body())).json['id']}"
    for method, sent in (("GET", None), ("PATCH", {"is_enabled": False}), ("DELETE", None)):
        assert (await ask(STRANGER, method, one, sent)).status == 404
    assert [one["source"] for one in (await ask(STRANGER, "GET", PATH)).json["data"]] == ["file"]


async def test_what_the_server_declares_is_shown_and_changed_on_the_server(ask):
    (shown,) = (await ask(ADMIN, "GET", PATH)).json["data"]
    assert (shown["id"], shown["source"], shown["aliases"]) == ("file:a/declared", "file", ["gpt-4o"])
    assert shown["targets"] == [{"provider": "vendor", "model": "m", "weight": 1, "priority": 1}]
    assert (shown["prices"]["input_per_million"], shown["description"]) == (2.0, "From the file")
    one = f"{PATH}/file:a%2Fdeclared"
    assert (await ask(ADMIN, "GET", one)).json == shown
    for method, sent in (("PATCH", {"is_enabled": False}), ("DELETE", None)):
        told = await ask(ADMIN, method, one, sent)
        assert (told.status, told.json["error"]["code"]) == (409, "declared_in_file")
        assert "mainstay.toml" in told.message
    assert (await ask(ADMIN, "GET", f"{PATH}/file:other")).status == 404


async def test_declared_deployment_that_an_own_one_hides_says_so(ask, gateway):
    made = await ask(ADMIN, "POST", PATH, body(name="a/declared"))
    assert (made.status, made.json["hides"]) == (201, "file:a/declared")
    await gateway.feed.refresh()
    for caller, hidden in ((ADMIN, [False, True]), (STRANGER, [False])):
        assert [one["is_hidden"] for one in (await ask(caller, "GET", PATH)).json["data"]] == hidden


@pytest.mark.parametrize("limit", [1, 2, 4])
@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_hold_what_is_declared_at_its_place(ask, order, limit):
    for number in range(3):
        assert (await ask(ADMIN, "POST", PATH, body(name=f"d{number}"))).status == 201
    ids, after = [], ""
    while True:
        page = (await ask(ADMIN, "GET", f"{PATH}?limit={limit}&order={order}{after}")).json
        ids += [one["id"] for one in page["data"]]
        if not page["has_more"]:
            break
        after = f"&after={page['last_id'].replace('/', '%2F')}"
    assert ids == sorted(ids, reverse=order == "desc")
    assert len(ids) == len(set(ids)) == 4
    assert [one["name"] for one in (await ask(ADMIN, "GET", f"{PATH}?name=d1")).json["data"]] == ["d1"]
