"""`mainstay usage`, as people and programs use it."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mainstay.cli.key_views import shortened
from mainstay.cli.usage import usage
from mainstay.kit.database import open_database
from mainstay.platform.metering.calls import CallEnd, CallStart, Outcome
from mainstay.platform.metering.prices import Price
from mainstay.platform.metering.records import insert_usage, usage_record

Run = Callable[..., Result]


async def _fill(url: str) -> None:
    rows = []
    for number in range(6):
        start = CallStart(
            call_id=f"call_{number}",
            request_id="r",
            organisation_id="org_default",
            project_id="proj_default",
            key_id="key_1",
            operation="chat.completions",
            deployment=f"d{number % 2}",
            provider="p",
            model=f"model-{number % 3}",
            is_stream=False,
            started_at=time.time() - 3600 * number,
        )
        end = CallEnd(
            call_id=start.call_id, ended_at=0, status=200, outcome=Outcome.OK, prompt_tokens=100, completion_tokens=10
        )
        rows.append(usage_record(start, end, {"d0": Price(1000)}.get))
    database = open_database(url)
    await insert_usage(database, rows)
    await database.aclose()


@pytest.fixture
def run(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("MAINSTAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MAINSTAY_DATABASE_URL", database_url)
    asyncio.run(_fill(database_url))
    return lambda *arguments: CliRunner().invoke(usage, arguments)


def test_mistake_in_the_settings_hides_no_usage_and_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / "mainstay.toml").write_text("[server]\nport = 'x'\n")
    result = run("--by", "model")
    assert result.exit_code == 0, result.output
    assert "model-0" in result.stdout
    assert result.stderr.startswith("warning: mainstay.toml:2: server.port must be")


def test_people_get_a_table(run: Run) -> None:
    result = run("--by", "model")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["MODEL", "CALLS", "FAILED", "PROMPT", "CACHED", "COMPLETION", "COST"]
    assert lines[1].split() == ["model-0", "2", "0", "200", "0", "20", "0.1000", "USD"]


def test_ids_of_keys_are_short_for_people(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shortened(["key_0123456789", "key_0123456799"]) == {
        "key_0123456789": "key_012345678",
        "key_0123456799": "key_012345679",
    }
    assert "key_1 " in run("--by", "key", "--key", "key_1").stdout


def test_programs_get_a_report_in_pages(run: Run) -> None:
    first = json.loads(run("--by", "model,deployment", "--limit", "4", "--json").stdout)
    assert (first["rows"][0]["model"], first["rows"][0]["deployment"]) == ("model-0", "d0")
    rest = json.loads(run("--by", "model,deployment", "--limit", "4", "--after", first["next"], "--json").stdout)
    assert len(first["rows"] + rest["rows"]) == 6
    assert rest["next"] is None


def test_since_narrows(run: Run) -> None:
    report = json.loads(run("--by", "", "--since", "150m", "--json").stdout)
    assert report["rows"][0]["calls"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by", "colour"], "no 'colour'"),
        (["--since", "yesterday"], "no point in time"),
        (["--after", "x"], "no cursor"),
    ],
)
def test_mistake_is_one_line_and_exit_code_1(run: Run, arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert message in result.stderr
