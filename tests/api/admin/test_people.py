"""Users, groups, projects and organisations over HTTP: who may, who may not, and what comes back."""

import asyncio

import pytest
from tests.api.admin.office import HERE, OPERATOR, PROJECT, Office

from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.identity.bindings import NewBinding
from mainstay.platform.identity.groups import NewGroup
from mainstay.platform.identity.key_wishes import NewKey
from mainstay.platform.identity.organisations import Tenant

NEW_USER = {"email": "ada@example.com", "name": "Ada"}


async def test_user_is_made_read_changed_and_deleted(office: Office) -> None:
    made = await office.ask(OPERATOR, "POST", "/admin/v1/users", json=NEW_USER)
    assert made.status_code == 201
    user = made.json()
    assert (user["object"], user["email"], user["status"], user["version"]) == ("user", "ada@example.com", "active", 1)
    assert "organisation_id" not in user
    path = f"/admin/v1/users/{user['id']}"
    read = await office.ask(OPERATOR, "GET", path)
    assert read.json() == user
    assert (read.headers["etag"], read.headers["cache-control"]) == ('"1"', "no-store")
    changed = await office.ask(OPERATOR, "PATCH", path, json={"name": "Ada L."}, headers={"if-match": '"1"'})
    assert (changed.status_code, changed.json()["name"], changed.headers["etag"]) == (200, "Ada L.", '"2"')
    stale = await office.ask(OPERATOR, "DELETE", path, headers={"if-match": '"1"'})
    assert (stale.status_code, stale.json()["error"]["code"]) == (412, "version_mismatch")
    gone = await office.ask(OPERATOR, "DELETE", path)
    assert gone.json() == {"id": user["id"], "object": "user", "deleted": True}
    assert (await office.ask(OPERATOR, "GET", path)).status_code == 404


async def test_new_user_may_use_models_unless_said_otherwise(office: Office) -> None:
    member = (await office.ask(OPERATOR, "POST", "/admin/v1/users", json=NEW_USER)).json()
    nobody = NEW_USER | {"email": "bob@example.com", "role": None}
    nobody = (await office.ask(OPERATOR, "POST", "/admin/v1/users", json=nobody)).json()
    bound = await office.database.fetch("SELECT principal_id, role_id FROM role_bindings")
    assert bound == [(member["id"], "role_member")]
    assert nobody["id"] != member["id"]


@pytest.mark.parametrize(
    "member", ["id", "organisation_id", "status", "is_admin", "password_hash", "version", "object"]
)
async def test_member_that_is_not_for_callers_to_set_is_refused(office: Office, member: str) -> None:
    response = await office.ask(OPERATOR, "POST", "/admin/v1/users", json=NEW_USER | {member: "x"})
    assert response.status_code == 400
    assert member in response.json()["error"]["message"]
    assert await office.database.fetch("SELECT COUNT(*) FROM users") == [(0,)]


async def test_every_body_is_refused_with_a_member_that_nobody_declared(office: Office) -> None:
    for route in office.routes:
        if route.request is None:
            continue
        path = route.path.replace("{project}", PROJECT)
        for member in ("tenant_id", "organisation_id", "is_admin", "budget"):
            response = await office.ask(OPERATOR, route.method, path, json={member: "x"})
            error = response.json()["error"]
            assert (response.status_code, member in error["message"]) == (400, True), (route.path, member)


async def test_repeated_request_makes_one_user_even_at_once(office: Office) -> None:
    async def make() -> tuple[int, str]:
        response = await office.ask(
            OPERATOR, "POST", "/admin/v1/users", json=NEW_USER, headers={"idempotency-key": "k1"}
        )
        return response.status_code, response.text

    first = await make()
    again = await make()
    assert first == again
    done = await asyncio.gather(*(make() for _ in range(5)))
    assert set(done) == {first}
    other = await office.ask(
        OPERATOR, "POST", "/admin/v1/users", json=NEW_USER | {"name": "B"}, headers={"idempotency-key": "k1"}
    )
    assert other.status_code == 422


async def test_repeated_making_of_an_organisation_makes_one(office: Office) -> None:
    body = {"name": "Acme", "owner": {"email": "boss@acme.example", "name": "Boss"}}
    headers = {"idempotency-key": "k1"}
    first = await office.ask(OPERATOR, "POST", "/admin/v1/organisations", json=body, headers=headers)
    again = await office.ask(OPERATOR, "POST", "/admin/v1/organisations", json=body, headers=headers)
    assert (first.status_code, first.json()) == (201, again.json())
    assert again.headers["idempotent-replayed"] == "true"
    assert await office.database.fetch("SELECT COUNT(*) FROM organisations") == [(2,)]


