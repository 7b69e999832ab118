"""Roles, bindings, grants, policies and why, over HTTP: nobody gets above himself, tenants stay apart."""

from typing import Any

import pytest
from tests.api.admin.office import HERE, OPERATOR, PROJECT, Office

from mainstay.api.admin.grants import GrantRoutes
from mainstay.api.admin.policies import PolicyRoutes
from mainstay.api.admin.roles import RoleRoutes
from mainstay.api.admin.why import WhyRoutes
from mainstay.api.routes import RouteGroup
from mainstay.kit.database import Database
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.identity.explain import Explainer
from mainstay.platform.identity.grants import Grants
from mainstay.platform.identity.policies import POLICIES
from mainstay.platform.identity.policy_store import PolicyStore
from mainstay.platform.identity.projects import NewProject
from mainstay.platform.identity.roles import BUILT_IN
from mainstay.platform.identity.subjects import Subjects

DEPLOYMENTS = ("gpt", "llama")
ROLES, BINDINGS, GRANTS = "/admin/v1/roles", "/admin/v1/bindings", "/admin/v1/grants"
POLICIES_PATH, WHY = "/admin/v1/policies", "/admin/v1/why"


def _routes(office: Office) -> list[RouteGroup]:
    database, acts, clock = office.database, office.acts, office.clock
    authority, idempotency = office.authority, office.idempotency
    return [
        RoleRoutes(office.roles, authority, idempotency),
        GrantRoutes(Grants(database, acts, clock), authority, idempotency, lambda organisation: DEPLOYMENTS),
        PolicyRoutes(PolicyStore(database, acts, clock), authority, idempotency),
        WhyRoutes(Explainer(authority, clock), Subjects(database, office.directory), lambda organisation: DEPLOYMENTS),
    ]


@pytest.fixture
async def office(database: Database) -> Office:
    office = Office(database, more_routes=_routes)
    await office.refresh()
    return office


async def _made(office: Office, path: str, who: str = OPERATOR, **body: Any) -> dict[str, Any]:
    response = await office.ask(who, "POST", path, json=body)
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.json()
    assert response.headers["etag"] == f'"{found["version"]}"'
    return found


async def _status(office: Office, who: str, method: str, path: str, **more: Any) -> int:
    return (await office.ask(who, method, path, **more)).status_code


# Nobody gets above himself.


async def test_admin_makes_no_role_of_what_he_may_not_do(office: Office) -> None:
    await office.person("amy", "role_admin")
    for action in ("identity_providers:write", "content:read", "audit:export", "audit:configure"):
        body = {"name": action, "actions": ["users:read", action]}
        response = await office.ask("amy", "POST", ROLES, json=body)
        assert response.status_code == 403
        assert action in response.json()["error"]["message"]
    role = await _made(office, ROLES, "amy", name="Desk", actions=["users:read"])
    response = await office.ask("amy", "PATCH", f"{ROLES}/{role['id']}", json={"actions": ["audit:export"]})
    assert response.status_code == 403
    assert (await office.ask("amy", "GET", f"{ROLES}/{role['id']}")).json()["actions"] == ["users:read"]


@pytest.mark.parametrize("role", ["role_owner", "role_security_admin", "role_compliance_officer"])
async def test_admin_binds_no_role_above_his_own_to_anyone_himself_included(office: Office, role: str) -> None:
    amy = await office.person("amy", "role_admin")
    bob = await office.person("bob", "role_member")
    for who in (amy.id, bob.id):
        for path in (BINDINGS, f"/admin/v1/projects/{PROJECT}/bindings"):
            assert await _status(office, "amy", "POST", path, json={"principal_id": who, "role_id": role}) == 403
    bindings = (await office.ask("amy", "GET", BINDINGS)).json()["data"]
    assert {one["role_id"] for one in bindings} == {"role_admin", "role_member"}


