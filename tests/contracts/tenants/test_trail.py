"""What changes something is in the audit log, once; no secret is anywhere but where it was handed out."""

import sqlite3
import time

import pytest
from tests.contracts.tenants.asking import CARRIERS

NO_ACTS = {
    "POST /admin/v1/audit/webhooks/{webhook}/test",
    "POST /admin/v1/identity_providers/{identity_provider}/test",
    "POST /admin/v1/providers/{provider}/test",
    "POST /scim/v2/.search",
    "POST /scim/v2/Users/.search",
    "POST /scim/v2/Groups/.search",
}
"""What is sent by POST and changes nothing."""

ELSEWHERE = {
    "DELETE /admin/v1/users/{user}/sessions",
    "DELETE /auth/sessions",
    "DELETE /auth/sessions/{session}",
    "PUT /auth/password",
    "POST /admin/v1/domains/{domain}/verify",
    "POST /scim/v2/Bulk",
    "DELETE /scim/v2/Users/{id}",
    "DELETE /scim/v2/Groups/{id}",
}
"""What ends sessions, those that this test needs or none, asks the DNS, or was made by someone else than SCIM."""

LAST = ("deployments", "providers", "identity_providers", "members", "bindings", "grants", "policies", "roles")
"""Deleted first, in this order, since others stand on the rest."""


@pytest.fixture(scope="module")
def fourth(builder):
    return builder.make("d")


@pytest.fixture
def count_events(installation):
    def count(organisation_id):
        connection = sqlite3.connect(f"file:{installation.home / 'mainstay.db'}?mode=ro", uri=True)
        try:
            rows = connection.execute(
                "SELECT action FROM audit_events WHERE organisation_id = ? AND action <> 'access.denied' "
                "ORDER BY sequence",
                (organisation_id,),
            )
            return [row[0] for row in rows]
        finally:
            connection.close()

    return count


def acts(routes):
    """Every route that changes something, in an order in which all can be done."""
    found = [
        route
        for route in routes
        if route.method != "GET"
        and route.path.startswith(("/admin/v1", "/v1/organization", "/scim/v2", "/auth"))
        and route.action not in {"public", "organisations:create"}
        and str(route) not in NO_ACTS | ELSEWHERE
    ]
    order = {"POST": 0, "PATCH": 1, "PUT": 1, "DELETE": 2}

    def rank(route):
        place = next((at for at, name in enumerate(LAST) if f"/{name}/" in route.path), len(LAST))
        is_person = route.path.endswith(("/users/{user}", "/groups/{group}", "/service_accounts/{service_account}"))
        is_end = route.path.endswith("/archive")  # nothing is done in a project after that
        return 3 if is_end else order[route.method], is_person, place if route.method == "DELETE" else 0

    return sorted(found, key=rank)


def test_every_act_is_in_the_audit_log_exactly_once(site, routes, fourth, count_events):
    done, wrong = 0, []
    for route in acts(routes):
        headers = fourth.headers["scim" if route.path.startswith("/scim") else "cookie"]
        before = count_events(fourth.organisation_id)
        told = site.ask(route.method, route.address(fourth), headers, route.body(fourth))
        written = count_events(fourth.organisation_id)[len(before) :]
        done += told.status < 400
        if len(written) != (told.status < 400) or told.status not in {200, 201, 204, 404, 409}:
            wrong.append((str(route), told.status, told.body, written))
    assert wrong == []
    assert done > 50


def test_the_log_of_every_organisation_verifies(installation, fourth):
    verified = installation.command_json("audit", "verify")
    assert fourth.organisation_id in str(verified)


def test_no_secret_is_anywhere_but_where_it_was_handed_out(installation, site, one, other, operator, routes):
    for route in routes:  # every route fails once more, with secrets where they can be
        for secret in one.secrets[:6]:
            for carry in CARRIERS.values():
                if route.method == "GET":
                    site.ask("GET", route.address(one).partition("?")[0] + "?after=" + secret[:64], carry(secret))
    texts = [site.ask("GET", "/metrics", operator).body]
    for tenant in (one, other):
        exported = site.ask("GET", "/admin/v1/audit/export", tenant.headers["cookie"])
        assert exported.status == 200
        texts.append(exported.body)
    time.sleep(1.5)  # what is written in the background is written by then
    files = [path for path in installation.home.rglob("*") if path.is_file() and "mainstay.toml" not in path.name]
    texts += [path.read_bytes() for path in files]
    assert len(texts) > 8
    for text in texts:
        for secret in [*one.secrets, *other.secrets]:
            assert secret.encode() not in text
