"""Calls of before the spending was added up are in it after the upgrade."""

from pathlib import Path

from mainstay.kit.database import Database
from mainstay.migrations.schema import VERSIONS
from mainstay.migrations.upgrade import upgrade

DAY_MS = 86_400_000


async def test_earlier_calls_are_added_up(empty_database: Database, tmp_path: Path) -> None:
    before = tmp_path / "versions"
    before.mkdir()
    for path in VERSIONS.glob("v_000[1-4]_*.py"):
        (before / path.name).write_text(path.read_text())
    await upgrade(empty_database, versions=before)
    insert = (
        "INSERT INTO usage_records (call_id, request_id, organisation_id, project_id, key_id, operation, deployment, "
        "provider, model, is_stream, started_at_ms, status, outcome, prompt_tokens, cached_tokens, completion_tokens, "
        "reasoning_tokens, tokens_are_estimated, cost_nano, currency) VALUES (:id, 'r', 'org_default', 'proj_default', "
        ":key, 'o', 'd', 'p', 'm', :no, :at, 200, 'ok', :prompt, 0, 5, 0, :no, :cost, :currency)"
    )
    async with empty_database.transaction() as transaction:
        await transaction.execute_many(
            insert.replace(":no", "FALSE"),
            [
                ("a", "key_1", DAY_MS, 10, 700, "EUR"),
                ("b", "key_1", 2 * DAY_MS - 1, 20, 300, "EUR"),
                ("c", "key_2", 2 * DAY_MS, 30, None, None),
                ("absurd", "key_3", 2 * DAY_MS, 2**62, 2**62, "EUR"),
            ],
        )
    await upgrade(empty_database)
    rows = await empty_database.fetch(
        "SELECT scope_id, day, currency, calls, tokens, cost_nano FROM spending "
        "WHERE scope_type IN ('key', 'organisation') ORDER BY scope_id, day, currency"
    )
    assert rows == [
        ("key_1", 1, "EUR", 2, 40, 1000),
        ("key_2", 2, "", 1, 35, 0),
        ("key_3", 2, "EUR", 1, 2**40 + 5, 2**50),
        ("org_default", 1, "EUR", 2, 40, 1000),
        ("org_default", 2, "", 1, 35, 0),
        ("org_default", 2, "EUR", 1, 2**40 + 5, 2**50),
    ]
