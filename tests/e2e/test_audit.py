"""The audit log of a whole server: killed in the middle of writes, sent out, exported, verified offline."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from tests.e2e.observing import until

from mainstay.cli.running import local_key

CONFIGURATION = '[outbound]\nallowed_networks = ["127.0.0.0/8"]\n'


class Receiver(ThreadingHTTPServer):
    """Keeps the numbers of the events that it was sent."""

    def __init__(self) -> None:
        self.sequences: list[int] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert self.headers["webhook-signature"].startswith("v1,")
        self.server.sequences += [event["body"]["sequence"] for event in message["data"]["events"]]
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


class Administrator:
    """Speaks to a server on a connection of its own, and raises OSError when it is gone.

    Without a key it is the owner of the machine.
    """

    def __init__(self, server, key: str | None = None) -> None:
        key = key or local_key(server.environment())
        where = urlsplit(server.url)
        self._connection = HTTPConnection(where.hostname, where.port, timeout=30)
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        data = None if body is None else json.dumps(body)
        self._connection.request(method, f"/admin/v1{path}", data, self._headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def close(self) -> None:
        self._connection.close()


def _make_projects(server, key: str, prefix: str, made: list[str]) -> None:
    """Make projects until the server is gone; `made` are those that it has acknowledged."""
    administrator = Administrator(server, key)
    try:
        while True:
            status, answer = administrator.ask("POST", "/projects", {"name": f"{prefix} {len(made)}"})
            assert status == 201, answer
            made.append(json.loads(answer)["id"])
    except (OSError, ValueError, ConnectionError):
        return  # the server is gone, perhaps in the middle of an answer
    finally:
        administrator.close()


@pytest.mark.timeout(300)
def test_server_that_is_killed_in_the_middle_of_writes_loses_nothing_acknowledged(
    install, empty_database_url, tmp_path
):
    environment = {"MAINSTAY_DATABASE_URL": empty_database_url}
    server = install(CONFIGURATION, environment=environment, workers=2).start()
    key = server.create_key("--scopes", "admin")
    made: list[str] = []
    with Receiver() as receiver:
        administrator = Administrator(server)
        url = f"http://127.0.0.1:{receiver.server_port}/"
        status, answer = administrator.ask("POST", "/audit/webhooks", {"name": "SIEM", "url": url, "after_sequence": 0})
        assert status == 201, answer
        administrator.close()
        for attempt in range(2):
            each: list[list[str]] = [[] for _ in range(3)]
            with ThreadPoolExecutor(len(each)) as threads:
                for number, mine in enumerate(each):
                    threads.submit(_make_projects, server, key, f"{attempt}-{number}", mine)
                assert until(lambda every=each: sum(map(len, every)) >= 20, 60)
                server.kill()
            made += [one for mine in each for one in mine]
            server.start()
        administrator = Administrator(server)
        found = [administrator.ask("GET", f"/projects/{one}")[0] for one in made]
        assert set(found) == {200}
        reports = server.command_json("audit", "verify")
        assert [report["is_intact"] for report in reports] == [True], reports
        newest = reports[0]["last_sequence"]
        assert until(lambda: set(range(1, newest + 1)) <= set(receiver.sequences), 60), receiver.sequences[-3:]
    status, exported = administrator.ask("GET", "/audit/export")
    assert status == 200
    created = [line["body"] for line in map(json.loads, exported.splitlines()) if line["type"] == "event"]
    audited = {event["target"]["id"] for event in created if event["action"] == "project.created"}
    assert set(made) <= audited
    path = tmp_path / "export.jsonl"
    path.write_bytes(exported)
    public = server.command("audit", "public-key").stdout.strip()
    assert server.command("audit", "verify", str(path), "--public-key", public).returncode == 0
    path.write_bytes(exported.replace(b"project.created", b"project.deleted", 1))
    assert server.command("audit", "verify", str(path), "--public-key", public, check=False).returncode == 1
    administrator.close()
    assert "Traceback" not in server.log()


def test_refused_caller_is_in_the_log_and_rotated_keys_keep_a_server_working(install):
    server = install(CONFIGURATION).start()
    administrator, stranger = Administrator(server), Administrator(server, server.create_key())
    with Receiver() as receiver:
        hook = {"name": "SIEM", "url": f"http://127.0.0.1:{receiver.server_port}/", "actions": ["project"]}
        assert administrator.ask("POST", "/audit/webhooks", hook)[0] == 201
        assert stranger.ask("GET", "/audit/events")[0] == 403

        def denials():
            return json.loads(administrator.ask("GET", "/audit/events?action=access.denied")[1])["data"]

        assert until(lambda: bool(denials()))
        server.command("secrets", "rotate", "--data-keys")
        (old,) = [path for path in (server.home / "keys" / "root").iterdir() if path.name == "0001.key"]
        old.unlink()
        assert administrator.ask("POST", "/projects", {"name": "after the rotation"})[0] == 201
        assert until(lambda: bool(receiver.sequences))
    administrator.close()
    stranger.close()
    assert server.command_json("audit", "list", "--action", "secrets.rotated")
