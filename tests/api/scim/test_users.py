"""Users by SCIM: their life, and what it does to the rest of Mainstay."""

from concurrent.futures import ThreadPoolExecutor

from tests.api.scim.people import ENTERPRISE, found, group, made, patch, read, refused, user


def make_owner(server, principal_id):
    server.execute(
        "INSERT INTO role_bindings (id, organisation_id, principal_id, role_id, scope_type, scope_id, created_by, "
        "created_at_ms) VALUES (:id, 'org_default', :principal_id, 'role_owner', 'organisation', 'org_default', "
        "'system', 0)",
        id=f"binding_{principal_id}",
        principal_id=principal_id,
    )


def make_local(server, email="local@example.com", name="Local User"):
    """A user that was made here, as an administrator makes one."""
    id_ = f"user_{email}"
    server.execute(
        "INSERT INTO principals (id, organisation_id, type, name, status, created_at_ms, updated_at_ms, version) "
        "VALUES (:id, 'org_default', 'user', :name, 'active', 1, 1, 1)",
        id=id_,
        name=name,
    )
    server.execute(
        "INSERT INTO users (principal_id, organisation_id, email, email_normal, search_text) "
        "VALUES (:id, 'org_default', :email, :email, :email)",
        id=id_,
        email=email,
    )
    return id_


def open_session(server, user_id):
    server.execute(
        "INSERT INTO sessions (id, organisation_id, principal_id, digest, method, created_at_ms, last_seen_at_ms, "
        "expires_at_ms, address, user_agent) VALUES (:id, 'org_default', :user_id, :digest, 'password', 1, 1, "
        "9000000000000, '', '')",
        id=f"sess_{user_id}",
        user_id=user_id,
        digest=user_id.encode(),
    )


WRONG_VALUES = [
    {"userName": ""},
    {"userName": " spaced "},
    {"userName": 7},
    {"userName": None},
    {"userName": "x" * 300},
    {"userName": "\ufdfa" * 100},
    {"userName": "nul\x00"},
    {"userName": "right\u202eleft"},
    {"displayName": "nul\x00"},
    {"active": "perhaps"},
    {"name": "Barbara"},
    {"emails": [{"value": 1}]},
    {"emails": [{"value": "a@x.com", "primary": True}, {"value": "b@x.com", "primary": True}]},
    {"emails": [{"value": f"{number}@x.com"} for number in range(101)]},
    {"x509Certificates": [{"value": "not base64!"}]},
    {"externalId": "x" * 600},
    {"title": "x" * 20_000},
    {"photos": [{"value": "https://x/" + "y" * 16_000} for _ in range(5)]},
    {ENTERPRISE: "Engineering"},
]


def test_a_user_with_a_wrong_value_is_refused(http):
    for more in WRONG_VALUES:
        refused(http.post("/Users", json=user() | more), 400, "invalidValue", case=more)
    assert read(http, "/Users")["totalResults"] == 0


def test_a_name_or_address_that_is_taken_is_refused_whatever_its_case(http):
    first = made(http, "/Users", user("barbara@example.com", emails=[{"value": "b.jensen@example.com"}]))
    assert first["id"] in refused(http.post("/Users", json=user("BARBARA@example.com")), 409, "uniqueness")
    refused(http.post("/Users", json=user("other", emails=[{"value": "B.Jensen@Example.com"}])), 409, "uniqueness")
    other = made(http, "/Users", user("other"))
    rename = patch({"op": "replace", "path": "userName", "value": "Barbara@Example.com"})
    refused(http.patch(f"/Users/{other['id']}", json=rename), 409, "uniqueness")
    refused(http.put(f"/Users/{other['id']}", json=user("barbara@example.com")), 409, "uniqueness")


def test_only_one_of_many_at_once_makes_a_user(http):
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: http.post("/Users", json=user()).status_code, range(16)))
    assert sorted(answers) == [201] + [409] * 15
    assert read(http, "/Users")["totalResults"] == 1


def test_only_one_of_many_at_once_gets_a_name(http):
    ids = [made(http, "/Users", user(f"{number}@example.com"))["id"] for number in range(6)]
    rename = patch({"op": "replace", "path": "userName", "value": "wanted@example.com"})
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda id_: http.patch(f"/Users/{id_}", json=rename), ids))
    assert sorted(one.status_code for one in answers) == [200, *[409] * 5]
    assert {one.json().get("scimType") for one in answers} == {None, "uniqueness"}


