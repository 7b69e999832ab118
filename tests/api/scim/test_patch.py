"""PATCH of a user: RFC 7644's operations, and those of Entra ID and Okta."""

from tests.api.scim.people import ENTERPRISE, USER, made, patch, read, refused, user

WORK = {"value": "b@work.example", "type": "work", "primary": True}
HOME = {"value": "b@home.example", "type": "home"}
BEFORE = {
    "displayName": "Babs",
    "name": {"givenName": "Barbara", "familyName": "Jensen"},
    "emails": [WORK, HOME],
    ENTERPRISE: {"department": "R&D", "manager": {"value": "7"}},
}
CASES = [
    # RFC 7644, 3.5.2
    ({"op": "add", "path": "title", "value": "Engineer"}, {"title": "Engineer"}),
    ({"op": "add", "value": {"title": "Engineer", "nickName": "B"}}, {"title": "Engineer", "nickName": "B"}),
    ({"op": "replace", "path": "name.familyName", "value": "Smith"}, {
        "name": {"givenName": "Barbara", "familyName": "Smith"},
    }),
    ({"op": "replace", "path": "name", "value": {"familyName": "Smith"}}, {
        "name": {"givenName": "Barbara", "familyName": "Smith"},
    }),
    ({"op": "remove", "path": "name.familyName"}, {"name": {"givenName": "Barbara"}}),
    ({"op": "remove", "path": "name"}, {"name": None}),
    ({"op": "add", "path": "emails", "value": [HOME]}, {"emails": [WORK, HOME]}),
    ({"op": "add", "path": "emails", "value": [{"value": "n@x.example", "primary": True}]}, {
        "emails": [WORK | {"primary": False}, HOME, {"value": "n@x.example", "primary": True}],
    }),
    ({"op": "replace", "path": "emails", "value": [HOME]}, {"emails": [HOME]}),
    ({"op": "replace", "path": 'emails[type eq "work"].value', "value": "n@x.example"}, {
        "emails": [WORK | {"value": "n@x.example"}, HOME],
    }),
    ({"op": "replace", "path": 'emails[type eq "home"]', "value": {"value": "n@x.example"}}, {
        "emails": [WORK, {"value": "n@x.example"}],
    }),
    ({"op": "add", "path": 'emails[type eq "home"]', "value": {"display": "At home"}}, {
        "emails": [WORK, HOME | {"display": "At home"}],
    }),
    ({"op": "remove", "path": 'emails[type eq "work" and value ew "example"]'}, {"emails": [HOME]}),
    ({"op": "remove", "path": 'emails[not (type eq "work")]'}, {"emails": [WORK]}),
    ({"op": "remove", "path": 'emails[primary eq true].primary'}, {
        "emails": [{"value": "b@work.example", "type": "work"}, HOME],
    }),
    ({"op": "remove", "path": "emails"}, {"emails": None}),
    ({"op": "remove", "path": 'emails[type eq "other"]'}, {}),
    ({"op": "replace", "path": "emails.type", "value": "other"}, {
        "emails": [WORK | {"type": "other"}, HOME | {"type": "other"}],
    }),
    ({"op": "replace", "path": f"{ENTERPRISE}:department", "value": "Sales"}, {
        ENTERPRISE: {"department": "Sales", "manager": {"value": "7"}},
    }),
    ({"op": "remove", "path": f"{ENTERPRISE}:manager"}, {ENTERPRISE: {"department": "R&D"}}),
    ({"op": "remove", "path": ENTERPRISE}, {ENTERPRISE: None}),
    ({"op": "add", "path": ENTERPRISE, "value": {"costCenter": "9"}}, {
        ENTERPRISE: {"department": "R&D", "manager": {"value": "7"}, "costCenter": "9"},
    }),
    ({"op": "replace", "path": f"{USER}:displayName", "value": "B"}, {"displayName": "B"}),
    ({"op": "replace", "path": "DISPLAYNAME", "value": "B"}, {"displayName": "B"}),
    ({"op": "replace", "path": "title", "value": None}, {}),
    ({"op": "replace", "value": {"displayName": None, "emails": []}}, {"displayName": None, "emails": None}),
    # Entra ID
    ({"op": "Replace", "path": "active", "value": "False"}, {"active": False}),
    ({"op": "Add", "path": 'phoneNumbers[type eq "mobile"].value', "value": "+1 555"}, {
        "phoneNumbers": [{"type": "mobile", "value": "+1 555"}],
    }),
    ({"op": "Replace", "path": 'addresses[type eq "work"].country', "value": "CH"}, {
        "addresses": [{"type": "work", "country": "CH"}],
    }),
    ({"op": "Add", "path": 'roles[primary eq "True"].value', "value": "admin"}, {
        "roles": [{"primary": True, "value": "admin"}],
    }),
    ({"op": "Add", "path": f"{ENTERPRISE}:manager", "value": "8"}, {
        ENTERPRISE: {"department": "R&D", "manager": {"value": "8"}},
    }),
    ({"op": "replace", "value": {"name.givenName": "B", f"{ENTERPRISE}:department": "Sales", "active": "false"}}, {
        "name": {"givenName": "B", "familyName": "Jensen"},
        ENTERPRISE: {"department": "Sales", "manager": {"value": "7"}},
        "active": False,
    }),
    ({"op": "Remove", "path": "emails", "value": [{"value": "b@home.example"}]}, {"emails": [WORK]}),
    # Okta
    ({"op": "replace", "value": {"active": False}}, {"active": False}),
    ({"op": "replace", "value": {"id": "mine", "schemas": [], "meta": {}, "unknown": 1, "groups": [], "title": "E"}}, {
        "title": "E",
    }),
]  # fmt: skip


