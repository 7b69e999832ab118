"""Generated from the published document: no route without an action, no door without a lock."""

import http.client
import json
import urllib.request

import pytest

from mainstay.platform.identity.roles import ADMIN

CARRIERS = {
    "bearer": lambda key: {"authorization": f"Bearer {key}"},
    "bearer in capitals": lambda key: {"authorization": f"BEARER {key}"},
    "api-key": lambda key: {"api-key": key},
    "x-api-key": lambda key: {"x-api-key": key},
}
FOR_PEOPLE = {
    "POST": {
        "/auth/sign-in",
        "/auth/sign-in/link",
        "/auth/account/password",
        "/auth/account/sessions",
        "/auth/account/sign-out",
    },
    "GET": {"/auth/sessions", "/admin/v1/my/keys"},
    "PUT": {"/auth/password"},
    "DELETE": {"/auth/sessions", "/auth/sessions/{session}"},
}
"""Forms of our own pages, and what no key of a project may do, since it is nobody's."""
BAD_KEYS = {
    "none": None,
    "empty": "",
    "short": "sk-1",
    "unknown": "sk-" + "A" * 43,
    "sql": "sk-' OR 1=1 --",
    "long": "sk-" + "A" * 5000,
}


@pytest.fixture(scope="module")
def document(url):
    with urllib.request.urlopen(f"{url}/openapi.json", timeout=10) as answer:
        return json.loads(answer.read())


@pytest.fixture(scope="module")
def routes(document):
    return [
        (method.upper(), path, operation["x-action"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def ask(url, method, path, headers):
    host, _, port = url.removeprefix("http://").partition(":")
    filled = path.replace("{deployment}", "upstream").replace("{model}", "upstream").replace("{rest}", "x")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    try:
        body = b'{"model":"upstream","messages":[],"prompt":"x","input":"x"}' if method == "POST" else None
        query = "?api-version=2024-10-21" if path.startswith("/openai/") else ""
        connection.request(method, filled + query, body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_every_route_has_an_action(routes):
    assert len(routes) > 40
    assert all(action for _, _, action in routes)


@pytest.mark.parametrize("bad", BAD_KEYS)
def test_without_a_good_key_every_locked_route_is_401(url, routes, bad):
    key = BAD_KEYS[bad]
    for method, path, action in routes:
        if action == "public":
            continue
        for carry in CARRIERS.values():
            status, told = ask(url, method, path, {} if key is None else carry(key))
            assert status == 401, (method, path, status)
            answer = json.loads(told)
            assert answer["error"]["message"] if "error" in answer else answer["detail"]


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_good_key_opens_what_its_scope_opens_and_nothing_else(url, server, routes, carrier):
    keys = {scope: server.create_key("--scopes", scope) for scope in ("inference", "admin")}
    opens = {
        "models:call": {"inference"},
        "models:read": {"inference", "admin"},
        "metrics:read": {"admin"},
        "self": {"inference", "admin"},
    }
    wrong = []
    for method, path, action in routes:
        for scope, key in keys.items():
            status, _ = ask(url, method, path, CARRIERS[carrier](key))
            if path in FOR_PEOPLE.get(method, ()):
                is_right = status == 403
            elif action == "public":
                is_right = status not in {401, 403}
            elif scope in opens.get(action, {"admin"} if action in ADMIN.actions else ()):
                is_right = status not in {401, 403, 500}
            else:
                is_right = status == 403
            if not is_right:
                wrong.append((method, path, scope, status))
    assert wrong == []


def test_a_revoked_key_is_refused_everywhere_at_once(url, server):
    created = server.command_json("keys", "create", "--name", "short-lived")
    headers = {"authorization": f"Bearer {created['api_key']}"}
    assert ask(url, "GET", "/v1/models", headers)[0] == 200
    server.command("keys", "revoke", created["id"])
    status, told = ask(url, "GET", "/v1/models", headers)
    assert status == 401
    assert "revoked" in json.loads(told)["error"]["message"]


def test_one_good_key_of_two_is_enough(url, api_key):
    headers = {"authorization": "Bearer something-else", "api-key": api_key}
    assert ask(url, "GET", "/v1/models", headers)[0] == 200


def test_usage_is_reported_to_admins_with_cost(url, api_key, server):
    key = server.create_key()
    ask(url, "POST", "/v1/chat/completions", {"authorization": f"Bearer {key}"})
    status, told = ask(url, "GET", "/admin/v1/usage", {"api-key": api_key})
    report = json.loads(told)
    assert status == 200
    assert report["rows"][0]["calls"] >= 1


def test_the_log_and_the_database_hold_no_key_and_no_prompt(url, server, api_key):
    canary = "canary-prompt-7f3a"
    host, _, port = url.removeprefix("http://").partition(":")
    for model in ("upstream", "small", "broken", "no-such-model"):
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        body = json.dumps({"model": model, "max_tokens": 2, "messages": [{"role": "user", "content": canary}]})
        connection.request("POST", "/v1/chat/completions", body=body, headers={"authorization": f"Bearer {api_key}"})
        connection.getresponse().read()
        connection.close()
    for path in server.home.rglob("*"):
        if path.is_file() and "mainstay.toml" not in path.name:  # the operator's own file, and the copy in force
            content = path.read_bytes()
            assert canary.encode() not in content, path
            assert api_key.encode() not in content, path
            assert b"vendor-key-that-nobody-may-see" not in content, path