def test_changes_at_once_are_all_kept(http):
    path = f"/Users/{made(http, '/Users', user())['id']}"

    def add(number):
        operation = {"op": "add", "path": "emails", "value": [{"value": f"{number}@example.com"}]}
        return http.patch(path, json=patch(operation)).status_code

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(add, range(16))) == {200}
    assert len(read(http, path)["emails"]) == 16


def test_a_stale_version_changes_nothing(http):
    made_user = made(http, "/Users", user())
    path, tag = f"/Users/{made_user['id']}", made_user["meta"]["version"]
    change = patch({"op": "replace", "path": "title", "value": "Engineer"})
    assert http.patch(path, json=change, headers={"if-match": tag}).status_code == 200
    for call in (
        lambda: http.patch(path, json=patch({"op": "remove", "path": "title"}), headers={"if-match": tag}),
        lambda: http.put(path, json=user(), headers={"if-match": tag}),
        lambda: http.delete(path, headers={"if-match": tag}),
        lambda: http.delete(path, headers={"if-match": '"not ours"'}),
    ):
        refused(call(), 412)
    assert read(http, path)["title"] == "Engineer"


def test_what_is_known_already_is_not_sent_again(http):
    made_user = made(http, "/Users", user())
    path, tag = f"/Users/{made_user['id']}", made_user["meta"]["version"]
    response = http.get(path, headers={"if-none-match": tag})
    assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", tag)
    http.patch(path, json=patch({"op": "replace", "path": "title", "value": "Engineer"}))
    assert http.get(path, headers={"if-none-match": tag}).status_code == 200


def test_a_user_is_sent_back_as_it_was_sent(http, server):
    body = user(
        "Barbara@Example.com",
        externalId="701984",
        name={"formatted": "Ms. Barbara J Jensen, III", "givenName": "Barbara", "familyName": "Jensen"},
        displayName="Babs Jensen",
        emails=[{"value": "Babs@Home.example", "type": "home"}, {"value": "b@Work.example", "type": "work"}],
        addresses=[{"type": "work", "streetAddress": "100 Universal City Plaza", "formatted": "100\nHollywood"}],
        preferredLanguage="de-CH",
        **{ENTERPRISE: {"department": "Ärzte", "manager": {"value": "26118915"}}},
    )
    response = http.post("/Users", json=body | {"unknown": 1, "id": "mine", "meta": {"version": "x"}, "password": "p"})
    sent = response.json()
    assert response.headers["location"] == sent["meta"]["location"] == f"{server.url}/Users/{sent['id']}"
    assert response.headers["etag"] == sent["meta"]["version"] == 'W/"1"'
    assert {name: sent[name] for name in body} == body | {"schemas": [*body["schemas"], ENTERPRISE]}
    assert sent["active"] is True
    assert sent.keys() - body.keys() == {"id", "meta", "active"}
    assert read(http, f"/Users/{sent['id']}") == sent
    ((name, email, user_name),) = server.fetch(
        "SELECT p.name, u.email, u.user_name FROM principals p JOIN users u ON u.principal_id = p.id"
    )
    assert (name, email, user_name) == ("Babs Jensen", "b@Work.example", "barbara@example.com")


def test_replacing_takes_out_what_is_not_sent_but_does_not_reactivate(http):
    made_user = made(http, "/Users", user(title="Engineer", externalId="7", active=False))
    path = f"/Users/{made_user['id']}"
    after = http.put(path, json=user(nickName="Babs")).json()
    assert after.keys() == {"schemas", "id", "meta", "userName", "nickName", "active"}
    assert after["active"] is False


def test_sending_the_same_again_writes_nothing(http, server):
    made_user = made(http, "/Users", user(title="Engineer"))
    path = f"/Users/{made_user['id']}"
    for response in (
        http.put(path, json=user(title="Engineer", active=True)),
        http.patch(path, json=patch({"op": "Replace", "path": "active", "value": "True"})),
        http.patch(path, json=patch({"op": "remove", "path": "nickName"})),
    ):
        assert response.json()["meta"] == made_user["meta"]
    assert server.fetch("SELECT count(*) FROM audit_events WHERE action LIKE 'scim.%'") == [(1,)]


