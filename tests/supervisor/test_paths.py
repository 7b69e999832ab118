"""The folder of what lives only while an installation runs."""

import os

import pytest

from mainstay.kit.errors import ConfigurationError
from mainstay.supervisor.paths import (
    address_path,
    claim_run_directory,
    is_own_run_directory,
    prepare_run_directory,
    write_address,
)


def test_only_one_server_at_a_time_has_an_installation(tmp_path):
    directory = prepare_run_directory(tmp_path)
    claim = claim_run_directory(directory, home=tmp_path)
    with pytest.raises(ConfigurationError, match="MAINSTAY_HOME"):
        claim_run_directory(directory, home=tmp_path)
    os.close(claim)
    os.close(claim_run_directory(directory, home=tmp_path))


def test_the_claim_ends_with_its_process_and_is_not_inherited(tmp_path):
    claim = claim_run_directory(prepare_run_directory(tmp_path), home=tmp_path)
    assert not os.get_inheritable(claim)
    os.close(claim)


def test_whoever_has_opened_the_address_never_sees_half_of_another(tmp_path):
    prepare_run_directory(tmp_path)
    write_address(tmp_path, "http://127.0.0.1:1")
    with address_path(tmp_path).open(encoding="utf-8") as opened:
        write_address(tmp_path, "http://127.0.0.1:2")
        assert opened.read() == "http://127.0.0.1:1\n"  # the new one is another file, not this one rewritten
    assert address_path(tmp_path).read_text(encoding="utf-8") == "http://127.0.0.1:2\n"
    assert [path.name for path in address_path(tmp_path).parent.iterdir()] == ["address"]


def test_a_run_directory_that_is_a_link_is_not_trusted(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    assert not is_own_run_directory(home)
    (tmp_path / "bait").mkdir()
    (home / "run").symlink_to(tmp_path / "bait")
    assert not is_own_run_directory(home)
    (home / "run").unlink()
    prepare_run_directory(home)
    assert is_own_run_directory(home)
