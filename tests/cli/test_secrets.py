"""`mainstay secrets`: rotation from end to end, with its audit events."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mainstay.cli.secrets import secrets
from mainstay.kit.clock import SystemClock
from mainstay.kit.database import open_database
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.audit.ledger import Ledger
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.audit_webhooks import NewWebhook, Webhooks
from mainstay.platform.vault.root_keys import RootKeys
from mainstay.platform.vault.vault import Vault

Run = Callable[..., Result]


async def _fill(url: str, home: Path) -> None:
    database, clock = open_database(url), SystemClock()
    vault = Vault(database, RootKeys(home / "keys" / "root"), clock)
    webhooks = Webhooks(database, Acts(Ledger(clock), clock), vault, clock)
    for number in range(5):
        await webhooks.create(SYSTEM, f"org_{number % 2}", NewWebhook(name="x", url="https://siem.example"))
    digest = b"\x05" * 32
    sealed = await vault.seal("org_0", b"{}", purpose=f"sign_in_attempts.details/{digest.hex()}")
    async with database.transaction() as transaction:
        await transaction.execute(
            "INSERT INTO sign_in_attempts (state_digest, organisation_id, provider_id, details, expires_at_ms) "
            "VALUES (:digest, 'org_0', 'idp_1', :details, 0)",
            {"digest": digest, "details": sealed},
        )
    await database.aclose()


async def _rows(url: str, sql: str) -> list[tuple[object, ...]]:
    database = open_database(url)
    rows = await database.fetch(sql)
    await database.aclose()
    return rows


@pytest.fixture
def run(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("MAINSTAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MAINSTAY_DATABASE_URL", database_url)
    asyncio.run(_fill(database_url, tmp_path / "home"))
    return lambda *arguments: CliRunner().invoke(secrets, arguments)


def test_rotation_makes_a_new_root_key_and_names_the_old_one(run: Run, tmp_path: Path, database_url: str) -> None:
    result = run("rotate")
    assert result.exit_code == 0, result.output
    assert "2 were sealed anew" in result.stdout
    assert "0001.key any more" in result.stderr
    (tmp_path / "home" / "keys" / "root" / "0001.key").unlink()
    uses = json.loads(run("status", "--json").stdout)
    assert [(use["is_newest"], use["data_keys"]) for use in uses] == [(True, 2)]
    events = asyncio.run(_rows(database_url, "SELECT actor_id FROM audit_events WHERE action = 'secrets.rotated'"))
    assert events == [("operator",), ("operator",)]


def test_new_data_keys_seal_every_secret_anew(run: Run, database_url: str) -> None:
    result = run("rotate", "--data-keys", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["secrets"] == {"sealed_anew": 6, "up_to_date": 0, "unreadable": []}
    assert told["organisations"] == 2
    rows = asyncio.run(_rows(database_url, "SELECT COUNT(*) FROM data_keys WHERE retired_at_ms IS NOT NULL"))
    assert rows == [(2,)]


def test_missing_root_key_is_shown_and_stops_a_rotation(run: Run, tmp_path: Path) -> None:
    (tmp_path / "home" / "keys" / "root" / "0001.key").unlink()
    assert "MISSING" in run("status").stdout
    result = run("rotate")
    assert result.exit_code == 1
    assert "Restore its file from a backup" in result.stderr


def test_nothing_to_rotate_is_no_error(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAINSTAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MAINSTAY_DATABASE_URL", database_url)
    for arguments in (["status"], ["rotate", "--data-keys"]):
        result = CliRunner().invoke(secrets, arguments)
        assert result.exit_code == 0, result.output
