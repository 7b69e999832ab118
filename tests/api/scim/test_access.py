"""Who may provision, and what everyone else is told."""

import subprocess
import sys

import httpx2
import pytest
from tests.api.scim.people import group, made, patch, read, refused, user
from tests.api.scim.serving import client_of, running

from mainstay.platform.identity.caller import Scope
from mainstay.platform.identity.organisations import Tenant

OTHER = Tenant("org_other", "proj_other")


@pytest.fixture
def other(server):
    """The directory of a second organisation."""
    server.execute("INSERT INTO organisations (id, name, created_at_ms) VALUES ('org_other', 'Other', 0)")
    server.execute(
        "INSERT INTO projects (organisation_id, id, name, created_at_ms) VALUES ('org_other', 'proj_other', 'Other', 0)"
    )
    server.reload()
    with client_of(server, server.token(tenant=OTHER), httpx2.Client) as client:
        yield client


def test_nobody_comes_in_without_a_token(server):
    for headers in ({}, {"authorization": "Bearer sk-wrong"}, {"authorization": "Basic c2NpbTpzY2lt"}):
        response = httpx2.get(server.url + "/Users", headers=headers)
        refused(response, 401)
        assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("scope", [Scope.INFERENCE, Scope.ADMIN])
def test_no_other_scope_provisions(server, scope):
    with client_of(server, server.token(scope), httpx2.Client) as client:
        for method, path in (
            ("GET", "/Users"),
            ("POST", "/Users"),
            ("PATCH", "/Users/x"),
            ("POST", "/Bulk"),
            ("POST", "/.search"),
            ("GET", "/ServiceProviderConfig"),
        ):
            refused(client.request(method, path), 403)
    assert server.fetch("SELECT count(*) FROM users") == [(0,)]


def test_a_revoked_token_is_refused(server, http):
    made(http, "/Users", user())
    server.execute("UPDATE api_keys SET revoked_at_ms = 1, revision = 1000000")
    server.execute("UPDATE revisions SET value = 1000000 WHERE name = 'api_keys'")
    server.do(server.keyring.refresh())
    refused(http.get("/Users"), 401)


def test_another_organisations_users_and_groups_do_not_exist(http, other):
    theirs = made(other, "/Users", user())
    their_group = made(other, "/Groups", group("Theirs", theirs["id"]))
    for path, body in ((f"/Users/{theirs['id']}", user()), (f"/Groups/{their_group['id']}", group())):
        refused(http.get(path), 404)
        refused(http.put(path, json=body), 404)
        refused(http.patch(path, json=patch({"op": "replace", "path": "displayName", "value": "x"})), 404)
        refused(http.delete(path), 404)
    assert read(http, "/Users")["totalResults"] == 0
    assert read(http, "/Groups")["totalResults"] == 0
    assert http.post("/.search", json={}).json()["totalResults"] == 0
    assert read(http, f'/Users?filter=id eq "{theirs["id"]}"')["Resources"] == []
    refused(http.post("/Groups", json=group("Ours", theirs["id"])), 400, "invalidValue")
    assert read(other, f"/Users/{theirs['id']}")["groups"][0]["value"] == their_group["id"]


def test_the_same_name_may_be_in_two_organisations(http, other):
    assert made(http, "/Users", user())["id"] != made(other, "/Users", user())["id"]


def test_a_token_acts_in_no_other_organisation(http, other):
    refused(http.get("/Users", headers={"x-mainstay-organisation": "org_other"}), 403)


def test_an_unknown_address_is_answered_as_scim(http):
    assert "/scim/v2/Nothing" in refused(http.get("/Nothing"), 404)
    refused(http.delete("/Users"), 405)


WRONG_BODIES = [
    (b"", 400, "invalidSyntax"),
    (b"{", 400, "invalidSyntax"),
    (b"[]", 400, "invalidSyntax"),
    (b'"text"', 400, "invalidSyntax"),
    (b'{"userName": "\xff"}', 400, "invalidSyntax"),
    (b'{"userName": "\\ud800"}', 400, "invalidSyntax"),
    (b"[" * 100_000, 400, "invalidSyntax"),
    (b'{"userName":' * 5000, 400, "invalidSyntax"),
    (b'{"schemas": ["urn:x"], "userName": "x"}', 400, "invalidValue"),
    (b'{"userName": "' + b"x" * (9 * 1024 * 1024) + b'"}', 413, None),
]


def test_a_body_that_cannot_be_used_is_refused(http):
    headers = {"content-type": "application/scim+json"}
    for body, status, scim_type in WRONG_BODIES:
        refused(http.post("/Users", content=body, headers=headers), status, scim_type, case=body[:100])


def test_a_body_of_another_type_is_refused(http):
    refused(http.post("/Users", content=b"userName=x", headers={"content-type": "text/plain"}), 415)


def test_every_act_is_audited_as_the_directorys(server, http):
    made(http, "/Users", user(password="correct horse battery staple"))
    rows = server.fetch("SELECT action, body FROM audit_events WHERE action LIKE 'scim.%'")
    assert [action for action, _ in rows] == ["scim.user_created"]
    assert '"type":"directory"' in rows[0][1]
    assert "correct horse" not in str(rows) + str(server.fetch("SELECT * FROM users"))


def test_what_cannot_be_audited_is_not_done(server, http):
    there = made(http, "/Users", user("there"))
    server.execute("ALTER TABLE audit_events RENAME TO audit_events_gone")
    refused(http.post("/Users", json=user()), 503)
    refused(http.post("/Groups", json=group("Engineering", there["id"])), 503)
    change = patch({"op": "replace", "path": "active", "value": False})
    refused(http.patch(f"/Users/{there['id']}", json=change), 503)
    refused(http.delete(f"/Users/{there['id']}"), 503)
    refused(http.post("/Bulk", json={"Operations": [{"method": "DELETE", "path": f"/Users/{there['id']}"}]}), 503)
    assert read(http, f"/Users/{there['id']}") == there
    assert read(http, "/Users")["totalResults"] == 1
    assert read(http, "/Groups")["totalResults"] == 0


def test_a_server_that_nobody_provisions_does_not_load_what_scim_needs():
    code = (
        "import sys, mainstay.server.composition\n"
        "print(sorted({'scim2_models', 'pydantic', 'lark'} & {name.partition('.')[0] for name in sys.modules}))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed == "[]\n"


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_resources_are_where_the_operator_says_that_the_server_is(database_url):
    with (
        running(database_url, public_url="https://ai.example.com/") as server,
        client_of(server, server.token(), httpx2.Client) as http,
    ):
        sent = http.post("/Users", json=user(), headers={"host": "thief.example"})
        assert sent.headers["location"] == f"https://ai.example.com/scim/v2/Users/{sent.json()['id']}"
        assert read(http, "/Schemas")["Resources"][0]["meta"]["location"].startswith("https://ai.example.com/scim/v2/")


def test_a_host_that_is_none_is_in_no_address(http):
    for host in ('x"><script>', "user@x", "x/../y", "", "x:port"):
        sent = http.post("/Users", json=user(host or "none"), headers={"host": host})
        assert sent.headers["location"] == f"/scim/v2/Users/{sent.json()['id']}", host