def test_every_operation_does_what_it_says(http):
    for number, (operation, expected) in enumerate(CASES):
        before = made(http, "/Users", user(f"user{number}", **BEFORE) | {
            "emails": [one | {"value": one["value"].replace("b@", "b@")} for one in BEFORE["emails"]],
        })  # fmt: skip
        response = http.patch(f"/Users/{before['id']}", json=patch(operation))
        assert response.status_code == 200, (operation, response.text)
        after = response.json()
        assert after == read(http, f"/Users/{before['id']}")
        wanted = {**before, **expected}
        for name in ("schemas", "meta"):
            wanted.pop(name), after.pop(name)
        assert after == {name: value for name, value in wanted.items() if value is not None}, operation
        http.delete(f"/Users/{before['id']}")


WRONG_CHANGES = [
    ({}, "invalidSyntax"),
    ({"Operations": []}, "invalidSyntax"),
    ({"Operations": {}}, "invalidSyntax"),
    ({"Operations": ["add"]}, "invalidSyntax"),
    ({"Operations": [{"op": "add", "path": "title", "value": "x"}] * 1001}, "invalidSyntax"),
    (patch({"op": "move", "path": "title"}), "invalidSyntax"),
    (patch({"path": "title", "value": "x"}), "invalidSyntax"),
    (patch({"op": "remove"}), "noTarget"),
    (patch({"op": "add", "value": "text"}), "invalidValue"),
    (patch({"op": "add", "path": "title"}), "invalidValue"),
    (patch({"op": "add", "path": 7, "value": "x"}), "invalidPath"),
    (patch({"op": "add", "path": "title[", "value": "x"}), "invalidPath"),
    (patch({"op": "add", "path": "a" * 5000, "value": "x"}), "invalidPath"),
    (
        patch({"op": "add", "path": "emails[" + "not (" * 500 + "type pr" + ")" * 500 + "]", "value": "x"}),
        "invalidPath",
    ),
    (patch(*[{"op": "remove", "path": "x" * 4000}] * 40), "invalidPath"),
    (patch({"op": "add", "value": {"y" * 200_000: "x"}}), "invalidPath"),
    (patch(*[{"op": "add", "path": "emails", "value": [{"value": f"{n}@x"}]} for n in range(101)]), "invalidValue"),
    (patch({"op": "add", "path": "nothing", "value": "x"}), "invalidPath"),
    (patch({"op": "add", "path": "name.nothing", "value": "x"}), "invalidPath"),
    (patch({"op": "add", "path": "urn:example:User:title", "value": "x"}), "invalidPath"),
    (patch({"op": "replace", "path": 'title[value eq "x"]', "value": "x"}), "invalidPath"),
    (patch({"op": "replace", "path": 'emails[nothing eq "x"].value', "value": "x"}), "invalidFilter"),
    (patch({"op": "replace", "path": 'emails[type ne "work" and value sw "z"].value', "value": "x"}), "noTarget"),
    (patch({"op": "replace", "path": "id", "value": "x"}), "mutability"),
    (patch({"op": "add", "path": "groups", "value": [{"value": "x"}]}), "mutability"),
    (patch({"op": "replace", "path": "meta.version", "value": "x"}), "mutability"),
    (patch({"op": "remove", "path": "userName"}), "invalidValue"),
    (patch({"op": "replace", "path": "active", "value": "perhaps"}), "invalidValue"),
    (patch({"op": "replace", "path": "name.givenName", "value": {"a": 1}}), "invalidValue"),
    (patch({"op": "replace", "path": 'emails[type eq "home"]', "value": "x\x00"}), "invalidValue"),
    (patch({"op": "replace", "path": ENTERPRISE, "value": "x"}), "invalidValue"),
]


def test_a_patch_that_cannot_be_carried_out_changes_nothing(http):
    before = made(http, "/Users", user(**BEFORE))
    first = {"op": "add", "path": "nickName", "value": "first"}
    for body, scim_type in WRONG_CHANGES:
        if isinstance(body.get("Operations"), list) and len(body["Operations"]) == 1:
            body = body | {"Operations": [first, *body["Operations"]]}
        refused(http.patch(f"/Users/{before['id']}", json=body), 400, scim_type, case=body)
    assert read(http, f"/Users/{before['id']}") == before
