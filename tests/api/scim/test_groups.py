"""Groups by SCIM: what they hold, and what they may not."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.api.scim.people import found, group, made, patch, read, refused, user
from tests.api.scim.test_users import make_local, make_owner


def make_local_group(server, name="Administrators"):
    server.execute(
        "INSERT INTO principals (id, organisation_id, type, name, status, created_at_ms, updated_at_ms, version) "
        "VALUES ('group_local', 'org_default', 'group', :name, 'active', 1, 1, 1)",
        name=name,
    )
    server.execute(
        "INSERT INTO groups (principal_id, organisation_id, source) VALUES ('group_local', 'org_default', 'local')"
    )


def members(http, group_id):
    return [one["value"] for one in read(http, f"/Groups/{group_id}").get("members", [])]


@pytest.fixture
def people(http):
    return sorted(made(http, "/Users", user(f"{number}@example.com"))["id"] for number in range(4))


WRONG_VALUES = [
    {"displayName": None},
    {"displayName": ""},
    {"displayName": "  "},
    {"displayName": "x" * 257},
    {"displayName": "a\nb"},
    {"displayName": 7},
    {"externalId": "x" * 600},
    {"members": [{"value": "user_nobody"}]},
    {"members": [{"value": "'; DROP TABLE users; --"}]},
    {"members": [{"display": "no value"}]},
    {"members": ["user_nobody"]},
    {"members": [{"value": 7}]},
]


def test_a_group_with_a_wrong_value_is_refused(http):
    for body in WRONG_VALUES:
        refused(http.post("/Groups", json=group() | body), 400, "invalidValue", case=body)
    assert read(http, "/Groups")["totalResults"] == 0


def test_a_group_is_sent_back_with_its_members(http, server, people):
    response = http.post("/Groups", json=group("Engineering", *people[:2], externalId="8"))
    sent = response.json()
    assert response.headers["location"] == f"{server.url}/Groups/{sent['id']}"
    assert sent["members"] == [
        {"value": id_, "$ref": f"{server.url}/Users/{id_}", "type": "User"} for id_ in people[:2]
    ]
    assert (sent["displayName"], sent["externalId"], sent["meta"]["version"]) == ("Engineering", "8", 'W/"1"')
    assert read(http, f"/Groups/{sent['id']}") == sent
    assert read(http, f"/Users/{people[0]}")["groups"] == [
        {"value": sent["id"], "$ref": response.headers["location"], "display": "Engineering", "type": "direct"}
    ]
    assert "members" not in read(http, f"/Groups/{sent['id']}?excludedAttributes=members")
    assert [one.get("members") for one in found(http, "/Groups", excludedAttributes="members")] == [None]


def test_members_come_and_go_as_directories_write_it(http, people):
    id_ = made(http, "/Groups", group("Engineering", people[0]))["id"]
    first, second, third, fourth = people
    steps = [
        ({"op": "add", "path": "members", "value": [{"value": second}]}, [first, second]),
        ({"op": "Add", "path": "members", "value": [{"$ref": None, "value": third}]}, [first, second, third]),
        ({"op": "add", "value": {"members": [{"value": fourth}]}}, [first, second, third, fourth]),
        ({"op": "remove", "path": f'members[value eq "{first}"]'}, [second, third, fourth]),
        ({"op": "Remove", "path": "members", "value": [{"value": second}]}, [third, fourth]),
        ({"op": "remove", "path": f'members[value eq "{third}" or value eq "{first}"]'}, [fourth]),
        ({"op": "remove", "path": "members[value eq \"user_gone\"]"}, [fourth]),
        ({"op": "remove", "path": "members", "value": []}, [fourth]),
        ({"op": "replace", "path": "members", "value": [{"value": first}, {"value": second}]}, [first, second]),
        ({"op": "replace", "value": {"displayName": "R&D", "members": [{"value": third}]}}, [third]),
        ({"op": "add", "path": "urn:ietf:params:scim:schemas:core:2.0:Group:members", "value": {"value": first}}, [
            first, third,
        ]),
        ({"op": "remove", "path": "members"}, []),
        ({"op": "add", "path": f'members[value eq "{first}"]', "value": [{"value": first}]}, [first]),
        ({"op": "replace", "path": "members", "value": []}, []),
    ]  # fmt: skip
    for operation, expected in steps:
        response = http.patch(f"/Groups/{id_}", json=patch(operation))
        assert (response.status_code, response.content) == (204, b""), response.text
        assert members(http, id_) == expected, operation
    assert read(http, f"/Groups/{id_}")["displayName"] == "R&D"


def test_operations_on_members_take_effect_in_their_order(http, people):
    id_ = made(http, "/Groups", group("Engineering", *people[:2]))["id"]
    change = patch(
        {"op": "remove", "path": f'members[value eq "{people[0]}"]'},
        {"op": "add", "path": "members", "value": [{"value": people[0]}, {"value": people[2]}]},
        {"op": "remove", "path": "members", "value": [{"value": people[2]}]},
        {"op": "replace", "path": "displayName", "value": "R&D"},
    )
    http.patch(f"/Groups/{id_}", json=change)
    assert members(http, id_) == people[:2]
    response = http.patch(f"/Groups/{id_}?attributes=members", json=change)
    assert [one["value"] for one in response.json()["members"]] == people[:2]


WRONG_CHANGES = [
    ({"op": "add", "path": "members", "value": [{"value": "user_nobody"}]}, "invalidValue"),
    ({"op": "remove", "path": 'members[type eq "User"]'}, "invalidFilter"),
    ({"op": "remove", "path": "members", "value": [{"display": "Someone"}]}, "invalidValue"),
    ({"op": "remove", "path": 'members[not (value eq "x")]'}, "invalidFilter"),
    ({"op": "replace", "path": "members.value", "value": "x"}, "invalidPath"),
    ({"op": "replace", "path": 'members[value eq "x"].value', "value": "y"}, "invalidPath"),
    ({"op": "remove", "path": "displayName"}, "invalidValue"),
    ({"op": "remove"}, "noTarget"),
    ({"op": "replace", "path": "owners", "value": "x"}, "invalidPath"),
    ({"op": "replace", "path": "id", "value": "x"}, "mutability"),
]


def test_a_change_that_cannot_be_made_changes_nothing(http, people):
    before = made(http, "/Groups", group("Engineering", people[0]))
    for operation, scim_type in WRONG_CHANGES:
        change = patch({"op": "add", "path": "members", "value": [{"value": people[1]}]}, operation)
        refused(http.patch(f"/Groups/{before['id']}", json=change), 400, scim_type, case=operation)
    assert read(http, f"/Groups/{before['id']}") == before


def test_groups_that_were_made_here_are_neither_seen_nor_touched(http, server, people):
    make_local_group(server)
    server.execute(
        "INSERT INTO group_members (group_id, member_id, organisation_id, source) "
        "VALUES ('group_local', :id, 'org_default', 'local')",
        id=people[0],
    )
    assert found(http, "/Groups", filter='displayName eq "Administrators"') == []
    assert "groups" not in read(http, f"/Users/{people[0]}")
    assert found(http, "/Users", filter='groups.value eq "group_local"') == []
    add = patch({"op": "add", "path": "members", "value": [{"value": people[1]}]})
    refused(http.get("/Groups/group_local"), 404)
    refused(http.patch("/Groups/group_local", json=add), 404)
    refused(http.put("/Groups/group_local", json=group()), 404)
    refused(http.delete("/Groups/group_local"), 404)
    refused(http.post("/Groups", json=group("Administrators")), 409, "uniqueness")
    refused(http.post("/Groups", json=group("Engineering", "group_local")), 400, "invalidValue")
    assert server.fetch("SELECT member_id FROM group_members") == [(people[0],)]


def test_a_user_is_no_group_and_a_group_no_user(http, people):
    group_id = made(http, "/Groups", group())["id"]
    refused(http.get(f"/Groups/{people[0]}"), 404)
    refused(http.delete(f"/Groups/{people[0]}"), 404)
    refused(http.get(f"/Users/{group_id}"), 404)
    refused(http.delete(f"/Users/{group_id}"), 404)


def test_a_group_cannot_be_inside_itself(http, server, people):
    outer = made(http, "/Groups", group("Outer", people[0]))["id"]
    inner = made(http, "/Groups", group("Inner", people[1]))["id"]
    add = patch({"op": "add", "path": "members", "value": [{"value": inner}]})
    assert http.patch(f"/Groups/{outer}", json=add).status_code == 204
    nested = read(http, f"/Groups/{outer}")["members"]
    assert {"value": inner, "$ref": f"{server.url}/Groups/{inner}", "type": "Group"} in nested
    for target, member in ((inner, outer), (outer, outer)):
        add = patch({"op": "add", "path": "members", "value": [{"value": member}]})
        refused(http.patch(f"/Groups/{target}", json=add), 409)


def test_members_added_at_once_are_all_kept(http, people):
    id_ = made(http, "/Groups", group())["id"]

    def add(member_id):
        operation = {"op": "add", "path": "members", "value": [{"value": member_id}]}
        return http.patch(f"/Groups/{id_}", json=patch(operation)).status_code

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(add, people)) == {204}
    assert members(http, id_) == people
    assert read(http, f"/Groups/{id_}")["meta"]["version"] == 'W/"5"'


def test_whoever_leaves_a_group_of_owners_is_not_the_last(http, server, people):
    owners = made(http, "/Groups", group("Owners", people[0]))["id"]
    make_owner(server, owners)
    path = f"/Groups/{owners}"
    for call in (
        lambda: http.patch(path, json=patch({"op": "remove", "path": "members"})),
        lambda: http.patch(path, json=patch({"op": "remove", "path": f'members[value eq "{people[0]}"]'})),
        lambda: http.put(path, json=group("Owners")),
        lambda: http.delete(path),
        lambda: http.delete(f"/Users/{people[0]}"),
    ):
        assert "owner" in refused(call(), 409)
    local = make_local(server, "owner@example.com")
    make_owner(server, local)
    assert http.delete(path).status_code == 204


def test_views_and_the_audit_log_are_told_who_moved(http, server, people):
    id_ = made(http, "/Groups", group("Engineering", people[0]))["id"]
    server.do(server.feed.refresh())
    assert server.directory.groups_of(people[0]) == (id_,)
    swap = patch(
        {"op": "remove", "path": f'members[value eq "{people[0]}"]'},
        {"op": "add", "path": "members", "value": [{"value": people[1]}]},
    )
    http.patch(f"/Groups/{id_}", json=swap)
    server.do(server.feed.refresh())
    assert server.directory.groups_of(people[0]) == ()
    assert server.directory.groups_of(people[1]) == (id_,)
    ((body,),) = server.fetch("SELECT body FROM audit_events WHERE action = 'scim.group_updated'")
    assert f'"members_added":["{people[1]}"]' in body
    assert f'"members_removed":["{people[0]}"]' in body
    http.patch(f"/Groups/{id_}", json=swap)
    assert len(server.fetch("SELECT 1 FROM audit_events WHERE action = 'scim.group_updated'")) == 1


def test_a_group_of_thousands_is_written_and_read_at_once(http, server):
    rows = [f"user_{number:04d}" for number in range(2500)]
    server.execute_many(
        "INSERT INTO principals (id, organisation_id, type, name, status, created_at_ms, updated_at_ms, version) "
        "VALUES (:id, 'org_default', 'user', :name, 'active', 1, 1, 1)",
        [(id_, id_) for id_ in rows],
    )
    id_ = made(http, "/Groups", group("Everyone", *rows))["id"]
    assert members(http, id_) == rows
    events = server.fetch("SELECT body FROM audit_events WHERE target_id = :id ORDER BY sequence", id=id_)
    assert len(events) == 3
    assert all(body.count("user_") <= 1001 for (body,) in events)
    http.patch(f"/Groups/{id_}", json=patch({"op": "replace", "path": "members", "value": [{"value": rows[7]}]}))
    assert members(http, id_) == [rows[7]]
