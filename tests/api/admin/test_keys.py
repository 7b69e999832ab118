"""Keys and service accounts over HTTP: nobody makes a key that may more than he, and policies hold."""

from typing import Any

import pytest
from tests.api.admin.office import HERE, OPERATOR, PROJECT, Office

from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.identity.key_wishes import NewKey
from mainstay.platform.identity.organisations import Tenant
from mainstay.platform.identity.policies import PolicyScope
from mainstay.platform.identity.policy_store import NewPolicy

DAY = 86_400


async def _project(office: Office, name: str = "lab") -> str:
    return str((await office.ask(OPERATOR, "POST", "/admin/v1/projects", json={"name": name})).json()["id"])


async def _make(office: Office, who: str, **body: Any) -> Any:
    return await office.ask(who, "POST", "/admin/v1/keys", json={"name": "x"} | body)


async def test_key_is_made_shown_once_changed_and_revoked(office: Office) -> None:
    body = {"deployments": ["a"], "requests_per_minute": 5, "networks": ["192.0.2.0/24"]}
    made = await _make(office, OPERATOR, **body)
    assert made.status_code == 201
    key = made.json()
    secret = key.pop("value")
    assert (key["project_id"], key["principal_id"], key["scopes"]) == (PROJECT, None, ["inference"])
    path = f"/admin/v1/keys/{key['id']}"
    shown = await office.ask(OPERATOR, "GET", path)
    assert shown.json() == key
    assert secret not in shown.text
    assert office.keyring.find(secret.encode()).deployments == {"a"}
    changed = await office.ask(OPERATOR, "PATCH", path, json={"deployments": None, "name": "y"})
    assert (changed.json()["deployments"], changed.json()["name"], changed.json()["version"]) == (None, "y", 2)
    assert office.keyring.find(secret.encode()).deployments is None
    assert (await office.ask(OPERATOR, "DELETE", path, headers={"if-match": '"1"'})).status_code == 412
    assert (await office.ask(OPERATOR, "DELETE", path)).status_code == 200
    assert (await office.ask(secret, "GET", "/admin/v1/my/keys")).status_code == 401
    revoked = (await office.ask(OPERATOR, "GET", "/admin/v1/keys?revoked=true")).json()["data"]
    assert [one["id"] for one in revoked] == [key["id"]]
    assert (await office.ask(OPERATOR, "GET", "/admin/v1/keys?revoked=false")).json()["data"] == []


async def test_service_account_is_brought_back_only_by_who_may_do_as_much(office: Office) -> None:
    await office.person("bea", "role_builder", project_id=PROJECT)
    for role, status in (("role_admin", 403), ("role_member", 200)):
        body = {"project_id": PROJECT, "name": role, "role": None}
        account = (await office.ask(OPERATOR, "POST", "/admin/v1/service_accounts", json=body)).json()["id"]
        scope = {} if role == "role_admin" else {"project_id": PROJECT}
        bound = {"principal_id": account, "role_id": role} | scope
        assert (await office.ask(OPERATOR, "POST", "/admin/v1/bindings", json=bound)).status_code == 201
        path = f"/admin/v1/service_accounts/{account}"
        assert (await office.ask("bea", "PATCH", path, json={"status": "deactivated"})).status_code == 200
        assert (await office.ask("bea", "PATCH", path, json={"status": "active"})).status_code == status, role
        assert (await office.ask(OPERATOR, "PATCH", path, json={"status": "active"})).status_code == 200


async def test_key_is_rotated_with_an_overlap(office: Office) -> None:
    old = (await _make(office, OPERATOR)).json()
    new = await office.ask(OPERATOR, "POST", f"/admin/v1/keys/{old['id']}/rotate", json={"overlap_seconds": 60})
    assert new.status_code == 201
    assert office.keyring.find(old["value"].encode()).key_id == old["id"]
    assert office.keyring.find(new.json()["value"].encode()).key_id == new.json()["id"]
    shown = (await office.ask(OPERATOR, "GET", f"/admin/v1/keys/{old['id']}")).json()
    assert (shown["rotated_to"], shown["expires_at"]) == (new.json()["id"], int(office.clock.now) + 60)
    again = await office.ask(OPERATOR, "POST", f"/admin/v1/keys/{old['id']}/rotate", json={})
    assert again.status_code == 409


