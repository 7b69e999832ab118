"""The throw-away PostgreSQL: it goes when its owner goes, however that happens."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import asyncpg

from mainstay.testing.postgres import running_postgres

OWNER = """
import time
from mainstay.testing.postgres import running_postgres
with running_postgres() as server:
    process = int((server.folder / "data" / "postmaster.pid").read_text().splitlines()[0])
    print(process, server.folder, flush=True)
    time.sleep(120)
"""


def _is_running(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_server_answers_and_leaves_nothing_behind() -> None:
    async def ask(url: str) -> int:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval("SELECT 41 + 1")
        finally:
            await connection.close()

    with running_postgres() as server:
        assert asyncio.run(ask(server.url())) == 42
    assert not server.folder.exists()


def test_server_ends_when_its_owner_is_killed_and_the_next_one_cleans_up() -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout is not None
        process_id, _, folder = owner.stdout.readline().strip().partition(" ")
    finally:
        owner.kill()
        owner.communicate()
    deadline = time.monotonic() + 20
    while _is_running(int(process_id)):
        assert time.monotonic() < deadline, f"PostgreSQL {process_id} outlived its owner"
        time.sleep(0.05)
    with running_postgres():
        assert not Path(folder).exists()
