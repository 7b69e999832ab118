"""`mainstay sign-in-link`: the first owner, people who are locked out, and nobody else."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mainstay.cli.sign_in_link import sign_in_link
from mainstay.kit.database import Database

Run = Callable[..., Result]
START = "http://127.0.0.1:8080/auth/sign-in/link?token="


@pytest.fixture
def run(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("MAINSTAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MAINSTAY_DATABASE_URL", database_url)
    return lambda *arguments: CliRunner().invoke(sign_in_link, arguments)


def told(result: Result) -> Any:
    return json.loads(result.stdout)


async def owners(database: Database) -> list[str]:
    rows = await database.fetch(
        "SELECT u.email FROM role_bindings b JOIN users u ON u.principal_id = b.principal_id "
        "WHERE b.role_id = 'role_owner'"
    )
    return [email for (email,) in rows]


def test_the_first_one_to_be_named_is_the_owner_and_no_other_is_made(run: Run):
    first = run("ann@example.com")
    assert first.exit_code == 0, first.output
    assert first.stdout.startswith(START)
    assert "ann@example.com is now an owner" in first.stderr
    again = run("ANN@example.com", "--json")
    assert told(again)["email"] == "ann@example.com"
    assert told(again)["sign_in_link"] != first.stdout.strip()
    other = run("bob@example.com")
    assert (other.exit_code, other.stdout) == (1, "")
    assert "There is no user 'bob@example.com'" in other.stderr


def test_at_the_first_start_there_is_an_owner_and_later_nothing_happens(run: Run):
    first = run("--first", "--url", "http://here:1", "--json")
    assert told(first)["sign_in_link"].startswith("http://here:1/auth/sign-in/link?token=")
    assert told(first)["email"] == "owner@localhost"
    assert told(run("--first", "--json")) == {"sign_in_link": None}


def test_the_link_leads_to_the_public_address(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MAINSTAY_PUBLIC_URL", "https://ai.example.com")
    assert run("ann@example.com").stdout.startswith("https://ai.example.com/auth/sign-in/link?token=")


@pytest.mark.parametrize("email", ["", "no address", "a@b@c", "x" * 1000 + "@example.com", "a\x00@example.com"])
def test_what_is_no_address_makes_nobody(run: Run, email: str):
    assert run(email).exit_code == 1
    assert told(run("--first", "--json"))["sign_in_link"] is not None


def test_an_organisation_that_is_not_there_has_no_users(run: Run):
    refused = run("ann@example.com", "--organisation", "org_none")
    assert refused.exit_code == 1
    assert "Traceback" not in refused.output


def test_nobody_is_named_for_no_link(run: Run):
    assert "Say whom the link is for" in run().stderr


async def test_an_organisation_without_an_owner_gets_one_and_it_is_audited(run: Run, database: Database):
    first = await asyncio.to_thread(run, "ann@example.com")
    assert first.exit_code == 0, first.output
    async with database.transaction() as transaction:
        await transaction.execute("DELETE FROM role_bindings")
    assert await owners(database) == []
    again = await asyncio.to_thread(run, "ann@example.com")
    assert "is now an owner" in again.stderr
    assert await owners(database) == ["ann@example.com"]
    rows = await database.fetch("SELECT action, body FROM audit_events ORDER BY sequence")
    actions = [action for action, _ in rows]
    assert actions == ["user.created", "sign_in_link.created", "binding.created", "sign_in_link.created"]
    assert all('"operator"' in body for _, body in rows)