async def test_only_owners_make_and_unmake_owners(office: Office) -> None:
    olga = await office.person("olga", "role_owner")
    bob = await office.person("bob", "role_admin")
    second = await _made(office, BINDINGS, "olga", principal_id=bob.id, role_id="role_owner")
    await office.person("amy", "role_admin")
    (first,) = (await office.ask("olga", "GET", f"{BINDINGS}?principal={olga.id}")).json()["data"]
    for binding in (first, second):
        path = f"{BINDINGS}/{binding['id']}"
        assert await _status(office, "amy", "DELETE", path) == 403
        assert await _status(office, "amy", "PATCH", path, json={"expires_at": 1_900_000_000}) == 403
    assert await _status(office, "bob", "DELETE", f"{BINDINGS}/{first['id']}") == 200
    response = await office.ask("bob", "DELETE", f"{BINDINGS}/{second['id']}")
    assert (response.status_code, response.json()["error"]["code"]) == (409, "last_owner")


async def test_admin_of_one_project_gives_roles_there_and_nowhere_else(office: Office) -> None:
    other = await office.projects.create(SYSTEM, HERE, NewProject(name="Other"))
    await office.person("pia", "role_admin", project_id=other.id)
    bob = await office.person("bob", None)
    there = f"/admin/v1/projects/{other.id}/bindings"
    binding = await _made(office, there, "pia", principal_id=bob.id, role_id="role_member")
    assert binding["project_id"] == other.id
    wanted = {"principal_id": bob.id, "role_id": "role_member"}
    for path in (BINDINGS, f"/admin/v1/projects/{PROJECT}/bindings"):
        assert await _status(office, "pia", "POST", path, json=wanted) == 403
        assert await _status(office, "pia", "GET", path) == 403
    assert await _status(office, "pia", "POST", there, json=wanted | {"project_id": PROJECT}) == 400
    here = await _made(office, BINDINGS, principal_id=bob.id, role_id="role_member")
    for method in ("GET", "DELETE"):
        assert await _status(office, "pia", method, f"{there}/{here['id']}") == 404
    assert await _status(office, "pia", "DELETE", f"{there}/{binding['id']}") == 200


async def test_owner_of_a_resource_shares_it_without_being_an_administrator(office: Office) -> None:
    mia = await office.person("mia", "role_member")
    bob = await office.person("bob", "role_guest")
    gpt = {"resource_type": "deployment", "resource_id": "gpt"}
    await _made(office, GRANTS, **gpt, principal_id=mia.id, level="owner")
    shared = await _made(office, GRANTS, "mia", **gpt, principal_id=bob.id, level="viewer")
    assert await _status(office, "mia", "GET", f"{GRANTS}?resource_type=deployment&resource_id=gpt") == 200
    assert await _status(office, "mia", "GET", GRANTS) == 403
    assert await _status(office, "mia", "GET", f"{GRANTS}?resource_type=deployment&resource_id=llama") == 403
    llama = {"resource_type": "deployment", "resource_id": "llama", "principal_id": bob.id, "level": "viewer"}
    assert await _status(office, "mia", "POST", GRANTS, json=llama) == 403
    elsewhere = await _made(office, GRANTS, **llama)
    for method in ("GET", "DELETE"):
        assert await _status(office, "mia", method, f"{GRANTS}/{elsewhere['id']}") == 403
        assert await _status(office, "bob", method, f"{GRANTS}/{shared['id']}") == 403
    changed = await office.ask("mia", "PATCH", f"{GRANTS}/{shared['id']}", json={"level": "owner"})
    assert (changed.status_code, changed.json()["level"]) == (200, "owner")
    assert await _status(office, "mia", "DELETE", f"{GRANTS}/{shared['id']}") == 200


async def test_editor_shares_nothing(office: Office) -> None:
    eda = await office.person("eda", "role_member")
    gpt = {"resource_type": "deployment", "resource_id": "gpt"}
    await _made(office, GRANTS, **gpt, principal_id=eda.id, level="editor")
    wanted = gpt | {"principal_id": "everyone", "level": "viewer"}
    assert await _status(office, "eda", "POST", GRANTS, json=wanted) == 403


