"""`mainstay keys`, as people and programs use it."""

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mainstay.cli.keys import keys
from mainstay.kit import control
from mainstay.supervisor.paths import control_path, prepare_run_directory

SECRET = re.compile(r"sk-[A-Za-z0-9_-]{43}")
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("MAINSTAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MAINSTAY_DATABASE_URL", database_url)
    return lambda *arguments: CliRunner().invoke(keys, arguments)


def _json(result: Result) -> Any:
    return json.loads(result.stdout)


def test_new_key_is_shown_once_and_never_again(run: Run) -> None:
    created = run("create", "--name", "ci", "--expires", "30d", "--deployments", "a, b", "--rpm", "5", "--tpm", "900")
    assert created.exit_code == 0, created.output
    assert SECRET.fullmatch(created.stdout.strip())
    assert "only time" in created.stderr
    (key,) = _json(run("list", "--json"))
    assert (key["name"], key["state"], key["deployments"]) == ("ci", "active", ["a", "b"])
    assert (key["requests_per_minute"], key["tokens_per_minute"], key["scopes"]) == (5, 900, ["inference"])
    for arguments in (["list"], ["show", key["id"]], ["show", key["id"], "--json"], ["revoke", key["id"]]):
        shown = run(*arguments)
        assert shown.exit_code == 0, shown.output
        assert not SECRET.search(shown.output)
        assert "digest" not in shown.output


def test_replaced_key_is_good_for_the_overlap_and_says_by_what_it_was_replaced(run: Run) -> None:
    old = _json(run("create", "--name", "ci", "--networks", "10.0.0.0/8, 192.0.2.7", "--json"))
    assert old["networks"] == ["10.0.0.0/8", "192.0.2.7/32"]
    rotated = run("rotate", "ci", "--overlap", "2h")
    assert rotated.exit_code == 0, rotated.output
    assert SECRET.fullmatch(rotated.stdout.strip())
    new, before = sorted(_json(run("list", "--json")), key=lambda key: key["id"] == old["id"])
    assert (before["rotated_to"], before["state"]) == (new["id"], "active")
    assert new["networks"] == old["networks"]
    assert "replaced by" in run("show", old["id"]).stdout
    assert run("rotate", old["id"]).exit_code != 0
    assert run("rotate", new["id"], "--overlap", "10").exit_code != 0
    assert _json(run("show", "ci", "--json"))["id"] == new["id"]
    assert run("create", "--name", "x", "--networks", "10.0.0.1/8").exit_code != 0
    assert run("rotate", new["id"], "--overlap", "0").exit_code == 0
    assert {key["state"] for key in _json(run("list", "--json"))} >= {"expired"}


def test_program_gets_one_document_with_the_key(run: Run) -> None:
    created = run("create", "--name", "x", "--scopes", "admin,inference", "--json")
    document = _json(created)
    assert SECRET.fullmatch(document["api_key"])
    assert document["scopes"] == ["admin", "inference"]
    assert created.stderr == ""


def test_revoked_key_leaves_the_list_and_stays_under_all(run: Run) -> None:
    key_id = _json(run("create", "--name", "x", "--json"))["id"]
    assert _json(run("revoke", key_id, "--json"))["state"] == "revoked"
    assert _json(run("list", "--json")) == []
    assert _json(run("list", "--all", "--json"))[0]["state"] == "revoked"


def test_mistake_in_the_settings_hides_no_key_and_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / "mainstay.toml").write_text("a = 1\nb = 1\nc = 1\nd = 1\n")
    created = run("create", "--name", "x")
    assert SECRET.fullmatch(created.stdout.strip())
    assert created.stderr.count("warning: mainstay.toml:") == 3
    assert "warning: 4 problems in all; `mainstay deployments check` lists them." in created.stderr
    assert run("list", "--json").stderr == ""


def test_key_is_found_by_its_name_and_by_the_beginning_of_its_id(run: Run) -> None:
    key_id = _json(run("create", "--name", "app", "--json"))["id"]
    for text in ("app", key_id[:12]):
        assert _json(run("show", text, "--json"))["id"] == key_id
    other = _json(run("create", "--name", "app", "--json"))["id"]
    result = run("revoke", "app")
    assert result.exit_code == 1
    assert f"2 keys are named app: {key_id}, {other}; give the id of one." in result.stderr
    run("revoke", other)
    assert f"Revoked {key_id} (app)" in run("revoke", "app").stdout


