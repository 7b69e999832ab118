"""Both databases behind one door: transactions, errors, cancellation, contention."""

import asyncio
import stat
import sys
from pathlib import Path

import pytest

from mainstay.kit.database import Database, DatabaseError, open_database
from mainstay.kit.errors import ConfigurationError, ConflictError


@pytest.fixture
async def accounts(empty_database: Database) -> Database:
    async with empty_database.transaction() as transaction:
        await transaction.execute("CREATE TABLE accounts (id TEXT PRIMARY KEY, balance BIGINT NOT NULL)")
        await transaction.execute_many(
            "INSERT INTO accounts (id, balance) VALUES (:id, :balance)",
            [("a", 10), ("b", 20)],
        )
    return empty_database


async def test_named_values_are_bound_by_name_and_may_repeat(accounts: Database) -> None:
    rows = await accounts.fetch(
        "SELECT id FROM accounts WHERE id = :id OR (id > :id AND balance = :balance) ORDER BY id",
        {"balance": 20, "id": "a"},
    )
    assert rows == [("a",), ("b",)]


async def test_values_are_never_read_as_sql(accounts: Database) -> None:
    hostile = "x'; DROP TABLE accounts; --"
    async with accounts.transaction() as transaction:
        await transaction.execute("INSERT INTO accounts VALUES (:id, 0)", {"id": hostile})
    assert await accounts.fetch("SELECT COUNT(*) FROM accounts WHERE id = :id", {"id": hostile}) == [(1,)]


async def test_block_that_raises_keeps_nothing(accounts: Database) -> None:
    async def change_and_raise() -> None:
        async with accounts.transaction() as transaction:
            assert await transaction.execute("UPDATE accounts SET balance = 0") == 2
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await change_and_raise()
    assert await accounts.fetch("SELECT SUM(balance) FROM accounts") == [(30,)]


async def test_cancelled_block_keeps_nothing_and_the_next_one_works(accounts: Database) -> None:
    changed = asyncio.Event()

    async def write() -> None:
        async with accounts.transaction() as transaction:
            await transaction.execute("UPDATE accounts SET balance = 0")
            changed.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(write())
    await changed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with accounts.transaction() as transaction:
        assert await transaction.fetch("UPDATE accounts SET balance = balance + 1 RETURNING id") == [("a",), ("b",)]
    assert await accounts.fetch("SELECT SUM(balance) FROM accounts") == [(32,)]


async def test_doubled_key_is_a_conflict(accounts: Database) -> None:
    with pytest.raises(ConflictError):
        async with accounts.transaction() as transaction:
            await transaction.execute("INSERT INTO accounts VALUES ('a', 1)")


async def test_wrong_statement_is_a_database_error_and_the_next_one_works(accounts: Database) -> None:
    with pytest.raises(DatabaseError):
        await accounts.fetch("SELECT * FROM nowhere")
    assert await accounts.fetch("SELECT 1") == [(1,)]


async def test_fifty_writers_at_once_lose_no_update(accounts: Database, empty_database_url: str) -> None:
    other = open_database(empty_database_url)

    async def add(database: Database) -> None:
        async with database.transaction() as transaction:
            await transaction.execute("UPDATE accounts SET balance = balance + 1 WHERE id = 'a'")

    await asyncio.gather(*(add(database) for _ in range(25) for database in (accounts, other)))
    assert await accounts.fetch("SELECT balance FROM accounts WHERE id = 'a'") == [(60,)]
    await other.aclose()


async def test_readers_do_not_wait_for_a_writer(accounts: Database) -> None:
    async with accounts.transaction() as transaction:
        await transaction.execute("UPDATE accounts SET balance = 0")
        assert await accounts.fetch("SELECT SUM(balance) FROM accounts") == [(30,)]


async def test_closing_twice_and_using_again_both_work(accounts: Database) -> None:
    await accounts.aclose()
    await accounts.aclose()
    assert await accounts.fetch("SELECT COUNT(*) FROM accounts") == [(2,)]


async def test_endless_statement_is_ended_and_the_database_answers_again(empty_database_url: str) -> None:
    database = open_database(empty_database_url, timeout_seconds=0.5)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"
    with pytest.raises(DatabaseError, match="in time"):
        await database.fetch(endless)
    assert await database.fetch("SELECT 1") == [(1,)]
    await database.aclose()


async def test_full_disk_is_a_database_error_and_later_writes_work(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'full.db'}")
    async with database.transaction() as transaction:
        await transaction.execute("CREATE TABLE blobs (content TEXT)")
        # SQLite's own way to be full at the tenth page.
        await transaction.fetch("PRAGMA max_page_count = 10")
    with pytest.raises(DatabaseError, match="full"):
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO blobs VALUES (:content)", {"content": "x" * 1_000_000})
    async with database.transaction() as transaction:
        await transaction.execute("INSERT INTO blobs VALUES ('small')")
    assert await database.fetch("SELECT content FROM blobs") == [("small",)]
    await database.aclose()


async def test_new_sqlite_file_is_readable_by_its_owner_only_and_in_wal_mode(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'deep' / 'new.db'}")
    assert await database.fetch("PRAGMA journal_mode") == [("wal",)]
    assert stat.S_IMODE((tmp_path / "deep" / "new.db").stat().st_mode) == 0o600
    await database.aclose()


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite:///relative.db", "sqlite://host/x.db", "", "mainstay.db"])
def test_address_that_cannot_work_says_how_to_write_one(url: str) -> None:
    with pytest.raises(ConfigurationError, match="sqlite:////absolute/path"):
        open_database(url)


async def test_error_about_an_unreachable_server_does_not_show_the_password() -> None:
    database = open_database("postgresql://someone:hunter2@127.0.0.1:1/none")
    with pytest.raises(DatabaseError) as caught:
        await database.fetch("SELECT 1")
    assert "hunter2" not in caught.value.message
    assert "127.0.0.1" in caught.value.message


async def test_writes_after_another_process_has_left_are_seen_by_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    look = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT COUNT(*) FROM t').fetchone()[0])"

    async def count_elsewhere() -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", look, str(path), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        return int(out)

    database = open_database(f"sqlite:///{path}")
    async with database.transaction() as transaction:
        await transaction.execute("CREATE TABLE t (x INTEGER)")
    for expected in range(1, 4):
        await database.fetch("SELECT COUNT(*) FROM t")
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO t VALUES (1)")
        assert await count_elsewhere() == expected
    await database.aclose()


async def test_a_new_file_that_another_process_holds_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    hold = (
        "import sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('CREATE TABLE t (x)')\nc.execute('BEGIN EXCLUSIVE')\n"
        "print('held', flush=True)\nsys.stdin.readline()\nc.execute('COMMIT')\nc.close()\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", hold, str(path), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    await process.stdout.readline()
    database = open_database(f"sqlite:///{path}")
    asking = asyncio.create_task(database.fetch("SELECT COUNT(*) FROM t"))
    done, _ = await asyncio.wait({asking}, timeout=0.5)
    assert not done
    process.stdin.write(b"\n")
    assert await asking == [(0,)]
    await process.wait()
    await database.aclose()
