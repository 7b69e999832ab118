"""Commands that read make no installation where there is none."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mainstay.cli.audit import audit
from mainstay.cli.entry import mainstay

READING = [
    ["audit", "verify"],
    ["audit", "export"],
    ["audit", "list"],
    ["audit", "public-key"],
    ["secrets", "status"],
    ["secrets", "rotate"],
    ["usage"],
    ["usage", "--key", "x"],
    ["keys", "list"],
    ["keys", "show", "x"],
    ["keys", "revoke", "x"],
    ["keys", "rotate", "x"],
    ["sign-in-link", "ann@example.org"],
]


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
@pytest.mark.parametrize("is_there", [False, True])
def test_nothing_is_made_by_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], *, is_there: bool
) -> None:
    home = tmp_path / "home"
    if is_there:
        home.mkdir()
    monkeypatch.setenv("MAINSTAY_HOME", str(home))
    monkeypatch.delenv("MAINSTAY_DATABASE_URL", raising=False)
    result = CliRunner().invoke(mainstay, arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"mainstay: There is no installation in {home}; set MAINSTAY_HOME, or start one with `make run` or "
        "`mainstay serve`.\n"
    )
    assert list(tmp_path.rglob("*")) == ([home] if is_there else [])


def test_empty_database_is_no_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_database_url: str
) -> None:
    monkeypatch.setenv("MAINSTAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MAINSTAY_DATABASE_URL", empty_database_url)
    result = CliRunner().invoke(mainstay, ["keys", "list", "--json"])
    assert result.exit_code == 1
    assert "There is no installation" in json.loads(result.stdout)["error"]["message"]
    assert not (tmp_path / "home").exists()


def test_schema_elsewhere_is_an_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setenv("MAINSTAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MAINSTAY_DATABASE_URL", database_url)
    assert CliRunner().invoke(audit, ["list"]).exit_code == 0


def test_first_key_makes_an_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAINSTAY_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MAINSTAY_DATABASE_URL", raising=False)
    assert CliRunner().invoke(mainstay, ["keys", "create", "--name", "x"]).exit_code == 0
    assert CliRunner().invoke(mainstay, ["keys", "list"]).exit_code == 0