async def test_member_may_do_none_of_it(office: Office) -> None:
    await office.person("mia", "role_member")
    for path in (ROLES, BINDINGS, GRANTS, POLICIES_PATH, f"{POLICIES_PATH}/known", f"{POLICIES_PATH}/effective", WHY):
        assert await _status(office, "mia", "GET", path) == 403
    for path in (ROLES, BINDINGS, GRANTS, POLICIES_PATH):
        assert await _status(office, "mia", "POST", path, json={}) == 403


# Tenants stay apart.


async def test_other_tenants_things_do_not_exist(office: Office) -> None:
    mia = await office.person("mia", "role_member")
    role = await _made(office, ROLES, name="Desk", actions=["users:read"])
    binding = await _made(office, BINDINGS, principal_id=mia.id, role_id=role["id"])
    grant = await _made(
        office, GRANTS, resource_type="project", resource_id=PROJECT, principal_id=mia.id, level="viewer"
    )
    place = {"scope_type": "user", "scope_id": mia.id, "key": "keys.personal_allowed", "value": False}
    policy = await _made(office, POLICIES_PATH, **place)
    theirs = await office.other_organisation()
    changes = {
        f"{ROLES}/{role['id']}": {"name": "x"},
        f"{BINDINGS}/{binding['id']}": {"expires_at": None},
        f"{GRANTS}/{grant['id']}": {"level": "owner"},
        f"{POLICIES_PATH}/{policy['id']}": {"value": True},
    }
    for path, change in changes.items():
        assert await _status(office, "eve", "GET", path) == 404
        assert await _status(office, "eve", "PATCH", path, json=change) == 404
        assert await _status(office, "eve", "DELETE", path) == 404
        assert await _status(office, OPERATOR, "GET", path) == 200
    attempts = {
        BINDINGS: {"principal_id": mia.id, "role_id": "role_member"},
        f"/admin/v1/projects/{PROJECT}/bindings": {"principal_id": mia.id, "role_id": "role_member"},
        GRANTS: {"resource_type": "project", "resource_id": PROJECT, "principal_id": "everyone", "level": "viewer"},
        POLICIES_PATH: place | {"key": "log_prompts.allowed"},
    }
    for path, body in attempts.items():
        assert await _status(office, "eve", "POST", path, json=body) == 404
    assert await _status(office, "eve", "GET", f"{WHY}?principal={mia.id}&action=users:read") == 404
    assert await _status(office, "eve", "GET", f"{POLICIES_PATH}/effective?principal={mia.id}") == 404
    assert await _status(office, "eve", "GET", f"{POLICIES_PATH}/effective?project={PROJECT}") == 404
    for path in (GRANTS, POLICIES_PATH):
        assert (await office.ask("eve", "GET", path)).json()["data"] == []
    listed = (await office.ask("eve", "GET", f"{ROLES}?limit=100")).json()["data"]
    assert {one["id"] for one in listed} == set(BUILT_IN)
    entered = {"x-mainstay-organisation": theirs}
    assert await _status(office, OPERATOR, "GET", f"{ROLES}/{role['id']}", headers=entered) == 404


# What comes back.


