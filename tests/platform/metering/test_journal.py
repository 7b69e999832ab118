"""The journal: no end is ever refused, torn lines harm nobody, and the lock tells the living from the dead."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mainstay.platform.metering.folders import adopt_folders
from mainstay.platform.metering.journal import (
    END_BYTES_MAX,
    CallEnd,
    CallStart,
    Journal,
    JournalFullError,
    Outcome,
)
from mainstay.platform.metering.segments import (
    Record,
    SegmentReader,
    create_segment,
    segment_numbers,
    segment_path,
)


def start(call_id: str, **more: object) -> CallStart:
    values = {
        "call_id": call_id,
        "request_id": "req_1",
        "organisation_id": "org_default",
        "project_id": "proj_default",
        "key_id": "key_1",
        "operation": "chat.completions",
        "deployment": "gpt-4o",
        "provider": "vendor",
        "model": "gpt-4o-2024-08-06",
        "is_stream": False,
        "started_at": 1_800_000_000.25,
    }
    return CallStart(**(values | more))  # type: ignore[arg-type]


def end(call_id: str, **more: object) -> CallEnd:
    values = {"call_id": call_id, "ended_at": 1_800_000_001.0, "status": 200, "outcome": Outcome.OK}
    return CallEnd(**(values | more))  # type: ignore[arg-type]


def read_all(folder: Path) -> list[Record]:
    records: list[Record] = []
    for number in segment_numbers(folder):
        reader = SegmentReader(segment_path(folder, number))
        while (piece := reader.read()) is not None:
            records += piece
        reader.close()
    return records


class FullDisk:
    """Makes segments until told that the disk is full."""

    def __init__(self) -> None:
        self.is_full = False

    def __call__(self, path: Path, size_bytes: int) -> int:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return create_segment(path, size_bytes)


def test_what_is_written_is_read_back_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    hostile = 'quote " newline \n nul \x00 and 名前'
    written = [start("a", deployment=hostile), start("b"), end("b", failure="reset"), end("a", prompt_tokens=2**62)]
    journal.start(written[0])
    journal.start(written[1])
    journal.end(written[2])
    journal.end(written[3])
    assert read_all(journal.folder.path) == written
    journal.close()


def test_only_the_first_end_of_a_call_counts(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.start(start("a"))
    journal.end(end("a"))
    journal.end(end("a", status=500))
    journal.end(end("never started"))
    assert read_all(journal.folder.path) == [start("a"), end("a")]
    assert journal.open_calls == 0


def test_full_disk_refuses_new_calls_and_takes_the_end_of_every_open_one(tmp_path: Path) -> None:
    disk = FullDisk()
    journal = Journal(tmp_path, segment_bytes=64 * 1024, create=disk)
    for number in range(100):
        journal.start(start(f"before {number}"))
    disk.is_full = True
    begun = [f"before {number}" for number in range(100)]

    def start_until_refused() -> None:
        for number in range(10_000):
            journal.start(start(f"call {number}"))
            begun.append(f"call {number}")

    with pytest.raises(JournalFullError, match="No space left on device"):
        start_until_refused()
    # The longest ends that there are.
    for call_id in begun:
        journal.end(end(call_id, model="m" * (END_BYTES_MAX - 200), failure="f"))
    records = read_all(journal.folder.path)
    assert sum(isinstance(record, CallEnd) for record in records) == len(begun)
    disk.is_full = False
    journal.start(start("after"))
    journal.end(end("after"))
    assert read_all(journal.folder.path)[-1] == end("after")


def test_room_is_kept_for_every_mix_of_long_and_short_records(tmp_path: Path) -> None:
    import random

    for seed in range(20):
        chosen = random.Random(seed)
        disk = FullDisk()
        journal = Journal(tmp_path / str(seed), segment_bytes=32 * 1024, create=disk)
        is_open: list[str] = []
        for number in range(400):
            disk.is_full = chosen.random() < 0.3
            if chosen.random() < 0.6:
                try:
                    journal.start(start(f"{number}", deployment="d" * chosen.randrange(15_000)))
                except JournalFullError:
                    continue
                is_open.append(f"{number}")
            elif is_open:
                journal.end(end(is_open.pop(chosen.randrange(len(is_open))), model="m" * chosen.randrange(5000)))
        disk.is_full = True
        for call_id in is_open:
            journal.end(end(call_id, model="m" * 1800))
        records = read_all(journal.folder.path)
        assert sum(isinstance(each, CallStart) for each in records) == sum(
            isinstance(each, CallEnd) for each in records
        )


def test_segments_on_a_real_file_size_limit_are_refused_whole(tmp_path: Path) -> None:
    code = f"""
import resource, signal
from pathlib import Path
from mainstay.platform.metering.segments import create_segment
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    create_segment(Path({str(tmp_path / "000001.log")!r}), 4 * 1024 * 1024)
except OSError as error:
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "refused\n"
    assert list(tmp_path.iterdir()) == []


def test_end_too_long_for_its_room_keeps_all_but_the_names(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.start(start("a"))
    journal.end(end("a", model="é" * 10_000, provider="p" * 10_000, failure="f" * 10_000, completion_tokens=7))
    last = read_all(journal.folder.path)[-1]
    assert last == end("a", failure="f" * 64, completion_tokens=7)


def test_start_too_long_for_a_line_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(JournalFullError, match="names are too long"):
        journal.start(start("a", request_id="r" * 20_000))
    assert read_all(journal.folder.path) == []


def test_torn_tail_holes_and_rubbish_are_skipped(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for name in "abc":
        journal.start(start(name))
    path = segment_path(journal.folder.path, 1)
    content = bytearray(path.read_bytes().rstrip(b"\0"))
    second = content.index(b'"b"')
    content[second - 5 : second + 5] = bytes(10)
    path.write_bytes(
        bytes(content) + b'{"record":"end","call_id":"a","ended' + bytes(200_000) + b"\xff\xfe\n" + bytes(9)
    )
    assert read_all(journal.folder.path) == [start("a"), start("c")]


def test_record_behind_a_long_hole_is_found(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.start(start("a"))
    path = segment_path(journal.folder.path, 1)
    line = path.read_bytes().rstrip(b"\0")
    path.write_bytes(line + bytes(65_536 - len(line) // 2) + line.replace(b'"a"', b'"b"') + bytes(10))
    assert read_all(journal.folder.path) == [start("a"), start("b")]


def test_closed_journal_takes_no_more_and_touches_no_other_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.start(start("a"))
    journal.close()
    with (tmp_path / "bystander").open("wb") as bystander:
        assert bystander.fileno() > 0
        journal.end(end("a"))
        with pytest.raises(JournalFullError, match="shutting down"):
            journal.start(start("b"))
    assert (tmp_path / "bystander").read_bytes() == b""
    assert read_all(journal.folder.path) == [start("a")]


def test_folder_of_a_living_worker_is_not_adopted_and_that_of_a_dead_one_is_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert list(adopt_folders(tmp_path)) == []
    journal.close()
    journal.folder.release()
    first = adopt_folders(tmp_path)
    owned = next(first)
    assert list(adopt_folders(tmp_path)) == []
    owned.remove()
    assert list(tmp_path.iterdir()) == []


def test_stray_files_and_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "folder").mkdir()
    assert list(adopt_folders(tmp_path)) == []
    assert list(adopt_folders(tmp_path / "missing")) == []
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "folder"}
