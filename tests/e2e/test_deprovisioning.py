"""Someone leaves: the directory says so by SCIM, and within seconds nothing of theirs is good any more."""

import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from tests.e2e.observing import until, vendor_configuration

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
QUESTION = {"model": "upstream", "messages": [{"role": "user", "content": "Say hello."}]}
ENDED_SECONDS = 5.0


def client(server, token=None):
    """A program with a token, or a browser on a page of the server's."""
    headers = {"origin": server.url} if token is None else {"authorization": f"Bearer {token}"}
    return httpx2.Client(base_url=server.url, headers=headers, timeout=60)


def created(response):
    assert response.status_code in (200, 201), response.text
    return response.json()


def patch(value):
    return {"schemas": [PATCH], "Operations": [{"op": "Replace", "path": "active", "value": value}]}


def sign_in(admin, browser, user_id):
    """Sign a user in with a link that an administrator makes."""
    link = created(admin.post(f"/admin/v1/users/{user_id}/sign_in_links", json={}))
    token = parse_qs(urlsplit(link["url"]).query)["token"][0]
    created(browser.post("/auth/link", json={"token": token}))


def read_stream(client, began):
    """Read a stream to its end; return what came and when it ended."""
    with client.stream("POST", "/v1/chat/completions", json=QUESTION | {"stream": True}) as response:
        assert response.status_code == 200
        lines = response.iter_lines()
        first = next(lines)
        began.append(first)
        return [first, *lines], time.monotonic()


@pytest.mark.parametrize("workers", [1, 2])
def test_whom_the_directory_deactivates_is_out_within_seconds(install, vendor, workers):
    slow = vendor("--chunks", "2000", "--delay", "0.05").port
    server = install(vendor_configuration(slow), workers=workers).start()
    with (
        client(server, server.create_key("--scopes", "admin,inference")) as admin,
        client(server, server.create_key("--scopes", "scim")) as directory,
        client(server) as browser,
    ):
        leaver = created(directory.post("/scim/v2/Users", json={"schemas": [USER], "userName": "leaver@example.com"}))
        members = {"schemas": [GROUP], "displayName": "Staff", "members": [{"value": leaver["id"]}]}
        staff = created(directory.post("/scim/v2/Groups", json=members))
        created(admin.post("/admin/v1/bindings", json={"principal_id": staff["id"], "role_id": "role_member"}))
        sign_in(admin, browser, leaver["id"])
        key = created(browser.post("/admin/v1/my/keys", json={"name": "mine"}))["value"]
        with client(server, key) as program, ThreadPoolExecutor(2) as threads:
            began = []
            streams = [threads.submit(read_stream, one, began) for one in (program, browser)]
            assert until(lambda: len(began) == 2)
            deactivated = time.monotonic()
            assert created(directory.patch(f"/scim/v2/Users/{leaver['id']}", json=patch("False")))["active"] is False
            for stream in streams:
                lines, ended = stream.result(30)
                assert ended - deactivated < ENDED_SECONDS
                assert '"error"' in "".join(lines[-4:])
                assert "[DONE]" not in "".join(lines)
            assert program.post("/v1/chat/completions", json=QUESTION).status_code in (401, 403)
            assert browser.get("/admin/v1/my/keys").status_code == 401
            link = admin.post(f"/admin/v1/users/{leaver['id']}/sign_in_links", json={})
            assert link.status_code >= 400
            # Back again: the key works, the session stays ended.
            created(directory.patch(f"/scim/v2/Users/{leaver['id']}", json=patch("True")))
            assert program.get("/v1/models").status_code == 200
            assert browser.get("/admin/v1/my/keys").status_code == 401
            assert directory.delete(f"/scim/v2/Users/{leaver['id']}").status_code == 204
            assert program.get("/v1/models").status_code == 401
