import io
import struct
import zipfile
from pathlib import Path

import pytest
from tests.platform.catalog.fake_index import zip_of

from mainstay.platform.catalog.archive import read_member
from mainstay.platform.catalog.errors import WrongContentError


def read(tmp_path: Path, archive: bytes, member: str = "m", *, size_bytes: int, inner_member: str = "") -> bytes:
    path = tmp_path / "a.whl"
    path.write_bytes(archive)
    return b"".join(read_member(path, member, inner_member=inner_member, size_bytes=size_bytes))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_named_member_alone_is_read(tmp_path: Path, method: int):
    archive = zip_of({"../../evil": b"x", "/etc/evil": b"x", "m": b"content"}, method=method)
    assert read(tmp_path, archive, size_bytes=7) == b"content"
    assert [path.name for path in tmp_path.iterdir()] == ["a.whl"]


def test_an_archive_within_an_archive_is_read(tmp_path: Path):
    inner = zip_of({"t.json": b"content"}, method=zipfile.ZIP_DEFLATED)
    archive = zip_of({"m.zip": inner}, method=zipfile.ZIP_DEFLATED)
    assert read(tmp_path, archive, "m.zip", inner_member="t.json", size_bytes=7) == b"content"


@pytest.mark.parametrize("size_bytes", [6, 8])
def test_a_member_of_another_declared_size_is_refused(tmp_path: Path, size_bytes: int):
    with pytest.raises(WrongContentError, match="claims 7 bytes"):
        read(tmp_path, zip_of({"m": b"content"}), size_bytes=size_bytes)


def test_a_missing_member_is_named(tmp_path: Path):
    with pytest.raises(WrongContentError, match="no member m"):
        read(tmp_path, zip_of({"n": b"content"}), size_bytes=7)


def with_declared_size(archive: bytes, old: int, new: int) -> bytes:
    """Let the central directory and the local header claim another uncompressed size."""
    return archive.replace(struct.pack("<I", old), struct.pack("<I", new))


def test_a_bomb_that_declares_the_expected_size_is_stopped(tmp_path: Path):
    size = 10_000_019
    bomb = with_declared_size(zip_of({"m": b"\0" * size}, method=zipfile.ZIP_DEFLATED), size, 1000)
    with pytest.raises(WrongContentError):
        read(tmp_path, bomb, size_bytes=1000)


def test_a_member_shorter_than_it_claims_is_refused(tmp_path: Path):
    archive = with_declared_size(zip_of({"m": b"\0" * 70_001}, method=zipfile.ZIP_DEFLATED), 70_001, 90_000)
    with pytest.raises(WrongContentError):
        read(tmp_path, archive, size_bytes=90_000)


def test_a_nested_archive_that_claims_gigabytes_is_refused(tmp_path: Path):
    archive = with_declared_size(zip_of({"m": b"\0" * 70_001}, method=zipfile.ZIP_DEFLATED), 70_001, 3 << 30)
    with pytest.raises(WrongContentError, match="at most"):
        read(tmp_path, archive, inner_member="t", size_bytes=7)


@pytest.mark.parametrize("archive", [b"", b"PK", b"<html>", zip_of({"m": b"content"})[:-8], b"\0" * 5000])
def test_what_is_no_archive_is_refused(tmp_path: Path, archive: bytes):
    with pytest.raises(WrongContentError, match="damaged"):
        read(tmp_path, archive, size_bytes=7)


def test_an_encrypted_member_is_refused(tmp_path: Path):
    archive = bytearray(zip_of({"m": b"content"}))
    archive[6] |= 1
    archive[archive.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(WrongContentError):
        read(tmp_path, bytes(archive), size_bytes=7)


def test_an_unusual_packing_method_is_refused(tmp_path: Path):
    with pytest.raises(WrongContentError, match="unexpected method"):
        read(tmp_path, zip_of({"m": b"content"}, method=zipfile.ZIP_LZMA), size_bytes=7)


def test_any_single_flipped_byte_is_noticed_or_harmless(tmp_path: Path):
    whole = zip_of({"m": bytes(range(200)) * 2}, method=zipfile.ZIP_DEFLATED)
    for position in range(len(whole)):
        spoiled = bytearray(whole)
        spoiled[position] ^= 0xFF
        try:
            content = read(tmp_path, bytes(spoiled), size_bytes=400)
        except WrongContentError:
            continue
        assert content == bytes(range(200)) * 2


def test_a_spoiled_inner_archive_is_refused(tmp_path: Path):
    buffer = io.BytesIO(zip_of({"m": b"not a zip"}))
    with pytest.raises(WrongContentError, match="damaged"):
        read(tmp_path, buffer.getvalue(), inner_member="t", size_bytes=7)