def test_deactivation_ends_sessions_and_links_and_is_told(http, server):
    user_id = made(http, "/Users", user())["id"]
    open_session(server, user_id)
    server.execute(
        "INSERT INTO sign_in_links (digest, organisation_id, principal_id, expires_at_ms) "
        "VALUES (:digest, 'org_default', :user_id, 9000000000000)",
        digest=b"d",
        user_id=user_id,
    )
    server.do(server.feed.refresh())
    assert server.directory.principal(user_id).is_active
    response = http.patch(f"/Users/{user_id}", json=patch({"op": "Replace", "path": "active", "value": "False"}))
    assert response.json()["active"] is False
    assert server.fetch("SELECT count(*) FROM sessions WHERE revoked_at_ms IS NULL") == [(0,)]
    assert server.fetch("SELECT count(*) FROM sign_in_links") == [(0,)]
    server.do(server.feed.refresh())
    assert not server.directory.principal(user_id).is_active
    assert ("session", f"sess_{user_id}") in server.fetch("SELECT kind, id FROM changes")
    actions = [action for (action,) in server.fetch("SELECT action FROM audit_events ORDER BY sequence")]
    assert actions[-1] == "scim.user_deactivated"
    http.patch(f"/Users/{user_id}", json=patch({"op": "replace", "value": {"active": True}}))
    server.do(server.feed.refresh())
    assert server.directory.principal(user_id).is_active


def test_removing_active_does_not_reactivate(http, server):
    user_id = made(http, "/Users", user(active=False))["id"]
    assert "active" not in http.patch(f"/Users/{user_id}", json=patch({"op": "remove", "path": "active"})).json()
    assert server.fetch("SELECT status FROM principals") == [("deactivated",)]


def test_a_deleted_user_is_gone_with_keys_and_sessions(http, server):
    user_id = made(http, "/Users", user())["id"]
    open_session(server, user_id)
    server.token()
    server.execute(
        "UPDATE api_keys SET principal_id = :user_id WHERE id = (SELECT max(id) FROM api_keys)", user_id=user_id
    )
    group_id = made(http, "/Groups", group("Engineering", user_id))["id"]
    assert http.delete(f"/Users/{user_id}").status_code == 204
    for call in (http.get, http.delete):
        refused(call(f"/Users/{user_id}"), 404)
    assert "members" not in read(http, f"/Groups/{group_id}")
    assert server.fetch(
        "SELECT count(*) FROM api_keys WHERE principal_id = :id AND revoked_at_ms IS NULL", id=user_id
    ) == [(0,)]
    assert server.fetch("SELECT count(*) FROM sessions") == [(0,)]
    made(http, "/Users", user())


def test_the_last_owner_is_neither_deactivated_nor_deleted(http, server):
    user_id = made(http, "/Users", user())["id"]
    make_owner(server, user_id)
    path = f"/Users/{user_id}"
    for call in (
        lambda: http.patch(path, json=patch({"op": "replace", "path": "active", "value": False})),
        lambda: http.put(path, json=user(active=False)),
        lambda: http.delete(path),
    ):
        assert "owner" in refused(call(), 409)
    assert read(http, path)["active"] is True
    second = made(http, "/Users", user("second@example.com"))["id"]
    make_owner(server, second)
    assert http.delete(path).status_code == 204
    refused(http.delete(f"/Users/{second}"), 409)


def test_two_owners_deactivated_at_once_leave_one(http, server):
    ids = [made(http, "/Users", user(f"{number}@example.com"))["id"] for number in range(4)]
    for id_ in ids:
        make_owner(server, id_)
    change = patch({"op": "replace", "path": "active", "value": False})
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda id_: http.patch(f"/Users/{id_}", json=change).status_code, ids))
    assert sorted(answers) == [200, 200, 200, 409]


def test_an_owners_address_is_not_the_directorys_to_change(http, server):
    user_id = made(http, "/Users", user(emails=[{"value": "owner@example.com"}]))["id"]
    make_owner(server, user_id)
    change = patch({"op": "replace", "path": "emails", "value": [{"value": "thief@example.com"}]})
    refused(http.patch(f"/Users/{user_id}", json=change), 409, "mutability")
    assert server.fetch("SELECT email FROM users") == [("owner@example.com",)]
    assert (
        http.patch(f"/Users/{user_id}", json=patch({"op": "add", "path": "title", "value": "CEO"})).status_code == 200
    )


