"""The folder of what lives only while an installation runs."""

import os

import pytest

from mainstay.kit.errors import ConfigurationError
from mainstay.supervisor.paths import claim_run_directory, is_own_run_directory, prepare_run_directory


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
