"""Filters, sorting and pages: SQL finds what scim2-models finds in memory, and nothing that was sent is SQL."""

import json

import pytest
from scim2_models import EnterpriseUser, ScimFilter, User
from tests.api.scim.people import ENTERPRISE, found, group, made, patch, read, refused, user
from tests.api.scim.test_users import make_local

from mainstay.kit.database import Dialect
from mainstay.platform.identity.scim.filters import Compiler
from mainstay.platform.identity.scim.user_rows import source
from mainstay.platform.identity.scim.vocabulary import make_vocabulary

PEOPLE = [
    user("alice@example.com", externalId="A1", displayName="Alice", title="Engineer", active=True,
         name={"givenName": "Alice", "familyName": "Archer"},
         emails=[{"value": "alice@work.example", "type": "work", "primary": True}, {"value": "al@home.example"}]),
    user("bob@example.com", externalId="a1", displayName="bob", active=False,
         name={"givenName": "Bob", "familyName": "archer"}, emails=[{"value": "bob@home.example", "type": "home"}],
         **{ENTERPRISE: {"department": "R&D", "manager": {"value": "7"}}}),
    user("carol", displayName="Carol \"the\" 100%_", title="engineer", nickName="'; DROP TABLE users; --",
         **{ENTERPRISE: {"department": "Sales", "employeeNumber": "12"}}),
    user("dave", title="Sr. Engineer", addresses=[{"type": "work", "country": "CH", "formatted": "a\nb"}],
         phoneNumbers=[{"type": "work", "value": "1"}, {"type": "mobile", "value": "2"}]),
    user("zoë@exämple.com", displayName="Zoë", title="Ärztin", emails=[{"value": "zoë@exämple.com", "type": "WORK"}]),
]  # fmt: skip

FILTERS = [
    'userName eq "alice@example.com"',
    'userName eq "ALICE@EXAMPLE.COM"',
    'USERNAME Eq "zoë@exämple.com"',
    'userName ne "alice@example.com"',
    'userName co "example"',
    'userName sw "B"',
    'userName ew ".COM"',
    'userName gt "bob"',
    'userName le "carol"',
    "userName pr",
    'externalId eq "A1"',
    'externalId eq "nobody"',
    "externalId pr",
    "not (externalId pr)",
    "active eq true",
    "active eq false",
    "active ne false",
    'displayName eq "alice"',
    'displayName eq "Carol \\"the\\" 100%_"',
    'displayName co "%"',
    'displayName co "_"',
    'displayName sw "Zoë"',
    "displayName pr",
    'not (displayName eq "alice")',
    'title eq "Engineer"',
    'title ew "ENGINEER"',
    'title co "ngin" and not (title sw "sr")',
    'title eq "Ärztin"',
    'nickName eq "\'; DROP TABLE users; --"',
    'name.familyName eq "Archer"',
    'name.familyName eq "Archer" and name.givenName eq "Bob"',
    'name.familyName eq "Archer" and (name.givenName eq "Bob" or active eq true)',
    "name pr",
    "name.givenName pr",
    'emails eq "bob@home.example"',
    'emails.value co "home"',
    'emails.type eq "work"',
    "emails pr",
    "emails.type pr",
    'emails[type eq "work"]',
    'emails[type eq "work" and value co "home"]',
    'emails[type eq "home" or primary eq true]',
    'emails[type eq "work"].value eq "alice@work.example"',
    "emails[not (type pr)]",
    "emails.primary eq true",
    'addresses[type eq "work" and country eq "ch"]',
    'addresses.country eq "CH"',
    'phoneNumbers[type eq "work" and value eq "2"]',
    'phoneNumbers.value eq "2"',
    f'{ENTERPRISE}:department eq "r&d"',
    f"{ENTERPRISE}:department pr",
    f'{ENTERPRISE}:manager.value eq "7"',
    f'{ENTERPRISE}:employeeNumber ne "12" and {ENTERPRISE}:employeeNumber pr',
    'urn:ietf:params:scim:schemas:core:2.0:User:userName eq "dave"',
    'not (not (userName eq "dave"))',
    'not (title eq "Engineer" or nickName pr)',
    'meta.created gt "2001-01-01T00:00:00Z"',
    'meta.lastModified lt "2001-01-01T00:00:00+02:00"',
    'id eq "nobody"',
]


@pytest.fixture
def people(http):
    return [made(http, "/Users", body) for body in PEOPLE]


