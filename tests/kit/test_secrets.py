"""Secret files: made once, private, and refused when they are not."""

import hashlib
import hmac
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mainstay.kit.errors import ConfigurationError
from mainstay.kit.secrets import create_secret_file, digest, load_or_create_secret, read_secret_file


def test_secret_is_made_once_with_mode_0600_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "pepper"
    first = load_or_create_secret(path)
    assert len(first) == 32
    assert load_or_create_secret(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_mode_is_0600_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        load_or_create_secret(tmp_path / "pepper")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "pepper").stat().st_mode) == 0o600


def test_many_makers_at_once_agree_on_one_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        secrets = set(pool.map(lambda _: load_or_create_secret(tmp_path / "pepper"), range(64)))
    assert len(secrets) == 1


def test_existing_file_is_not_replaced(tmp_path: Path) -> None:
    assert create_secret_file(tmp_path / "token", b"first")
    assert not create_secret_file(tmp_path / "token", b"second")
    assert read_secret_file(tmp_path / "token") == b"first"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o777])
def test_file_open_to_others_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "pepper"
    load_or_create_secret(path)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {path}"):
        load_or_create_secret(path)


def test_cut_off_secret_is_refused(tmp_path: Path) -> None:
    create_secret_file(tmp_path / "pepper", b"x" * 31)
    with pytest.raises(ConfigurationError, match="31 bytes instead of 32"):
        load_or_create_secret(tmp_path / "pepper")


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/etc/hostname"), os.mkfifo, os.mkdir])
def test_anything_but_a_file_is_refused_without_waiting(tmp_path: Path, make) -> None:
    make(tmp_path / "pepper")
    with pytest.raises(ConfigurationError, match="pepper"):
        load_or_create_secret(tmp_path / "pepper")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_file_of_another_user_is_refused(tmp_path: Path) -> None:
    load_or_create_secret(tmp_path / "pepper")
    os.chown(tmp_path / "pepper", 65534, -1)
    with pytest.raises(ConfigurationError, match="belongs to user 65534"):
        load_or_create_secret(tmp_path / "pepper")


def test_digest_is_hmac_sha_256() -> None:
    assert digest(b"secret", b"message") == hmac.new(b"secret", b"message", hashlib.sha256).digest()
