"""Two organisations, every route, every credential: nobody reaches what is not theirs."""

import pytest
from tests.contracts.tenants.asking import CARRIERS, cookie

GONE = {403, 404}
REFUSED = {401, 403, 404}
NOBODY = {
    "none": {},
    "empty": {"authorization": "Bearer "},
    "unknown key": {"authorization": "Bearer sk-" + "A" * 43},
    "unsigned token": {"authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0."},
    "sql": {"api-key": "sk-' OR 1=1 --"},
}
STRANGERS = ("cookie", "admin", "inference", "scim", "token")


def locked(routes):
    return [route for route in routes if route.action != "public"]


def test_no_route_is_without_an_action(routes):
    assert len(routes) > 150
    assert all(route.action for route in routes)


def test_what_is_public_is_known(routes):
    public = {route.path for route in routes if route.action == "public"}
    served = {path for path in public if not path.startswith(("/v1/", "/openai/"))}
    assert served == {
        "/livez",
        "/readyz",
        "/openapi.json",
        "/auth/options",
        "/auth/password",
        "/auth/link",
        "/auth/sign-out",
        "/auth/sign-in",
        "/auth/sign-in/link",
        "/auth/account",
        "/auth/account/password",
        "/auth/account/sessions",
        "/auth/account/sign-out",
        "/auth/style.css",
        "/",
        "/favicon.ico",
        "/auth/oidc/{provider}/start",
        "/auth/oidc/{provider}/callback",
    }


@pytest.mark.parametrize("credential", ["cookie", "admin"])
def test_owners_read_all_of_their_own(site, routes, one, credential):
    """What shows that the other tests would notice: the same addresses are there for whom they belong to."""
    for route in locked(routes):
        if route.method != "GET" or route.action in {"organisations:create", "scim:provision", "metrics:read"}:
            continue
        if credential == "admin" and route.action.startswith(("self", "identity", "audit:")):
            continue
        if route.path.endswith(("/policies/effective", "/why")):
            continue
        told = site.ask("GET", route.address(one), one.headers[credential])
        assert told.status == 200, (str(route), told.status, told.body)


@pytest.mark.parametrize("credential", [*NOBODY, "unknown cookie"])
def test_nobody_gets_in_without_a_good_credential(site, routes, one, rows_of, credential):
    before = rows_of(one.organisation_id)
    headers = NOBODY.get(credential) or cookie("A" * 86, site.url) if credential != "none" else {}
    for route in locked(routes):
        told = site.ask(route.method, route.address(one), headers, route.body(one))
        assert told.status == 401, (str(route), told.status, told.body)
    assert rows_of(one.organisation_id) == before


@pytest.mark.parametrize("credential", ["revoked", "token for another"])
@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_credential_that_is_no_longer_or_not_meant_for_us_opens_nothing(site, routes, one, credential, carrier):
    secret = one.headers[credential]["authorization"].removeprefix("Bearer ")
    for route in locked(routes):
        told = site.ask(route.method, route.address(one), CARRIERS[carrier](secret), route.body(one))
        assert told.status == 401, (str(route), told.status, told.body)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_key_of_another_network_opens_nothing(site, routes, one, carrier):
    for route in locked(routes):
        headers = CARRIERS[carrier](one.keys["elsewhere"])
        assert site.ask(route.method, route.address(one), headers, route.body(one)).status == 403, str(route)


@pytest.mark.parametrize("credential", STRANGERS)
def test_nobody_reaches_another_organisation(site, routes, one, other, rows_of, credential):
    """Every address of the one, with every credential of the other, and bodies that name the one's things."""
    before = rows_of(one.organisation_id)
    for route in locked(routes):
        told = site.ask(route.method, route.address(one), other.headers[credential], route.body(one))
        text = told.body.decode("utf-8", "replace")
        assert told.status != 500, (str(route), text)
        if not route.is_of_all:
            assert told.status in GONE, (str(route), told.status, text)
        if route.path == "/scim/v2/Bulk" and told.status == 200:
            assert [done["status"] for done in told.json["Operations"]] == ["404"]
        elif told.status < 400:
            assert not [name for name, id_ in one.ids.items() if id_ in text], (str(route), text)
            assert one.canary not in text, (str(route), text)
    assert rows_of(one.organisation_id) == before


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("scope", ["inference", "scim"])
def test_a_key_opens_what_its_scope_opens_however_it_is_sent(site, routes, one, carrier, scope):
    opens = {"inference": {"models:call", "models:read", "self"}, "scim": {"scim:provision"}}[scope]
    for route in locked(routes):
        if route.action in opens or route.method == "DELETE":
            continue
        told = site.ask(route.method, route.address(one), CARRIERS[carrier](one.keys[scope]), route.body(one))
        assert told.status == 403, (str(route), told.status, told.body)


def test_only_the_operator_acts_in_another_organisation(site, one, other, operator):
    inside = {"x-mainstay-organisation": one.organisation_id}
    assert site.ask("GET", "/admin/v1/users", operator | inside).status == 200
    for credential in ("cookie", "admin", "token", "scim"):
        told = site.ask("GET", "/admin/v1/users", other.headers[credential] | inside)
        assert told.status in GONE, (credential, told.status)


def test_a_page_of_another_site_cannot_use_a_cookie(site, routes, one, rows_of):
    before = rows_of(one.organisation_id)
    foreign = cookie("x", "https://evil.example")
    value = one.headers["cookie"]["cookie"]
    for route in locked(routes):
        if route.method == "GET":
            continue
        for headers in (
            foreign | {"cookie": value, "sec-fetch-site": "cross-site"},
            {"cookie": value, "origin": "null"},
            {"cookie": value, "origin": "https://evil.example"},
        ):
            told = site.ask(route.method, route.address(one), headers, route.body(one))
            assert told.status == 403, (str(route), told.status)
    assert rows_of(one.organisation_id) == before


def test_suspending_an_organisation_shuts_it_out_and_nobody_else(site, builder, other, operator):
    third = builder.make("c")
    path = f"/admin/v1/organisations/{third.organisation_id}"
    assert site.ask("PATCH", path, operator, {"status": "suspended"}).status == 200
    for credential in ("cookie", "admin", "inference", "scim", "token"):
        path = "/scim/v2/Users" if credential == "scim" else "/v1/models"
        assert site.ask("GET", path, third.headers[credential]).status in {401, 403}, credential
        assert site.ask("GET", path, other.headers[credential]).status in {200, 403}, credential