async def test_role_is_made_read_changed_and_deleted(office: Office) -> None:
    role = await _made(office, ROLES, name="Desk", description="Helps.", actions=["users:read", "groups:read"])
    assert role["object"] == "role"
    assert role["actions"] == ["groups:read", "users:read"]
    assert isinstance(role["created_at"], int)
    path = f"{ROLES}/{role['id']}"
    assert (await office.ask(OPERATOR, "GET", path)).json() == role
    changed = await office.ask(OPERATOR, "PATCH", path, json={"name": "Help"}, headers={"if-match": '"1"'})
    assert (changed.json()["name"], changed.headers["etag"]) == ("Help", '"2"')
    assert await _status(office, OPERATOR, "PATCH", path, json={"name": "x"}, headers={"if-match": '"1"'}) == 412
    gone = await office.ask(OPERATOR, "DELETE", path)
    assert gone.json() == {"id": role["id"], "object": "role", "deleted": True}
    for role_id in BUILT_IN:
        assert await _status(office, OPERATOR, "PATCH", f"{ROLES}/{role_id}", json={"name": "x"}) == 409


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (ROLES, {"name": "x", "actions": ["users:read"], "is_built_in": True}),
        (ROLES, {"name": "x", "actions": ["scim:provision"]}),
        (ROLES, {"name": "x", "actions": "users:read"}),
        (BINDINGS, {"principal_id": "u", "role_id": "role_member", "organisation_id": "org_b"}),
        (BINDINGS, {"principal_id": "u", "role_id": "role_member", "expires_at": 10**15}),
        (BINDINGS, {"principal_id": "u", "role_id": "role_member", "expires_at": 1}),
        (GRANTS, {"resource_type": "user", "resource_id": "x", "principal_id": "everyone", "level": "viewer"}),
        (GRANTS, {"resource_type": "project", "resource_id": PROJECT, "principal_id": "everyone", "level": "god"}),
        (GRANTS, {"resource_type": "project", "resource_id": PROJECT, "principal_id": "", "level": "viewer"}),
        (POLICIES_PATH, {"scope_type": "world", "scope_id": HERE, "key": "log_prompts.allowed", "value": True}),
        (POLICIES_PATH, {"scope_type": "organisation", "scope_id": HERE, "key": "no.such", "value": True}),
        (POLICIES_PATH, {"scope_type": "organisation", "scope_id": HERE, "key": "log_prompts.allowed", "value": 1}),
        (POLICIES_PATH, {"scope_type": "organisation", "scope_id": HERE, "key": "log_prompts.allowed"}),
    ],
    ids=repr,
)
async def test_what_cannot_be_is_refused_and_nothing_is_made(office: Office, path: str, body: dict[str, Any]) -> None:
    response = await office.ask(OPERATOR, "POST", path, json=body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["message"]
    assert await office.database.fetch("SELECT COUNT(*) FROM audit_events") == [(0,)]


async def test_grant_is_on_what_there_is(office: Office) -> None:
    for resource in (("deployment", "no-such"), ("project", "proj_none"), ("organisation", "org_none")):
        body = {"resource_type": resource[0], "resource_id": resource[1], "principal_id": "everyone", "level": "viewer"}
        assert await _status(office, OPERATOR, "POST", GRANTS, json=body) == 404
    grant = await _made(
        office, GRANTS, resource_type="deployment", resource_id="gpt", principal_id="everyone", level="viewer"
    )
    assert grant["principal_id"] == "everyone"
    assert (await office.ask(OPERATOR, "GET", f"{GRANTS}?principal=everyone")).json()["data"] == [grant]


async def test_policy_is_set_locked_explained_and_removed(office: Office) -> None:
    mia = await office.person("mia", "role_member")
    policy = await _made(
        office,
        POLICIES_PATH,
        scope_type="organisation",
        scope_id=HERE,
        key="deployments.allowed",
        value=["gpt"],
        is_locked=True,
    )
    await _made(office, POLICIES_PATH, scope_type="user", scope_id=mia.id, key="deployments.allowed", value=["llama"])
    path = f"{POLICIES_PATH}/effective?principal={mia.id}&project={PROJECT}"
    (effective,) = (await office.ask(OPERATOR, "GET", f"{path}&key=deployments.allowed")).json()["data"]
    assert effective["value"] == ["gpt"]
    decisive = [step for step in effective["steps"] if step["is_decisive"]]
    assert [(step["scope_type"], step["is_locked"]) for step in decisive] == [("organisation", True)]
    assert {one["key"] for one in (await office.ask(OPERATOR, "GET", path)).json()["data"]} == set(POLICIES)
    one = f"{POLICIES_PATH}/{policy['id']}"
    assert await _status(office, OPERATOR, "PATCH", one, json={"is_locked": False}) == 200
    (effective,) = (await office.ask(OPERATOR, "GET", f"{path}&key=deployments.allowed")).json()["data"]
    assert effective["value"] == ["llama"]
    assert await _status(office, OPERATOR, "DELETE", one) == 200
    assert await _status(office, OPERATOR, "GET", one) == 404


async def test_known_policies_say_what_they_take(office: Office) -> None:
    known = (await office.ask(OPERATOR, "GET", f"{POLICIES_PATH}/known")).json()["data"]
    assert [one["id"] for one in known] == list(POLICIES)
    assert all(one["description"] and one["takes"] for one in known)


async def test_why_tells_the_way_with_names(office: Office) -> None:
    mia = await office.person("mia", "role_member")
    asked = f"{WHY}?principal={mia.id}&project={PROJECT}"
    told = (await office.ask(OPERATOR, "GET", f"{asked}&deployment=gpt")).json()
    assert told["is_allowed"]
    assert told["answer"] == "Yes: The role 'Member' in the whole organisation gives 'models:call'."
    assert told["names"] == {mia.id: "mia"}
    assert told["policy"][0]["scope_type"] == "default"
    assert (await office.ask(OPERATOR, "GET", f"{asked}&resource=deployment:gpt")).json() == told
    told = (await office.ask(OPERATOR, "GET", f"{asked}&action=users:write&resource=project:{PROJECT}")).json()
    assert not told["is_allowed"]
    assert told["answer"].startswith("No: ")


async def test_why_tells_of_keys_and_never_shows_one(office: Office) -> None:
    made = (await office.ask(OPERATOR, "POST", "/admin/v1/keys", json={"name": "k", "project_id": PROJECT})).json()
    told = await office.ask(OPERATOR, "GET", f"{WHY}?key={made['id']}&action=users:read")
    assert told.status_code == 200, made
    assert not told.json()["is_allowed"]
    assert (await office.ask(OPERATOR, "GET", f"{WHY}?key={made['id']}&deployment=gpt")).json()["is_allowed"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("action=users:read", 400),
        ("principal=user_none&action=users:read", 404),
        ("key=key_none&action=users:read", 404),
        ("principal=a%00b&action=users:read", 404),
        ("key=a%00b&action=users:read", 404),
        ("principal=x&key=y&action=users:read", 400),
        ("principal=USER&action=root", 400),
        ("principal=USER", 400),
        ("principal=USER&action=users:read&resource=nonsense", 400),
        ("principal=USER&action=users:read&resource=user:x", 400),
        ("principal=USER&action=users:read&resource=project:", 400),
        ("principal=USER&action=users:read&color=red", 400),
        ("principal=USER&action=users:read&resource=project:a%00b", 200),
    ],
)
async def test_question_that_cannot_be_answered_says_why(office: Office, query: str, status: int) -> None:
    mia = await office.person("mia", "role_member")
    response = await office.ask(OPERATOR, "GET", f"{WHY}?{query.replace('USER', mia.id)}")
    assert response.status_code == status, response.text


