"""`mainstay doctor` finds what is wrong, says what to do, and survives what it looks at."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from mainstay.cli import in_use
from mainstay.cli.doctor import doctor
from mainstay.cli.doctor.findings import Finding, Level, examine, ok
from mainstay.kit.database import open_database
from mainstay.migrations import ensure_current
from mainstay.platform.catalog.add import add_gguf
from mainstay.platform.catalog.catalog import Catalog
from mainstay.platform.catalog.store import Store
from mainstay.testing.tiny_gguf import write_tiny_gguf


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("MAINSTAY_HOME", str(home))
    monkeypatch.setenv("MAINSTAY_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("MAINSTAY_PORT", "0")
    return home


def install_tiny_model(home: Path) -> str:
    store = Store(home.parent / "models")
    return add_gguf(write_tiny_gguf(home.parent / "tiny.gguf"), store, Catalog.load(store)).id


def examined(*arguments: str, healthy: bool) -> dict[str, list[dict[str, str]]]:
    """Run doctor; return its findings by name."""
    result = CliRunner().invoke(doctor, [*arguments, "--json"])
    assert result.exit_code == (0 if healthy else 1), result.output
    document = json.loads(result.stdout)
    assert document["is_healthy"] is healthy
    found: dict[str, list[dict[str, str]]] = {}
    for finding in document["findings"]:
        found.setdefault(finding["name"], []).append(finding)
    return found


def problems(findings: list[dict[str, str]]) -> list[dict[str, str]]:
    return [finding for finding in findings if finding["level"] == "problem"]


def test_healthy_installation_has_no_problem(home: Path, monkeypatch: pytest.MonkeyPatch):
    tiny = install_tiny_model(home)
    monkeypatch.setenv("MAINSTAY_DEFAULT_MODEL", tiny)
    found = examined(healthy=True)
    assert {"python", "platform", "machine", "engine", "settings", "home", "models", "database", "port"} <= set(found)
    assert [finding["level"] for finding in found["engine"]] == ["ok", "ok"]
    assert tiny in found["weights"][0]["message"]
    assert "provider" not in found


def test_text_has_one_line_for_each_finding_and_one_for_each_remedy(home: Path):
    (home / "mainstay.toml").write_text("[server]\nhots = 'x'\n")
    result = CliRunner().invoke(doctor)
    assert result.exit_code == 1
    assert 'problem  settings    mainstay.toml:2: Unknown key "hots" in server. Did you mean "host"?' in result.stdout
    assert "-> Correct that, then: mainstay deployments check" in result.stdout


def test_bad_settings_are_told_and_the_rest_is_examined_still(home: Path):
    (home / "mainstay.toml").write_text("[[[")
    found = examined(healthy=False)
    assert found["settings"][0]["level"] == "problem"
    assert {"engine", "home", "models", "database", "weights", "port"} <= set(found)


def test_database_is_not_examined_when_it_is_not_known_which_is_meant(home: Path):
    (home / "mainstay.toml").write_text("[database]\nurl = 'x'\n")
    assert "database" not in examined(healthy=False)


def test_many_problems_of_the_settings_have_one_advice(home: Path):
    (home / "mainstay.toml").write_text("a = 1\nb = 1\nc = 1\n")
    found = examined(healthy=False)["settings"]
    assert [bool(one["remedy"]) for one in found] == [False, False, True]


def test_key_of_a_provider_that_this_shell_lacks_is_a_warning(home: Path):
    (home / "mainstay.toml").write_text(
        '[[providers]]\nname = "p"\nkind = "openai"\nbase_url = "https://x/v1"\napi_key_env = "NO_SUCH_KEY"\n'
    )
    (_, finding) = examined(healthy=True)["settings"]
    assert finding["level"] == "warning"
    assert "NO_SUCH_KEY is not set in this shell; the server needs it when it starts" in finding["message"]


def test_warnings_of_the_settings_are_told(home: Path, monkeypatch: pytest.MonkeyPatch):
    install_tiny_model(home)
    monkeypatch.setenv("MAINSTAY_PROT", "1")
    assert "MAINSTAY_PORT" in examined(healthy=True)["settings"][1]["message"]


def test_nothing_to_answer_with_is_a_warning(home: Path):
    (finding,) = examined(healthy=True)["weights"]
    assert (finding["level"], finding["remedy"]) == ("warning", "make run")


def test_deployed_model_that_is_not_installed_is_a_problem_with_its_line(home: Path):
    (home / "mainstay.toml").write_text(
        '[[deployments]]\nname = "chat"\ntargets = [\n{ provider = "local", model = "smollm2-135m-instruct" }]\n'
    )
    (finding,) = problems(examined(healthy=False)["weights"])
    assert finding["message"].startswith("mainstay.toml:4: Model 'smollm2-135m-instruct' of deployment 'chat'")
    assert "mainstay models pull smollm2-135m-instruct" in finding["remedy"]


def test_secrets_that_others_may_read_are_a_problem(home: Path):
    (home / "keys").mkdir(mode=0o700)
    (home / "keys" / "pepper").write_bytes(b"x")
    (home / "keys" / "pepper").chmod(0o644)
    (finding,) = [one for one in examined(healthy=False)["keys"] if one["level"] == "problem"]
    assert "pepper" in finding["message"]
    assert "chmod 600" in finding["remedy"]


def test_home_that_is_a_file_is_a_problem(home: Path, monkeypatch: pytest.MonkeyPatch):
    (home / "file").write_text("")
    monkeypatch.setenv("MAINSTAY_HOME", str(home / "file"))
    assert problems(examined(healthy=False)["home"])


def test_home_that_does_not_exist_yet_is_fine_and_is_not_made(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MAINSTAY_HOME", str(home / "new" / "deep"))
    install_tiny_model(home)
    assert "does not exist yet" in examined(healthy=True)["home"][0]["message"]
    assert not (home / "new").exists()


def test_database_that_is_no_database_is_a_problem(home: Path):
    (home / "mainstay.db").write_bytes(b"no database at all" * 500)
    assert problems(examined(healthy=False)["database"])


def test_migrated_database_is_fine_and_one_without_tables_is_a_warning(home: Path, migrated_sqlite: Path):
    install_tiny_model(home)
    (home / "mainstay.db").write_bytes(migrated_sqlite.read_bytes())
    assert "at schema version" in examined(healthy=True)["database"][0]["message"]
    (home / "mainstay.db").write_bytes(b"")
    (finding,) = examined(healthy=True)["database"]
    assert (finding["level"], "upgrades it" in finding["remedy"]) == ("warning", True)


def test_unreachable_database_is_a_problem_without_its_password(home: Path, monkeypatch: pytest.MonkeyPatch):
    with taken_port() as port:
        pass
    monkeypatch.setenv("MAINSTAY_DATABASE_URL", f"postgresql://user:hidden@127.0.0.1:{port}/x")
    (finding,) = examined(healthy=False)["database"]
    assert finding["level"] == "problem"
    assert "hidden" not in json.dumps(finding)


def test_port_of_another_program_is_a_problem(home: Path, monkeypatch: pytest.MonkeyPatch):
    with served(b"hello") as port:
        monkeypatch.setenv("MAINSTAY_PORT", str(port))
        (finding,) = problems(examined(healthy=False)["port"])
    assert f"Another program listens at 127.0.0.1:{port}" in finding["message"]
    assert finding["remedy"] == "Stop it, or choose another port: set MAINSTAY_PORT."


def test_port_where_mainstay_is_alive_is_fine(home: Path, monkeypatch: pytest.MonkeyPatch):
    install_tiny_model(home)
    with served(b'{"status":"ok"}') as port:
        monkeypatch.setenv("MAINSTAY_PORT", str(port))
        (finding,) = examined(healthy=True)["port"]
    assert finding["message"] == f"Mainstay is alive at 127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("readiness", "level", "message"),
    [
        (b'{"ready":true,"waiting_for":[]}', "ok", "is ready; loaded: tiny (ready)"),
        (b'{"ready":false,"waiting_for":["model tiny"]}', "warning", "waits for model tiny."),
        (b"nonsense", "warning", "does not answer"),
    ],
)
def test_running_server_is_asked_what_it_has_and_what_it_waits_for(
    home: Path, monkeypatch: pytest.MonkeyPatch, readiness: bytes, level: str, message: str
):
    engines = [{"model": "tiny", "phase": "ready"}, {"model": "old", "phase": "stopped"}]
    monkeypatch.setattr(in_use, "call", lambda *_, **__: {"engines": engines})
    with served(readiness) as port:
        monkeypatch.setattr("mainstay.cli.doctor.server.local_address", lambda: f"http://127.0.0.1:{port}")
        (finding,) = examined(healthy=True)["server"]
    assert finding["level"] == level
    assert message in finding["message"]


def test_free_port_is_fine(home: Path, monkeypatch: pytest.MonkeyPatch):
    install_tiny_model(home)
    with taken_port() as port:
        pass
    monkeypatch.setenv("MAINSTAY_PORT", str(port))
    assert examined(healthy=True)["port"][0]["message"] == f"127.0.0.1:{port} is free"


def test_address_of_another_machine_is_a_problem(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MAINSTAY_HOST", "192.0.2.1")
    monkeypatch.setenv("MAINSTAY_PORT", "8080")
    assert problems(examined(healthy=False)["port"])


def test_providers_are_reached_only_when_asked_for(home: Path):
    with taken_port() as open_port, taken_port() as closed_port:
        (home / "mainstay.toml").write_text(
            f'[[providers]]\nname = "near"\nkind = "openai"\nbase_url = "http://127.0.0.1:{open_port}/v1"\n'
            f'[[providers]]\nname = "proxied"\nkind = "openai"\nbase_url = "https://nowhere.invalid/v1"\n'
            f'proxy = "http://user:hidden@127.0.0.1:{open_port}"\n'
        )
        assert "provider" not in examined(healthy=True)
        found = examined("--network", healthy=True)["provider"]
    assert [finding["level"] for finding in found] == ["ok", "ok"]
    assert "hidden" not in json.dumps(found)
    (home / "mainstay.toml").write_text(
        f'[[providers]]\nname = "gone"\nkind = "openai"\nbase_url = "http://127.0.0.1:{closed_port}/v1"\n'
    )
    (finding,) = examined("--network", healthy=True)["provider"]
    assert (finding["level"], "'gone'" in finding["message"]) == ("warning", True)


async def test_check_that_breaks_is_a_finding_and_hides_no_other():
    async def broken() -> list[Finding]:
        raise RuntimeError("no such luck")

    async def sound() -> list[Finding]:
        return [ok("sound", "fine")]

    first, second = await examine([("broken", broken), ("sound", sound)])
    assert (first.level, second.level) == (Level.PROBLEM, Level.OK)
    assert "RuntimeError: no such luck" in first.message


def test_doctor_leaves_no_trace(home: Path):
    asyncio.run(_migrate(home))
    before = sorted(home.rglob("*"))
    CliRunner().invoke(doctor, ["--network"])
    assert sorted(home.rglob("*")) == before
    assert not (home.parent / "models").exists()


async def _migrate(home: Path) -> None:
    database = open_database(f"sqlite:///{home / 'mainstay.db'}")
    await ensure_current(database)
    await database.aclose()


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@contextmanager
def served(body: bytes) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