def test_a_deactivated_owners_address_is_not_the_directorys_to_change(http, server):
    for name in ("owner@example.com", "second@example.com"):
        make_owner(server, made(http, "/Users", user(name, emails=[{"value": name}]))["id"])
    (owner,) = found(http, "/Users", filter='userName eq "owner@example.com"')
    path = f"/Users/{owner['id']}"
    leave = {"op": "replace", "path": "active", "value": False}
    thief = {"op": "replace", "path": "emails", "value": [{"value": "thief@example.com"}]}
    assert http.patch(path, json=patch(leave)).status_code == 200
    refused(http.patch(path, json=patch(thief)), 409, "mutability")
    refused(http.patch(path, json=patch(thief, {**leave, "value": True})), 409, "mutability")
    assert server.fetch("SELECT email FROM users WHERE principal_id = :id", id=owner["id"]) == [("owner@example.com",)]


def test_a_directory_finds_and_takes_over_a_user_that_was_made_here(http, server):
    user_id = make_local(server)
    refused(http.post("/Users", json=user("Local@Example.com")), 409, "uniqueness")
    (local,) = found(http, "/Users", filter='userName eq "LOCAL@example.com"')
    assert (local["id"], local["displayName"], local["active"]) == (user_id, "Local User", True)
    assert found(http, "/Users", filter='emails.value eq "local@example.com"') == [local]
    assert found(http, "/Users", filter='displayName co "user"') == [local]
    change = patch({"op": "add", "path": "externalId", "value": "7"}, {"op": "add", "path": "title", "value": "Clerk"})
    after = http.patch(f"/Users/{user_id}", json=change).json()
    assert {name: after[name] for name in local if name != "meta"} == {k: v for k, v in local.items() if k != "meta"}
    assert (after["externalId"], after["title"]) == ("7", "Clerk")


def test_what_an_administrator_has_renamed_stays_so_until_the_directory_says_otherwise(http, server):
    user_id = made(http, "/Users", user(displayName="Babs", emails=[{"value": "b@example.com"}]))["id"]
    server.execute("UPDATE principals SET name = 'Barbara'")
    server.execute("UPDATE users SET email = 'here@example.com', email_normal = 'here@example.com'")
    http.patch(f"/Users/{user_id}", json=patch({"op": "add", "path": "title", "value": "Engineer"}))
    assert server.fetch("SELECT p.name, u.email FROM principals p JOIN users u ON u.principal_id = p.id") == [
        ("Barbara", "here@example.com")
    ]
    http.patch(f"/Users/{user_id}", json=patch({"op": "replace", "path": "displayName", "value": "BJ"}))
    assert server.fetch("SELECT name FROM principals") == [("BJ",)]


def test_only_what_is_asked_for_is_sent(http):
    body = user(
        title="Engineer",
        name={"givenName": "Barbara", "familyName": "Jensen"},
        emails=[{"value": "b@example.com", "type": "work"}],
        **{ENTERPRISE: {"department": "R&D", "division": "Labs"}},
    )
    path = f"/Users/{made(http, '/Users', body)['id']}"

    def names(**query):
        return http.get(path, params=query).json()

    assert names(attributes="TITLE").keys() == {"schemas", "id", "title"}
    assert names(attributes="name.familyName,emails.value")["name"] == {"familyName": "Jensen"}
    assert names(attributes="name.familyName,emails.value")["emails"] == [{"value": "b@example.com"}]
    assert names(attributes=f"{ENTERPRISE}:department")[ENTERPRISE] == {"department": "R&D"}
    assert names(attributes=ENTERPRISE)[ENTERPRISE] == {"department": "R&D", "division": "Labs"}
    assert names(attributes="nothing,of,this(").keys() == {"schemas", "id"}
    assert names(attributes="title," + "x" * 5000).keys() == {"schemas", "id", "title"}
    assert "title" not in names(excludedAttributes="title,id")
    assert names(excludedAttributes="id")["id"]
    assert names(excludedAttributes="name.familyName")["name"] == {"givenName": "Barbara"}
    refused(http.get(path, params={"attributes": "title", "excludedAttributes": "name"}), 400, "invalidValue")
    refused(http.get(path, params={"attributes": ",".join(["title"] * 300)}), 400, "invalidValue")