def test_key_that_was_revoked_already_is_told_so_with_the_time(run: Run) -> None:
    key_id = _json(run("create", "--name", "app", "--json"))["id"]
    at = _json(run("revoke", key_id, "--json"))["revoked_at"]
    assert run("revoke", key_id).stdout == f"{key_id} (app) was revoked already, at {at}; nothing is changed.\n"


def test_new_key_for_a_deployment_that_does_not_exist_is_warned_of(run: Run, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / "mainstay.toml").write_text(
        '[[deployments]]\nname = "chat"\ntargets = [{ provider = "local", model = "m" }]\n[aliases]\ngpt = "chat"\n'
    )
    created = run("create", "--name", "x", "--deployments", "chat,gpt,nope")
    assert created.exit_code == 0, created.output
    assert created.stderr.count("warning: No deployment is named") == 1
    assert "named nope" in created.stderr


def test_people_get_the_id_of_a_new_key_and_short_lists_and_plain_words(run: Run) -> None:
    created = run(
        "create",
        "--name",
        "a name of many letters",
        "--scopes",
        "admin,inference",
        "--rpm",
        "600",
        "--tpm",
        "100000",
        "--deployments",
        "one-deployment,another",
        "--expires",
        "30d",
    )
    (key,) = _json(run("list", "--json"))
    assert f"Key {key['id']}: " in created.stderr
    lines = run("list", "--all").stdout.splitlines()
    assert lines[1].startswith(f"{key['id'][:12]}  ")
    assert max(map(len, lines)) <= 100
    shown = run("show", key["id"]).stdout
    assert "scopes       admin, inference\n" in shown
    assert "requests     600 per minute\n" in shown
    assert "None" not in shown
    assert "deployments  all\n" in run("show", run("create", "--name", "b").stderr.split()[1].rstrip(":")).stdout


def test_first_key_is_made_once(run: Run) -> None:
    assert SECRET.fullmatch(_json(run("first", "--json"))["api_key"])
    assert _json(run("first", "--json")) == {"api_key": None}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "--name", "x", "--expires", "soon"], "no duration"),
        (["create", "--name", "x", "--expires", "30"], "write one of 30m, 30h, 30d, 30y"),
        (["create", "--name", "x", "--expires", "0d"], "no duration"),
        (["create", "--name", "x", "--expires", "9" * 30 + "y"], "no duration"),
        (["create", "--name", "x", "--scopes", "root"], "no scope 'root'"),
        (["create", "--name", "x", "--deployments", ","], "1 to 1000 deployments"),
        (["create", "--name", "x", "--rpm", "0"], "requests_per_minute is 0"),
        (["create", "--name", ""], "needs a name"),
        (["revoke", "key_none"], "no key 'key_none'"),
        (["show", "' OR 1=1"], "no key"),
    ],
)
def test_mistake_is_one_line_and_exit_code_1(run: Run, arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "error" in _json(run(*arguments, "--json"))


def test_pepper_that_others_can_read_is_refused_with_the_remedy(run: Run, tmp_path: Path) -> None:
    run("create", "--name", "x")
    (tmp_path / "home" / "keys" / "pepper").chmod(0o644)
    result = run("create", "--name", "y")
    assert result.exit_code == 1
    assert "chmod 600" in result.stderr


def test_running_server_is_told_of_a_new_key(run: Run, tmp_path: Path) -> None:
    import asyncio

    told = threading.Event()
    listening = threading.Event()
    stop = asyncio.Event()

    async def keys_changed(connection: control.Connection, params: control.Params) -> None:
        told.set()

    async def serve() -> None:
        prepare_run_directory(tmp_path / "home")
        server = await control.listen(control_path(tmp_path / "home"), {"keys_changed": keys_changed})
        async with server:
            loop.append(asyncio.get_running_loop())
            listening.set()
            await stop.wait()

    loop: list[asyncio.AbstractEventLoop] = []
    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert listening.wait(20)
        assert run("create", "--name", "x").exit_code == 0
        assert told.wait(20)
    finally:
        loop[0].call_soon_threadsafe(stop.set)
        thread.join(20)