async def test_repeated_making_of_a_key_answers_the_same_key(office: Office) -> None:
    headers = {"idempotency-key": "k"}
    first = await office.ask(OPERATOR, "POST", "/admin/v1/keys", json={"name": "x"}, headers=headers)
    again = await office.ask(OPERATOR, "POST", "/admin/v1/keys", json={"name": "x"}, headers=headers)
    assert first.json()["value"] == again.json()["value"]
    assert await office.database.fetch("SELECT COUNT(*) FROM api_keys") == [(1,)]


@pytest.mark.parametrize("scopes", [["operator"], ["root"], [], ["scim", "admin"]])
async def test_scope_that_no_key_has_is_refused(office: Office, scopes: list[str]) -> None:
    assert (await _make(office, OPERATOR, scopes=scopes)).status_code == 400


async def test_builder_makes_keys_for_calls_in_his_project_and_no_others(office: Office) -> None:
    lab = await _project(office)
    await office.person("bea", "role_builder", project_id=lab)
    assert (await _make(office, "bea", project_id=lab)).status_code == 201
    for body in (
        {},
        {"project_id": PROJECT},
        {"project_id": lab, "scopes": ["admin"]},
        {"project_id": lab, "scopes": ["scim"]},
    ):
        assert (await _make(office, "bea", **body)).status_code == 403, body
    assert (await _make(office, "bea", project_id="proj_gone")).status_code in (403, 404)
    elsewhere, _ = await office.keys.create(SYSTEM, NewKey("other"))
    assert [one["project_id"] for one in (await office.ask("bea", "GET", "/admin/v1/keys")).json()["data"]] == [lab]
    for method in ("GET", "PATCH", "DELETE"):
        response = await office.ask("bea", method, f"/admin/v1/keys/{elsewhere.id}", json={"name": "mine"})
        assert response.status_code == 404


async def test_builder_neither_changes_nor_replaces_an_admin_key_of_his_project(office: Office) -> None:
    lab = await _project(office)
    await office.person("bea", "role_builder", project_id=lab)
    key, _ = await office.keys.create(SYSTEM, NewKey("admin", scopes=["admin"]), Tenant(HERE, lab))
    await office.refresh()
    path = f"/admin/v1/keys/{key.id}"
    assert (await office.ask("bea", "PATCH", path, json={"networks": None})).status_code == 403
    assert (await office.ask("bea", "POST", f"{path}/rotate", json={})).status_code == 403
    assert (await office.ask("bea", "DELETE", path)).status_code == 403


async def test_builder_does_not_revoke_the_directory_s_key_that_is_kept_in_his_project(office: Office) -> None:
    lab = await _project(office)
    await office.person("bea", "role_builder", project_id=lab)
    await office.person("olga", "role_owner")
    key, _ = await office.keys.create(SYSTEM, NewKey("directory", scopes=["scim"]), Tenant(HERE, lab))
    await office.refresh()
    assert (await office.ask("bea", "DELETE", f"/admin/v1/keys/{key.id}")).status_code == 403
    assert (await office.ask("olga", "DELETE", f"/admin/v1/keys/{key.id}")).status_code == 200


async def test_security_admin_cannot_make_a_key_that_may_more_than_he(office: Office) -> None:
    await office.person("sam", "role_security_admin")
    for scopes in (["admin"], ["inference"]):
        assert (await _make(office, "sam", scopes=scopes)).status_code == 403
    assert (await _make(office, "sam", scopes=["scim"])).status_code == 201


