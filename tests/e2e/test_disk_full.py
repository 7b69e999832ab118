"""The disk that the database is on is full: calls are answered, and recorded once there is room again."""

import contextlib
import subprocess

import pytest
from openai import OpenAI
from tests.e2e.observing import until, vendor_configuration

HELLO = [{"role": "user", "content": "Say hello."}]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB. Mounting needs the rights of root, which the tests of a container have."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"mounting a small file system needs root: {mounted.stderr.decode().strip()}")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def fill(path):
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 4096):
            pass


def test_calls_are_answered_while_the_databases_disk_is_full_and_recorded_afterwards(install, vendor, small_disk):
    url = f"sqlite:///{small_disk}/usage.db"
    server = install(vendor_configuration(vendor().port), environment={"MAINSTAY_DATABASE_URL": url}).start()
    key = server.create_key()
    ballast = small_disk / "ballast"
    fill(ballast)
    with OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client:
        for _ in range(200):
            assert client.chat.completions.create(model="upstream", messages=HELLO).choices
        assert until(lambda: "Calls are kept in" in server.log(), 30), server.log()
        assert client.chat.completions.create(model="upstream", messages=HELLO).choices
    ballast.unlink()

    def recorded():
        rows = server.command_json("usage", "--by", "deployment")["rows"]
        return sum(row["calls"] for row in rows)

    assert until(lambda: recorded() == 201, 60)