async def test_list_is_cut_into_pages_and_searched(office: Office) -> None:
    for number in range(5):
        await office.person(f"user{number}")
    first = (await office.ask(OPERATOR, "GET", "/admin/v1/users?limit=3")).json()
    assert (len(first["data"]), first["has_more"]) == (3, True)
    rest = (await office.ask(OPERATOR, "GET", f"/admin/v1/users?limit=3&after={first['last_id']}")).json()
    assert (len(rest["data"]), rest["has_more"]) == (2, False)
    found = (await office.ask(OPERATOR, "GET", "/admin/v1/users?search=USER3")).json()
    assert [user["name"] for user in found["data"]] == ["user3"]
    for wrong in ("status=x", "limit=0", "limit=101", "after=%00", "after=' OR 1", "color=red", "order=up"):
        assert (await office.ask(OPERATOR, "GET", f"/admin/v1/users?{wrong}")).status_code == 400


async def test_member_administers_nobody(office: Office) -> None:
    user = await office.person("mia", "role_member")
    for method, path in (
        ("GET", "/admin/v1/users"),
        ("GET", f"/admin/v1/users/{user.id}"),
        ("PATCH", f"/admin/v1/users/{user.id}"),
        ("POST", "/admin/v1/groups"),
        ("GET", "/admin/v1/organisation"),
        ("GET", "/admin/v1/organisations"),
        ("POST", "/admin/v1/projects"),
    ):
        response = await office.ask("mia", method, path, json={"name": "x"} if method != "GET" else None)
        assert (response.status_code, method, path) == (403, method, path)


async def test_admin_makes_no_owner_and_touches_none(office: Office) -> None:
    owner = await office.person("olga", "role_owner")
    await office.person("adam", "role_admin")
    path = f"/admin/v1/users/{owner.id}"
    for method, target, body in (
        ("POST", "/admin/v1/users", NEW_USER | {"role": "role_owner"}),
        ("PATCH", path, {"status": "deactivated"}),
        ("PATCH", path, {"email": "adam2@example.com"}),
        ("DELETE", path, None),
    ):
        response = await office.ask("adam", method, target, json=body)
        assert (response.status_code, target, body) == (403, target, body)
    assert (
        await office.ask("olga", "POST", "/admin/v1/users", json=NEW_USER | {"role": "role_owner"})
    ).status_code == 201


async def test_last_owner_stays(office: Office) -> None:
    owner = await office.person("olga", "role_owner")
    response = await office.ask("olga", "PATCH", f"/admin/v1/users/{owner.id}", json={"status": "deactivated"})
    assert (response.status_code, response.json()["error"]["code"]) == (409, "last_owner")


async def test_security_admin_takes_access_away_but_takes_over_nobody(office: Office) -> None:
    member = await office.person("mia", "role_member")
    await office.person("sam", "role_security_admin")
    path = f"/admin/v1/users/{member.id}"
    assert (await office.ask("sam", "PATCH", path, json={"email": "sam2@example.com"})).status_code == 403
    assert (await office.ask("sam", "PATCH", path, json={"status": "deactivated"})).status_code == 200
    assert (await office.ask("sam", "POST", "/admin/v1/users", json=NEW_USER)).status_code == 403
    assert (await office.ask("sam", "POST", "/admin/v1/users", json=NEW_USER | {"role": None})).status_code == 201
    assert (await office.ask("mia", "GET", "/admin/v1/my/keys")).status_code == 403


async def test_group_and_members_over_http(office: Office) -> None:
    user = await office.person("mia")
    group = (await office.ask(OPERATOR, "POST", "/admin/v1/groups", json={"name": "team"})).json()
    path = f"/admin/v1/groups/{group['id']}"
    added = await office.ask(OPERATOR, "POST", f"{path}/members", json={"member_ids": [user.id]})
    assert (added.status_code, added.json()["member_ids"]) == (200, [user.id])
    listed = (await office.ask(OPERATOR, "GET", f"{path}/members")).json()["data"]
    assert [(one["id"], one["type"], one["email"]) for one in listed] == [(user.id, "user", "mia@example.com")]
    of_user = (await office.ask(OPERATOR, "GET", f"/admin/v1/groups?member={user.id}")).json()["data"]
    assert [one["id"] for one in of_user] == [group["id"]]
    renamed = await office.ask(OPERATOR, "PATCH", path, json={"name": "crew"})
    assert renamed.json()["name"] == "crew"
    assert (await office.ask(OPERATOR, "DELETE", f"{path}/members/{user.id}")).status_code == 200
    assert (await office.ask(OPERATOR, "DELETE", f"{path}/members/{user.id}")).status_code == 404
    circle = await office.ask(OPERATOR, "POST", f"{path}/members", json={"member_ids": [group["id"]]})
    assert (circle.status_code, circle.json()["error"]["code"]) == (409, "group_circle")
    assert (await office.ask(OPERATOR, "DELETE", path)).json()["deleted"]


async def test_nobody_joins_a_group_that_may_more_than_he(office: Office) -> None:
    sam = await office.person("sam", "role_security_admin")
    group = await office.groups.create(SYSTEM, HERE, NewGroup(name="admins"))
    await office.bindings.create(SYSTEM, HERE, NewBinding(principal_id=group.id, role_id="role_admin"))
    await office.refresh()
    path = f"/admin/v1/groups/{group.id}/members"
    assert (await office.ask("sam", "POST", path, json={"member_ids": [sam.id]})).status_code == 403
    # Nor through a group inside.
    inner = (await office.ask("sam", "POST", "/admin/v1/groups", json={"name": "inner"})).json()
    await office.members.add(SYSTEM, HERE, group.id, [inner["id"]])
    await office.refresh()
    inner_path = f"/admin/v1/groups/{inner['id']}/members"
    assert (await office.ask("sam", "POST", inner_path, json={"member_ids": [sam.id]})).status_code == 403