async def test_admin_gets_no_key_of_a_person(office: Office) -> None:
    mia = await office.person("mia", "role_member")
    await office.person("olga", "role_owner")
    assert (await _make(office, "olga", principal_id=mia.id)).status_code == 403
    own = (await office.ask("mia", "POST", "/admin/v1/my/keys", json={"name": "mine"})).json()
    path = f"/admin/v1/keys/{own['id']}"
    assert (await office.ask("olga", "POST", f"{path}/rotate", json={})).status_code == 403
    assert (await office.ask("olga", "PATCH", path, json={"networks": None})).status_code == 403
    assert (await office.ask("olga", "GET", path)).status_code == 200
    assert (await office.ask("olga", "DELETE", path)).status_code == 200


async def test_service_account_is_made_with_a_role_and_gets_keys(office: Office) -> None:
    lab = await _project(office)
    await office.person("bea", "role_builder", project_id=lab)
    body = {"project_id": lab, "name": "bot"}
    made = await office.ask("bea", "POST", "/admin/v1/service_accounts", json=body)
    assert made.status_code == 201
    account = made.json()
    key = await _make(office, "bea", project_id=lab, principal_id=account["id"])
    assert (key.status_code, key.json()["principal_id"]) == (201, account["id"])
    caller = office.keyring.find(key.json()["value"].encode())
    assert office.authority.may_use(caller, "any")
    path = f"/admin/v1/service_accounts/{account['id']}"
    changed = await office.ask("bea", "PATCH", path, json={"status": "deactivated"})
    assert changed.json()["status"] == "deactivated"
    assert not office.authority.is_valid(caller)
    listed = (await office.ask("bea", "GET", f"/admin/v1/service_accounts?project={lab}")).json()["data"]
    assert [one["id"] for one in listed] == [account["id"]]
    assert (await office.ask("bea", "DELETE", path)).status_code == 200
    assert (await office.ask("bea", "GET", path)).status_code == 404


async def test_service_account_gets_no_more_than_its_maker_has(office: Office) -> None:
    lab = await _project(office)
    await office.person("bea", "role_builder", project_id=lab)
    body = {"project_id": lab, "name": "bot"}
    for refused in (body | {"role": "role_admin"}, body | {"role": "role_owner"}, body | {"project_id": PROJECT}):
        assert (await office.ask("bea", "POST", "/admin/v1/service_accounts", json=refused)).status_code == 403
    strong = (
        await office.ask(OPERATOR, "POST", "/admin/v1/service_accounts", json=body | {"role": "role_admin"})
    ).json()
    assert (await _make(office, "bea", project_id=lab, principal_id=strong["id"], scopes=["admin"])).status_code == 403
    # Of one in another project he does not even hear.
    other = body | {"project_id": PROJECT}
    hidden = (await office.ask(OPERATOR, "POST", "/admin/v1/service_accounts", json=other)).json()
    assert (await office.ask("bea", "GET", f"/admin/v1/service_accounts/{hidden['id']}")).status_code == 404
    assert hidden["id"] not in (await office.ask("bea", "GET", "/admin/v1/service_accounts")).text


async def test_person_makes_replaces_and_revokes_own_keys_only(office: Office) -> None:
    await office.person("mia", "role_member")
    await office.person("max", "role_member")
    own = (await office.ask("mia", "POST", "/admin/v1/my/keys", json={"name": "mine"})).json()
    caller = office.keyring.find(own["value"].encode())
    assert (caller.actor_type, office.authority.may_use(caller, "any")) == ("user", True)
    path = f"/admin/v1/my/keys/{own['id']}"
    for method, target in (("GET", path), ("POST", f"{path}/rotate"), ("DELETE", path)):
        assert (await office.ask("max", method, target, json={})).status_code == 404
    assert (await office.ask("max", "GET", "/admin/v1/my/keys")).json()["data"] == []
    assert [one["id"] for one in (await office.ask("mia", "GET", "/admin/v1/my/keys")).json()["data"]] == [own["id"]]
    new = await office.ask("mia", "POST", f"{path}/rotate", json={"overlap_seconds": 0})
    assert new.status_code == 201
    assert (await office.ask("mia", "DELETE", f"/admin/v1/my/keys/{new.json()['id']}")).status_code == 200