def names(http, path="/Users", **query):
    return [one.get("userName") or one["displayName"] for one in found(http, path, **query)]


def test_sql_finds_what_is_found_in_memory(http, people):
    models = [User[EnterpriseUser].model_validate(one) for one in people]
    for text in FILTERS:
        filter_ = ScimFilter[User[EnterpriseUser]](text)
        expected = [one.user_name for one in models if filter_.match(one)]
        assert names(http, filter=text) == expected, text


WRONG_FILTERS = [
    "userName",
    "userName eq",
    'userName eq "',
    "userName eq bob",
    'userName is "bob"',
    "userName eq 7",
    "userName eq true",
    'active eq "perhaps"',
    "active gt true",
    'meta.created gt "yesterday"',
    'meta.created co "2001-01-01T00:00:00Z"',
    'meta.version eq "1"',
    'nothing eq "x"',
    'name.nothing eq "x"',
    'name eq "x"',
    'urn:x:y:title eq "x"',
    f'{ENTERPRISE}:nothing eq "x"',
    'emails[nothing eq "x"]',
    'title[value eq "x"]',
    'groups.display eq "x"',
    'groups.value sw "x"',
    'groups[display eq "x"]',
    'title eq "\\u0000"',
    'title eq "\\ud800"',
    'emails[value eq "\\ud800"]',
    "title gt null",
    "(" * 5000,
    "not (" * 200 + "title pr" + ")" * 200,
    " or ".join(["title pr"] * 1000),
    'userName eq "x" UNION SELECT 1',
    "userName pr) OR (1 eq 1",
    "title'--",
    'title.x\' eq "y"',
]


def test_a_filter_that_cannot_be_evaluated_is_refused(http):
    for text in WRONG_FILTERS:
        refused(http.get("/Users", params={"filter": text}), 400, "invalidFilter", case=text)


def test_the_longest_chain_of_conditions_is_evaluated(http, people):
    text = " or ".join(['title eq "x"'] * 240 + ['userName eq "dave"'])
    assert len(text) < 4096
    assert names(http, filter=text) == ["dave"]


def test_nothing_that_was_sent_is_in_the_statement():
    vocabulary = make_vocabulary()
    evil = "x') OR 1=1; DROP TABLE users; -- :organisation_id ${x} {0} %s"
    for dialect in Dialect:
        compiler = Compiler(source(vocabulary.user, dialect), dialect)
        value = json.dumps(evil)
        text = f"userName eq {value} or emails[type sw {value}] or groups eq {value} or externalId co {value}"
        condition = compiler.where(f"{text} or meta.created pr or name.familyName ew {value}")
        assert evil not in condition
        assert "DROP" not in condition
        assert "DROP" not in condition.upper().replace("DROP TABLE USERS", "DROP")
        assert evil in compiler.values.values()


def test_no_character_of_a_value_is_special(http):
    for value in ["%", "_", "'", '\\"', "\\\\", ":organisation_id", "{value}", "{0}", "%s", "$1", "--"]:
        for operator in ("eq", "co", "sw", "ew", "gt"):
            for attribute in ("userName", "externalId", "title", "emails.value", f"{ENTERPRISE}:department"):
                assert names(http, filter=f'{attribute} {operator} "{value}"') == []


def test_users_are_found_by_their_groups_and_groups_by_their_members(http, people):
    group_id = made(http, "/Groups", group("Engineering", people[0]["id"], people[3]["id"]))["id"]
    made(http, "/Groups", group("Empty"))
    assert names(http, filter=f'groups.value eq "{group_id}"') == ["alice@example.com", "dave"]
    assert names(http, filter=f'groups[value eq "{group_id}"] and title sw "sr"') == ["dave"]
    assert names(http, filter="groups pr") == ["alice@example.com", "dave"]
    assert names(http, "/Groups", filter=f'members.value eq "{people[3]["id"]}"') == ["Engineering"]
    assert names(http, "/Groups", filter=f'id eq "{group_id}" and members eq "{people[0]["id"]}"') == ["Engineering"]
    assert names(http, "/Groups", filter=f'members[value eq "{people[1]["id"]}"]') == []
    assert names(http, "/Groups", filter="not (members pr)") == ["Empty"]
    assert names(http, "/Groups", filter='displayName eq "ENGINEERING"') == ["Engineering"]
    assert names(http, "/Groups", filter='displayName sw "e" and externalId eq null') == ["Engineering", "Empty"]
    refused(http.get("/Groups", params={"filter": 'userName eq "x"'}), 400, "invalidFilter")


