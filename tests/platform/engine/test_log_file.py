from pathlib import Path

from mainstay.platform.engine.log_file import LogFile


def test_log_is_bounded_and_keeps_the_one_before(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "e.log", max_bytes=1000)
    for number in range(1000):
        log.write(b"line %d\n" % number)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["e.log", "e.log.1"] or [file.name for file in files] == ["e.log.1"]
    assert sum(file.stat().st_size for file in files) < 2100


def test_last_words_are_the_last_lines_on_one(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "e.log")
    log.write(b"".join(b"line %d\n\n" % number for number in range(20)) + b"caf\xc3")
    assert log.last_words() == "line 15 | line 16 | line 17 | line 18 | line 19 | caf\ufffd"
    log.forget()
    assert log.last_words() == ""


def test_disk_that_cannot_be_written_costs_the_text_only(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "missing" / "e.log")
    log.write(b"hello\n")
    assert log.last_words() == "hello"


def test_endless_line_is_cut(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "e.log")
    log.write(b"x" * 1_000_000)
    assert len(log.last_words()) == 1000