async def test_key_that_leaked_makes_no_other(office: Office) -> None:
    await office.person("mia", "role_member")
    own = (
        await office.ask("mia", "POST", "/admin/v1/my/keys", json={"name": "mine", "networks": ["192.0.2.1"]})
    ).json()
    body = {"name": "another"}
    assert (await office.ask(own["value"], "POST", "/admin/v1/my/keys", json=body)).status_code == 403
    assert (await office.ask(own["value"], "POST", f"/admin/v1/my/keys/{own['id']}/rotate", json={})).status_code == 403
    assert (await office.ask(own["value"], "GET", "/admin/v1/my/keys")).status_code == 200


async def test_only_people_have_keys_of_their_own(office: Office) -> None:
    made = (await _make(office, OPERATOR)).json()
    for who in (OPERATOR, made["value"]):
        assert (await office.ask(who, "GET", "/admin/v1/my/keys")).status_code == 403


async def _set(office: Office, key: str, value: object) -> None:
    policy = NewPolicy(scope_type=PolicyScope.ORGANISATION, scope_id=HERE, key=key, value=value)
    await office.policies.create(SYSTEM, HERE, policy)
    await office.refresh()


async def test_policy_says_how_long_keys_are_good(office: Office) -> None:
    await office.person("mia", "role_member")
    unlimited = (await _make(office, OPERATOR)).json()
    await _set(office, "keys.max_lifetime_days", 30)
    now = int(office.clock.now)
    for path in ("/admin/v1/keys", "/admin/v1/my/keys"):
        who = "mia" if "my" in path else OPERATOR
        for ends in (None, now + 31 * DAY):
            refused = await office.ask(who, "POST", path, json={"name": "x", "expires_at": ends})
            assert (refused.status_code, refused.json()["error"]["code"]) == (400, "policy_violation")
        assert (
            await office.ask(who, "POST", path, json={"name": "x", "expires_at": now + 30 * DAY})
        ).status_code == 201
    path = f"/admin/v1/keys/{unlimited['id']}"
    assert (await office.ask(OPERATOR, "POST", f"{path}/rotate", json={})).status_code == 400
    assert (await office.ask(OPERATOR, "PATCH", path, json={"expires_at": now + 31 * DAY})).status_code == 400
    assert (await office.ask(OPERATOR, "PATCH", path, json={"name": "y"})).status_code == 200
    rotated = await office.ask(OPERATOR, "POST", f"{path}/rotate", json={"expires_at": now + DAY})
    assert rotated.json()["expires_at"] == now + DAY


async def test_policy_says_whether_people_have_keys(office: Office) -> None:
    await office.person("mia", "role_member")
    own = (await office.ask("mia", "POST", "/admin/v1/my/keys", json={"name": "x"})).json()
    await _set(office, "keys.personal_allowed", False)
    assert (await office.ask("mia", "POST", "/admin/v1/my/keys", json={"name": "y"})).status_code == 403
    assert (await office.ask("mia", "POST", f"/admin/v1/my/keys/{own['id']}/rotate", json={})).status_code == 403
    assert (await office.ask("mia", "DELETE", f"/admin/v1/my/keys/{own['id']}")).status_code == 200


async def test_key_is_refused_from_elsewhere(office: Office) -> None:
    made = (await _make(office, OPERATOR, scopes=["admin"], networks=["198.51.100.0/24"])).json()
    response = await office.ask(made["value"], "GET", "/admin/v1/keys")
    assert (response.status_code, response.json()["error"]["code"]) == (403, "address_not_allowed")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": ""}, "name"),
        ({"expires_at": 1}, "expires_at"),
        ({"expires_at": 10**18}, "expires_at"),
        ({"expires_at": -1}, "expires_at"),
        ({"networks": ["10.0.0.1/8"]}, "networks"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"deployments": []}, "deployments"),
        ({"scopes": "admin"}, "scopes"),
    ],
)
async def test_wish_that_makes_no_sense_names_the_member(office: Office, body: dict[str, Any], param: str) -> None:
    response = await _make(office, OPERATOR, **body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