def test_users_that_were_made_here_are_found_by_what_is_shown_of_them(http, server, people):
    make_local(server)
    for text in (
        'userName sw "local"',
        'emails[value co "local"]',
        "emails.primary eq true",
        'displayName eq "local user"',
    ):
        assert "local@example.com" in names(http, filter=text), text
    assert "local@example.com" not in names(http, filter="title pr")


def test_lists_are_sorted_and_what_has_no_value_comes_last(http, people):
    assert names(http, sortBy="title")[:3] == ["alice@example.com", "carol", "dave"]
    assert names(http, sortBy="title")[-1] == "bob@example.com"
    assert names(http, sortBy="title", sortOrder="descending")[0] == "bob@example.com"
    assert names(http, sortBy="userName", sortOrder="descending")[-1] == "alice@example.com"
    assert names(http, sortBy="name.givenName", count=2) == ["alice@example.com", "bob@example.com"]
    assert names(http, sortBy="meta.created")[0] == "alice@example.com"
    assert len(names(http, sortBy="emails")) == len(names(http, sortBy="emails.value")) == 5
    assert names(http, sortBy=f"{ENTERPRISE}:department")[:2] == ["bob@example.com", "carol"]
    for wrong in ("nothing", "phoneNumbers", "groups", "name[", "'; --"):
        assert http.get("/Users", params={"sortBy": wrong}).status_code == 400, wrong
    refused(http.get("/Users", params={"sortOrder": "sideways"}), 400, "invalidValue")
    assert names(http, "/Groups", sortBy="displayName") == []


def test_pages_follow_one_another_without_gap(http, people):
    seen = []
    for start in (1, 3, 5):
        page = read(http, f"/Users?startIndex={start}&count=2")
        assert (page["totalResults"], page["startIndex"], page["itemsPerPage"]) == (5, start, len(page["Resources"]))
        seen += [one["userName"] for one in page["Resources"]]
    assert seen == [one["userName"] for one in PEOPLE]
    assert read(http, "/Users?startIndex=100")["totalResults"] == 5
    assert read(http, "/Users?count=0") | {"schemas": None} == {
        "schemas": None,
        "totalResults": 5,
        "startIndex": 1,
        "itemsPerPage": 0,
        "Resources": [],
    }
    assert len(read(http, "/Users?startIndex=-5&count=100000000000000000000000")["Resources"]) == 5
    assert read(http, "/Users?count=-1&startIndex=99999999999999999999")["Resources"] == []
    refused(http.get("/Users?count=many"), 400, "invalidValue")


def test_a_search_by_post_finds_the_same(http, people):
    search = {"filter": 'title ew "engineer"', "sortBy": "userName", "attributes": ["userName"], "count": 2}
    page = http.post("/Users/.search", json=search).json()
    assert page["totalResults"] == 3
    assert [sorted(one) for one in page["Resources"]] == [["id", "schemas", "userName"]] * 2
    refused(http.post("/Users/.search", json={"filter": 7}), 400, "invalidValue")
    refused(http.post("/Users/.search", json={"attributes": [7]}), 400, "invalidValue")
    refused(http.post("/Users/.search", json={"filter": "nothing pr"}), 400, "invalidFilter")


def test_a_search_of_everything_is_one_list_of_users_and_groups(http, people):
    for name in ("First", "Second"):
        made(http, "/Groups", group(name, people[0]["id"]))

    def search(**asked):
        page = http.post("/.search", json=asked).json()
        return page["totalResults"], [one.get("userName") or one["displayName"] for one in page["Resources"]]

    everyone = [one["userName"] for one in PEOPLE]
    assert search() == (7, [*everyone, "First", "Second"])
    assert search(startIndex=4, count=3) == (7, [*everyone[3:], "First"])
    assert search(startIndex=7, count=3) == (7, ["Second"])
    assert search(count=0) == (7, [])
    assert search(filter='userName eq "dave" or displayName eq "second"') == (2, ["dave", "Second"])
    assert search(filter="nothing pr") == (0, [])
    assert search(filter='displayName sw "f"', excludedAttributes=["members"]) == (1, ["First"])


def test_a_change_is_found_at_once(http, people):
    http.patch(f"/Users/{people[0]['id']}", json=patch({"op": "replace", "path": "userName", "value": "ally"}))
    assert names(http, filter='userName eq "ally"') == ["ally"]
    assert names(http, filter='userName eq "alice@example.com"') == []
