"""Providers and deployments that administrators make, in a whole server with two workers."""

import json
import urllib.error
import urllib.request

from openai import APIStatusError, OpenAI
from tests.e2e.observing import until, vendor_configuration

HELLO = [{"role": "user", "content": "Say hello."}]
CANARY = "sk-canary-51b9-of-an-administrator"
ALLOWING = '\n[outbound]\nallowed_networks = ["127.0.0.0/8"]\n'


def ask(server, key, method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{server.url}/admin/v1{path}", data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def call(server, key, model):
    with OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client:
        try:
            return client.chat.completions.create(model=model, messages=HELLO).choices[0].message.content
        except APIStatusError as error:
            return error.status_code


def names(server, key):
    with OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client:
        return {model.id for model in client.models.list()}


def test_deployment_of_an_administrator_is_called_lives_on_and_ends(install, vendor):
    theirs = vendor("--api-key", CANARY)
    server = install(vendor_configuration(vendor().port) + ALLOWING, workers=2).start()
    admin, key = server.create_key("--scopes", "admin"), server.create_key()
    wanted = {"name": "theirs", "kind": "openai", "base_url": f"http://127.0.0.1:{theirs.port}/v1", "api_key": CANARY}
    status, provider = ask(server, admin, "POST", "/providers", wanted)
    assert (status, provider["has_api_key"]) == (201, True), provider
    assert ask(server, admin, "POST", f"/providers/{provider['id']}/test")[1]["is_ok"]
    status, deployment = ask(
        server, admin, "POST", "/deployments", {"name": "big", "targets": [{"provider": "theirs", "model": "m"}]}
    )
    assert status == 201, deployment

    def answers(count=6):
        return all(isinstance(call(server, key, "big"), str) for _ in range(count))

    assert until(answers)
    assert "big" in names(server, key)
    assert {one["source"] for one in ask(server, admin, "GET", "/deployments")[1]["data"]} == {"api", "file"}
    server.write_configuration(vendor_configuration(theirs.port) + ALLOWING)
    server.command("reload")
    assert answers()
    assert server.stop() == 0
    server.start()
    assert answers()
    status, _ = ask(server, admin, "PATCH", f"/deployments/{deployment['id']}", {"is_enabled": False})
    assert status == 200
    assert until(lambda: [call(server, key, "big") for _ in range(6)] == [404] * 6)
    assert "Traceback" not in server.log()
    assert CANARY not in server.log()
    everything = b"".join(path.read_bytes() for path in server.home.rglob("*") if path.is_file())
    assert CANARY.encode() not in everything


def test_provider_inside_is_refused_unless_the_operator_allows_it(install, vendor):
    theirs = vendor()
    server = install(vendor_configuration(vendor().port)).start()
    admin = server.create_key("--scopes", "admin")
    wanted = {"name": "theirs", "kind": "openai", "base_url": f"http://127.0.0.1:{theirs.port}/v1"}
    status, told = ask(server, admin, "POST", "/providers", wanted)
    assert (status, told["error"]["code"]) == (400, "forbidden_address")
    assert "allowed_networks" in told["error"]["message"]
    key = server.create_key()
    assert isinstance(call(server, key, "upstream"), str)  # what the file declares is the operator's word
