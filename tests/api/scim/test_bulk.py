"""Several operations in one request."""

from tests.api.scim.people import group, made, patch, read, refused, user


def run(http, *operations, **more):
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": list(operations), **more}
    response = http.post("/Bulk", json=body)
    assert response.status_code == 200, response.text
    assert response.json()["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:BulkResponse"]
    return response.json()["Operations"]


def post(path, bulk_id, data):
    return {"method": "POST", "path": path, "bulkId": bulk_id, "data": data}


def statuses(results):
    return [one["status"] for one in results]


WRONG_BODIES = [
    {},
    {"Operations": "all"},
    {"Operations": [7]},
    {"Operations": [{"method": "GET", "path": "/Users"}]},
    {"Operations": [{"method": "POST"}]},
    {"Operations": [{"method": "POST", "path": "/Users", "bulkId": 7}]},
]


def test_a_bulk_request_that_cannot_be_read_does_nothing(http):
    for body in WRONG_BODIES:
        refused(http.post("/Bulk", json=body), 400, "invalidSyntax", case=body)


def test_operations_nested_too_deeply_are_refused(http):
    for depth in (40, 300, 600, 990):
        nested = "[" * depth + "]" * depth
        body = f'{{"Operations": [{{"method": "POST", "path": "/Users", "bulkId": "a", "data": {nested}}}]}}'
        response = http.post("/Bulk", content=body, headers={"content-type": "application/scim+json"})
        assert response.status_code in (200, 400), (depth, response.text)


def test_too_many_operations_are_refused(http):
    body = {"Operations": [post("/Users", str(number), user(str(number))) for number in range(1001)]}
    refused(http.post("/Bulk", json=body), 413)
    assert read(http, "/Users")["totalResults"] == 0


def test_each_operation_fails_by_itself(http):
    there = made(http, "/Users", user("there"))
    path = f"/Users/{there['id']}"
    results = run(
        http,
        post("/Users", "a", user("a")),
        post("/Users", "b", user("")),
        post("/Users", "c", user("A")),
        post("/Nothing", "d", {}),
        {"method": "POST", "path": "/Users", "data": user("e")},
        post(path, "f", user("f")),
        {"method": "patch", "path": path, "data": patch({"op": "add", "path": "title", "value": "x"})},
        {"method": "PUT", "path": path, "data": user("there"), "version": there["meta"]["version"]},
        {"method": "PUT", "path": "/Users", "data": user("there")},
        {"method": "DELETE", "path": "/Users/nobody"},
        {"method": "DELETE", "path": path},
    )
    assert statuses(results) == ["201", "400", "409", "400", "400", "400", "200", "412", "400", "404", "204"]
    assert results[0]["location"].startswith(str(http.base_url))
    assert results[0]["version"] == 'W/"1"'
    assert results[2]["response"]["scimType"] == "uniqueness"
    assert [one.get("bulkId") for one in results[:6]] == ["a", "b", "c", "d", None, "f"]
    assert [one["userName"] for one in read(http, "/Users")["Resources"]] == ["a"]


def test_what_is_made_can_be_named_before_and_after(http):
    results = run(
        http,
        post("/Groups", "team", group("Team", "bulkId:ann", "bulkId:bob")),
        post("/Users", "ann", user("ann")),
        post("/Users", "bob", user("bob", displayName="bulkId: is no name")),
        {"method": "PATCH", "path": "/Groups/bulkId:team", "data": patch(
            {"op": "remove", "path": "members", "value": [{"value": "bulkId:bob"}]}
        )},
    )  # fmt: skip
    assert statuses(results) == ["201", "201", "201", "200"]
    (team,) = read(http, "/Groups")["Resources"]
    assert [one["value"] for one in team["members"]] == [results[1]["location"].rpartition("/")[2]]


def test_what_waits_for_each_other_or_for_nothing_fails(http):
    results = run(
        http,
        post("/Groups", "a", group("A", "bulkId:b")),
        post("/Groups", "b", group("B", "bulkId:a")),
        post("/Groups", "c", group("C", "bulkId:nobody")),
        post("/Users", "d", user("")),
        post("/Groups", "e", group("E", "bulkId:d")),
        post("/Users", "f", user("f")),
    )
    assert statuses(results) == ["400", "400", "400", "400", "400", "201"]
    assert read(http, "/Groups")["totalResults"] == 0


def test_a_long_chain_of_operations_is_carried_out_in_its_order(http):
    chain = [post("/Groups", str(number), group(f"Group {number}", f"bulkId:{number + 1}")) for number in range(8)]
    results = run(http, *chain, post("/Groups", "8", group("Group 8")))
    assert statuses(results) == ["201"] * 9


def test_after_so_many_errors_nothing_more_is_done(http):
    wrong = [post("/Users", f"wrong{number}", user("")) for number in range(3)]
    results = run(
        http, wrong[0], post("/Users", "a", user("a")), *wrong[1:], post("/Users", "b", user("b")), failOnErrors=2
    )
    assert statuses(results) == ["400", "201", "400"]
    assert read(http, "/Users")["totalResults"] == 1
