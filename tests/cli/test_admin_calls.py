"""`mainstay admin` and `mainstay why`, as people use them, against an API that is scripted."""

import importlib
import json
import time
from typing import Self

import pytest
from click.testing import CliRunner, Result

from mainstay.cli.admin import admin, calling
from mainstay.cli.why import why
from mainstay.client.administration import Document
from mainstay.kit.errors import InvalidRequestError, PermissionDeniedError

why_module = importlib.import_module("mainstay.cli.why")
LONG = " ".join(f"word{number}" for number in range(100))


class Api:
    """Answers by method and path, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, object] = {}
        self.asked: list[tuple[str, object, object]] = []

    def __call__(self, *_: object, **__: object) -> "Api":
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def call(self, method, path, body=None, *, query=None, headers=None) -> Document:
        self.asked.append((f"{method} {path}", body, dict(query or {})))
        answer = self.answers[f"{method} {path}"]
        if isinstance(answer, Exception):
            raise answer
        return Document(answer)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path) -> Api:
    monkeypatch.setenv("MAINSTAY_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MAINSTAY_BASE_URL", raising=False)
    api = Api()
    monkeypatch.setattr(calling, "Administration", api)
    monkeypatch.setattr(why_module, "Administration", api)
    return api


def run(*arguments: str) -> Result:
    return CliRunner().invoke(admin, arguments)


@pytest.mark.parametrize(
    ("area", "path", "member"),
    [
        ("providers", "providers", "is_ok"),
        ("identity-providers", "identity_providers", "is_ok"),
        ("audit-webhooks", "audit/webhooks", "is_delivered"),
    ],
)
def test_what_fails_its_test_gives_exit_code_1(api, area, path, member):
    for works, code in ((True, 0), (False, 1)):
        api.answers[f"POST /admin/v1/{path}/x/test"] = {member: works, "failure": LONG}
        tested = run(area, "test", "x", "--json")
        assert (tested.exit_code, json.loads(tested.stdout)[member]) == (code, works)
        assert run(area, "test", "x").stdout.split()[-1] == "word99"


def test_values_are_shown_whole_in_lines_that_fit(api):
    api.answers["GET /admin/v1/organisation"] = {"id": "org_1", "name": LONG}
    shown = run("organisation", "show").stdout
    assert shown.split()[3:] == LONG.split()
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "route", "told"),
    [
        (["keys", "create", "--name", "x"], "keys", "Key it_1: this is the only time"),
        (["my-keys", "create", "--name", "x"], "my/keys", "Key it_1: this is the only time"),
        (["keys", "rotate", "k"], "keys/k/rotate", "Key it_1: this is the only time"),
        (
            ["audit-webhooks", "create", "--name", "x", "--url", "u"],
            "audit/webhooks",
            "Webhook it_1: this is the only time",
        ),
    ],
)
def test_id_stands_beside_a_secret(api, arguments, route, told):
    api.answers[f"POST /admin/v1/{route}"] = {"id": "it_1", "value": "s", "secret": "s"}
    made = run(*arguments)
    assert (made.exit_code, made.stdout) == (0, "s\n")
    assert told in made.stderr


@pytest.mark.parametrize(
    ("arguments", "choices"),
    [
        (["providers", "create", "--name", "x", "--base-url", "u", "--kind"], "'openai', 'azure'"),
        (["budgets", "create", "--scope", "user:u", "--period"], "'day', 'month'"),
        (["budgets", "set", "x", "--action"], "'block', 'warn'"),
        (["budgets", "list", "--scope-type"], "'organisation', 'project', 'group', 'user', 'key'"),
        (["policies", "list", "--scope-type"], "'organisation', 'group', 'project', 'user'"),
        (["grants", "set", "x", "--level"], "'viewer', 'editor', 'owner'"),
        (["users", "set", "x", "--status"], "'active', 'deactivated'"),
        (["organisations", "set", "x", "--status"], "'active', 'suspended'"),
    ],
)
def test_one_of_a_few_words_is_told_which(api, arguments, choices):
    refused = run(*arguments, "other")
    assert refused.exit_code == 2
    assert choices in refused.stderr
    assert choices.replace("'", "").replace(", ", "|") in run(*arguments[:2], "--help").output.replace("\n", "")


@pytest.mark.parametrize(
    ("verb", "route"),
    [
        ("show", "GET /admin/v1/users/user_1"),
        ("delete", "DELETE /admin/v1/users/user_1"),
        ("sign-in-link", "POST /admin/v1/users/user_1/sign_in_links"),
        ("sign-out", "DELETE /admin/v1/users/user_1/sessions"),
    ],
)
def test_user_may_be_named_by_the_address(api, verb, route):
    api.answers |= {"GET /admin/v1/users": {"data": [{"id": "user_1"}]}, route: {"url": "u"}}
    assert run("users", verb, "ann@example.org").exit_code == 0
    assert [path for path, _, _ in api.asked] == ["GET /admin/v1/users", route]
    assert api.asked[0][2] == {"email": "ann@example.org"}
    api.answers["GET /admin/v1/users"] = {"data": []}
    assert "There is no user ann@example.org" in run("users", verb, "ann@example.org").stderr


def test_key_is_rotated_by_the_beginning_of_its_id(api):
    ids = ["key_aaaa1" + "0" * 27, "key_aaaa2" + "0" * 27]
    first = {"data": [{"id": ids[0]}], "has_more": False}
    api.answers |= {"GET /admin/v1/keys": first, f"POST /admin/v1/keys/{ids[0]}/rotate": {"id": "n", "value": "s"}}
    assert run("keys", "rotate", "key_aaaa").stdout == "s\n"
    api.answers["GET /admin/v1/keys"] = {"data": [{"id": one} for one in ids], "has_more": False}
    assert "2 keys have an id that begins with key_aaaa" in run("keys", "rotate", "key_aaaa").stderr
    assert "no key" in run("keys", "rotate", "key_bbbb").stderr


def test_end_may_be_in_minutes(api):
    api.answers["POST /admin/v1/keys"] = {"id": "k", "value": "s"}
    assert run("keys", "create", "--name", "x", "--expires-at", "90m").exit_code == 0
    assert abs(api.asked[0][1]["expires_at"] - time.time() - 5400) < 60


@pytest.mark.parametrize("arguments", [["--base-url", "nonsense"], ["--base-url", "http://"]])
def test_address_that_is_none_is_told(api, arguments):
    refused = run(*arguments, "users", "list")
    assert refused.exit_code == 1
    assert f"--base-url is '{arguments[1]}', which is no address" in refused.stderr


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("'expires_at' is in the past.", "--expires-at is in the past."),
        ("expires_at is in the past.", "--expires-at is in the past."),
        ("Set 'expires_at' later.", "Set --expires-at later."),
    ],
)
def test_error_speaks_of_options(api, message, told):
    api.answers["POST /admin/v1/keys"] = InvalidRequestError(message, param="expires_at")
    assert run("keys", "create", "--name", "x").stderr == f"mainstay: {told}\n"


def test_refusal_names_the_command_that_explains_it(api):
    refusal = "May not. An administrator can see why at /admin/v1/why."
    api.answers["GET /admin/v1/users"] = PermissionDeniedError(refusal)
    assert "can see why with `mainstay why`." in run("users", "list").stderr


def test_why_knows_service_accounts_by_name_and_writes_values_for_people(api):
    step = {"scope_type": "organisation", "scope_id": "org_1", "is_decisive": False, "is_locked": False, "note": "set"}
    steps = [step | {"value": None}, step | {"value": ["a", "b"]}]
    answer = {"answer": "Yes.", "reasons": [], "policy": steps, "names": {}}
    accounts = {"data": [{"id": "svc_1", "name": "ci"}], "has_more": False}
    api.answers |= {"GET /admin/v1/service_accounts": accounts, "GET /admin/v1/why": answer}
    told = CliRunner().invoke(why, ["ci", "--deployment", "chat"])
    assert told.exit_code == 0, told.output
    assert api.asked[-1][2]["principal"] == "svc_1"
    assert "no limit - set" in told.stdout
    assert "a, b - set" in told.stdout
    CliRunner().invoke(why, ["user_1", "--deployment", "chat"])
    assert api.asked[-1][2]["principal"] == "user_1"
    api.answers["GET /admin/v1/service_accounts"] = PermissionDeniedError("May not.")
    CliRunner().invoke(why, ["ci", "--deployment", "chat"])
    assert api.asked[-1][2]["principal"] == "ci"
