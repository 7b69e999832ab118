"""Signing in at a whole server with several workers: at once, everywhere, and over for whoever was let out."""

import http.client
import json
from urllib.parse import urlsplit

import pytest
from tests.e2e.observing import vendor_configuration

PASSWORD = "four words are enough, canary 7f3a"
ASKED = 24
"""Connections of their own: more than enough to reach every worker."""


@pytest.fixture
def server(install, vendor):
    return install(vendor_configuration(vendor("--chunks", "4000", "--delay", "0.05").port), workers=2).start()


def send(server, method, path, body=None, *, cookie="", key=""):
    """Ask over a new connection; return the response, which is not read yet."""
    parts = urlsplit(server.url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    headers = {"origin": server.url, "connection": "close"}
    headers |= {"cookie": cookie} if cookie else {}
    headers |= {"authorization": f"Bearer {key}"} if key else {}
    headers |= {} if body is None else {"content-type": "application/json"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    return connection.getresponse()


def ask(server, method, path, body=None, **credential):
    answer = send(server, method, path, body, **credential)
    try:
        return answer.status, json.loads(answer.read()), answer.headers
    finally:
        answer.close()


def sign_in(server, **body):
    status, told, headers = ask(server, "POST", "/auth/link" if "token" in body else "/auth/password", body)
    assert status == 201, told
    return headers["set-cookie"].partition(";")[0], told["id"]


def everywhere(server, cookie):
    """The statuses that all workers give."""
    return {ask(server, "GET", "/auth/session", cookie=cookie)[0] for _ in range(ASKED)}


def test_the_first_owner_comes_in_sets_a_password_and_signs_out(server):
    link = server.command_json("sign-in-link", "ann@example.com")["sign_in_link"]
    assert link.startswith(server.url)
    token = link.rpartition("=")[2]
    cookie, _ = sign_in(server, token=token)
    assert everywhere(server, cookie) == {200}
    assert ask(server, "PUT", "/auth/password", {"new_password": PASSWORD}, cookie=cookie)[0] == 200
    by_password, _ = sign_in(server, email="ann@example.com", password=PASSWORD)
    who = ask(server, "GET", "/auth/session", cookie=by_password)[1]
    assert (who["email"], "users:write" in who["actions"]) == ("ann@example.com", True)
    assert ask(server, "POST", "/auth/sign-out", cookie=by_password)[0] == 200
    assert everywhere(server, by_password) == {401}
    assert everywhere(server, cookie) == {200}
    assert ask(server, "POST", "/auth/link", {"token": token})[0] == 401
    server.stop()
    canaries = [PASSWORD, token, cookie.partition("=")[2], by_password.partition("=")[2]]
    for path in server.home.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [canary for canary in canaries if canary.encode() in content], path


def test_a_stream_ends_soon_after_its_session_at_whichever_worker_it_is(server):
    token = server.command_json("sign-in-link", "ann@example.com")["sign_in_link"].rpartition("=")[2]
    cookie, session_id = sign_in(server, token=token)
    key = server.create_key("--scopes", "admin")
    call = {"model": "upstream", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    streams = [send(server, "POST", "/v1/chat/completions", call, cookie=cookie) for _ in range(6)]
    assert {stream.status for stream in streams} == {200}
    assert all(stream.readline().startswith(b"data: {") for stream in streams)
    assert ask(server, "DELETE", f"/admin/v1/sessions/{session_id}", key=key)[0] == 200
    for stream in streams:
        events = stream.read()  # the vendor would go on for minutes
        last = [line for line in events.splitlines() if line.startswith(b"data: ")][-1]
        assert json.loads(last[6:])["error"]["code"] == "invalid_api_key"
        stream.close()
    assert everywhere(server, cookie) == {401}


def test_a_key_that_revokes_itself_is_told_and_is_of_no_use_anywhere(server):
    created = server.command_json("keys", "create", "--name", "short", "--scopes", "admin")
    path = f"/admin/v1/keys/{created['id']}"
    assert ask(server, "DELETE", path, key=created["api_key"])[0] == 200
    assert {ask(server, "GET", "/auth/session", key=created["api_key"])[0] for _ in range(ASKED)} == {401}