async def test_projects_are_listed_as_far_as_they_may_be_seen(office: Office) -> None:
    made = [
        (await office.ask(OPERATOR, "POST", "/admin/v1/projects", json={"name": f"p{number}"})).json()["id"]
        for number in range(3)
    ]
    await office.person("bea", "role_builder", project_id=made[1])
    listed = (await office.ask("bea", "GET", "/admin/v1/projects")).json()["data"]
    assert [one["id"] for one in listed] == [made[1]]
    assert (await office.ask("bea", "GET", f"/admin/v1/projects/{made[1]}")).status_code == 200
    assert (await office.ask("bea", "GET", f"/admin/v1/projects/{made[0]}")).status_code in (403, 404)
    archived = await office.ask(OPERATOR, "PATCH", f"/admin/v1/projects/{made[1]}", json={"is_archived": True})
    assert archived.json()["is_archived"]
    assert made[1] not in (await office.ask(OPERATOR, "GET", "/admin/v1/projects")).text
    assert made[1] in (await office.ask(OPERATOR, "GET", "/admin/v1/projects?archived=true")).text


async def test_organisation_is_renamed_by_its_owner_and_suspended_by_the_operator_only(office: Office) -> None:
    other = await office.other_organisation()
    renamed = await office.ask("eve", "PATCH", "/admin/v1/organisation", json={"name": "Evil Inc"})
    assert (renamed.status_code, renamed.json()["id"]) == (200, other)
    for body in ({"status": "suspended"}, {"id": HERE}):
        assert (await office.ask("eve", "PATCH", "/admin/v1/organisation", json=body)).status_code == 400
    path = f"/admin/v1/organisations/{other}"
    for method in ("GET", "PATCH"):
        assert (await office.ask("eve", method, path, json={"status": "active"})).status_code == 403
    assert (await office.ask(OPERATOR, "PATCH", path, json={"status": "suspended"})).status_code == 200
    assert (await office.ask("eve", "GET", "/admin/v1/organisation")).status_code == 403
    assert (await office.ask(OPERATOR, "PATCH", path, json={"status": "active"})).status_code == 200
    assert (await office.ask("eve", "GET", "/admin/v1/organisation")).status_code == 200
    assert len((await office.ask(OPERATOR, "GET", "/admin/v1/organisations")).json()["data"]) == 2


async def test_ids_of_another_organisation_are_unknown_on_every_route(office: Office) -> None:
    await office.other_organisation()
    await office.person("olga", "role_owner")
    user = await office.person("mia", "role_member")
    group = await office.groups.create(SYSTEM, HERE, NewGroup(name="team"))
    await office.members.add(SYSTEM, HERE, group.id, [user.id])
    key, _ = await office.keys.create(SYSTEM, NewKey("x"), Tenant(HERE, PROJECT))
    account = (
        await office.ask(OPERATOR, "POST", "/admin/v1/service_accounts", json={"project_id": PROJECT, "name": "bot"})
    ).json()["id"]
    ids = {"user": user.id, "group": group.id, "member": user.id, "key": key.id, "service_account": account}
    ids |= {"project": PROJECT, "binding": "binding_x"}
    before = await _contents(office)
    for route in office.routes:
        if "{" not in route.path or "{organisation}" in route.path or "/my/" in route.path:
            continue
        path = route.path.format(**ids)
        # Some of them are what the route takes, whichever it is.
        bodies = ({"name": "x"}, {"member_ids": [user.id]}, {"expires_at": None}, {}) if route.request else (None,)
        answers = [(await office.ask("eve", route.method, path, json=one)).status_code for one in bodies]
        assert set(answers) <= {404, 400}, (route.method, path, answers)
        assert 404 in answers, (route.method, path, answers)
    assert await _contents(office) == before


async def _contents(office: Office) -> list[object]:
    tables = ("principals", "groups", "group_members", "projects", "service_accounts")
    rows = [await office.database.fetch(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables]
    rows.append(await office.database.fetch("SELECT id, revoked_at_ms, name, version FROM api_keys ORDER BY id"))
    return rows


async def test_operator_acts_in_another_organisation_by_header(office: Office) -> None:
    other = await office.other_organisation()
    headers = {"x-mainstay-organisation": other}
    listed = (await office.ask(OPERATOR, "GET", "/admin/v1/users", headers=headers)).json()["data"]
    assert [user["name"] for user in listed] == ["eve"]
    made = await office.ask(OPERATOR, "POST", "/admin/v1/users", json=NEW_USER, headers=headers)
    assert made.status_code == 201
    assert (await office.ask("eve", "GET", f"/admin/v1/users/{made.json()['id']}")).status_code == 200
    assert (
        await office.ask("eve", "GET", "/admin/v1/users", headers={"x-mainstay-organisation": HERE})
    ).status_code == 403
