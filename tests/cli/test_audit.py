"""`mainstay audit`, as people and programs use it: offline, and with an exit code."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.platform.audit.conftest import Log, TurnedClock

from mainstay.cli.audit import audit
from mainstay.kit.database import open_database
from mainstay.kit.secrets import load_or_create_secret
from mainstay.platform.audit.signing import Signer

Run = Callable[..., Result]


async def _fill(url: str, home: Path) -> None:
    database = open_database(url)
    log = Log(database, TurnedClock(), Signer(load_or_create_secret(home / "keys" / "audit")), home)
    await log.append(50)
    await log.append(5, organisation_id="org_b")
    await log.sign()
    await log.append(10)
    await database.aclose()


async def _run_sql(url: str, sql: str) -> None:
    database = open_database(url)
    async with database.transaction() as transaction:
        await transaction.execute(sql)
    await database.aclose()


@pytest.fixture
def run(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("MAINSTAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MAINSTAY_DATABASE_URL", database_url)
    asyncio.run(_fill(database_url, tmp_path / "home"))
    return lambda *arguments: CliRunner().invoke(audit, arguments)


def test_all_logs_of_the_database_are_verified(run: Run) -> None:
    result = run("verify")
    assert result.exit_code == 0, result.output
    assert "org_b: 5 events intact" in result.stdout
    assert "org_default: 60 events intact, 1 checkpoints right, the last 10 not signed yet" in result.stdout


def test_changed_log_ends_with_exit_code_1_and_says_where(run: Run, database_url: str) -> None:
    asyncio.run(_run_sql(database_url, "UPDATE audit_events SET actor_id = 'user_9' WHERE sequence = 7"))
    result = run("verify", "--organisation", "org_default")
    assert result.exit_code == 1
    assert "NOT INTACT: 1 faults" in result.stdout
    assert "Event 7: the columns that it is searched by differ from its content." in result.stdout
    reports = json.loads(run("verify", "--json").stdout)
    assert [(report["organisation_id"], report["is_intact"]) for report in reports] == [
        ("org_b", True),
        ("org_default", False),
    ]


def test_export_is_verified_without_the_database(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "export.jsonl"
    assert run("export", "--output", str(path)).exit_code == 0
    assert path.stat().st_mode & 0o777 == 0o600
    key = run("public-key").stdout.strip()
    monkeypatch.setenv("MAINSTAY_DATABASE_URL", "postgresql://nobody@/none?host=/tmp/ms-no-such-folder")
    result = run("verify", str(path), "--public-key", key)
    assert result.exit_code == 0, result.output
    assert "60 events intact" in result.stdout
    assert "brings along" not in result.stderr
    assert "brings along" in run("verify", str(path)).stderr
    lines = path.read_bytes().splitlines(keepends=True)
    (tmp_path / "cut.jsonl").write_bytes(b"".join(lines[:30] + lines[31:]))
    assert run("verify", str(tmp_path / "cut.jsonl"), "--public-key", key).exit_code == 1


def test_export_goes_to_standard_output_and_is_in_the_log(run: Run) -> None:
    result = run("export", "--action", "policy", "--since", "2020-01-01")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert {line["type"] for line in lines} == {"header", "event", "end"}
    events = json.loads(run("list", "--action", "audit.exported", "--json").stdout)
    assert (events[0]["actor"]["type"], events[0]["details"]["filters"]["action"]) == ("operator", "policy")


def test_existing_file_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    (tmp_path / "old.jsonl").write_text("precious")
    result = run("export", "--output", str(tmp_path / "old.jsonl"))
    assert result.exit_code == 1
    assert (tmp_path / "old.jsonl").read_text() == "precious"


def test_log_that_was_cut_off_does_not_agree_with_an_older_export(run: Run, tmp_path: Path, database_url: str) -> None:
    path = tmp_path / "older.jsonl"
    run("export", "--output", str(path))
    assert run("verify", "--organisation", "org_default", "--against", str(path)).exit_code == 0
    asyncio.run(_run_sql(database_url, "DELETE FROM audit_events WHERE sequence > 55"))
    head = "UPDATE audit_heads SET sequence = 55, hash = (SELECT hash FROM audit_events WHERE sequence = 55)"
    asyncio.run(_run_sql(database_url, head + " WHERE organisation_id = 'org_default'"))
    assert run("verify", "--organisation", "org_default").exit_code == 0
    result = run("verify", "--organisation", "org_default", "--against", str(path))
    assert result.exit_code == 1
    assert "it is in older.jsonl, but not in the log" in result.stdout
    newer = tmp_path / "newer.jsonl"
    run("export", "--output", str(newer))
    assert run("verify", str(newer)).exit_code == 0
    assert run("verify", str(newer), "--against", str(path)).exit_code == 1


def test_events_are_listed_newest_first_and_steer_no_terminal(run: Run, database_url: str) -> None:
    asyncio.run(_run_sql(database_url, "UPDATE audit_events SET actor_id = 'x\x1b[2J' WHERE sequence = 60"))
    result = run("list", "--limit", "3")
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["EVENT", "60", "59", "58"]
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "--public-key", "no key"),
        ("verify", "--organisation", "org_none"),
        ("export", "--action", "%"),
        ("export", "--since", "yesterday"),
        ("list", "--action", "A"),
    ],
)
def test_mistakes_are_told_in_one_line(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("mainstay: ")
    assert len(result.stderr.splitlines()) == 1


def test_file_that_is_no_export_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\x7fELF")
    result = run("verify", str(tmp_path / "x"))
    assert result.exit_code == 1
    assert "x is no export of an audit log" in result.stderr