async def test_repeated_request_binds_once(office: Office) -> None:
    bob = await office.person("bob", None)
    for _ in range(2):
        response = await office.ask(
            OPERATOR,
            "POST",
            BINDINGS,
            json={"principal_id": bob.id, "role_id": "role_guest"},
            headers={"idempotency-key": "k1"},
        )
        assert response.status_code == 201
    assert len((await office.ask(OPERATOR, "GET", f"{BINDINGS}?principal={bob.id}")).json()["data"]) == 1


async def test_why_of_a_service_account_asks_as_it_acts_in_its_own_project(office: Office) -> None:
    account = (
        await office.ask(
            OPERATOR, "POST", "/admin/v1/service_accounts", json={"project_id": "proj_default", "name": "bot"}
        )
    ).json()
    told = (await office.ask(OPERATOR, "GET", f"{WHY}?principal={account['id']}&deployment=gpt")).json()
    assert told["is_allowed"], told["answer"]


async def test_why_of_a_deployment_that_is_not_there_says_so(office: Office) -> None:
    ann = await office.person("ann", "role_owner")
    told = await office.ask(OPERATOR, "GET", f"{WHY}?principal={ann.id}&deployment=nope")
    assert told.status_code == 404
    assert "no deployment 'nope'" in told.json()["error"]["message"]
