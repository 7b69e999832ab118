"""The copy of the settings that workers start with."""

import stat

import msgspec
import pytest

from mainstay.settings import Settings, SettingsError, tree
from mainstay.supervisor.in_force import NEEDS_RESTART, NEEDS_START, SettingsInForce


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("MAINSTAY_PORT", "MAINSTAY_WORKERS", "MAINSTAY_DEFAULT_MODEL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def write(home, text):
    (home / "mainstay.toml").write_text(text)


def in_force(home):
    return SettingsInForce(Settings.load(home))


def test_without_a_file_the_copy_is_empty_and_can_be_read(home):
    assert Settings.load(home, file=in_force(home).path).server.port == 8080


def test_a_bad_file_is_refused_and_the_copy_stays(home):
    write(home, "[server]\nport = 9001\n")
    settings = in_force(home)
    write(home, "[server]\nport = 'nine'\n")
    with pytest.raises(SettingsError, match=r"mainstay\.toml:2"):
        settings.take_over(with_new_workers=False)
    assert Settings.load(home, file=settings.path).server.port == 9001


def test_what_a_reload_cannot_change_is_named_with_what_can(home):
    write(home, "[server]\nport = 9001\n")
    settings = in_force(home)
    write(home, '[server]\nport = 9002\nregion = "north"\n')
    warnings = settings.take_over(with_new_workers=False)
    assert len(warnings) == 2
    assert "mainstay.toml:2: server.port has changed and is not in force yet; stop the server" in warnings[0]
    assert "run `mainstay restart`" in warnings[1]
    assert len(settings.take_over(with_new_workers=True)) == 1


def test_every_key_is_in_force_after_a_reload_or_said_not_to_be():
    reloaded = {"models.default", "models.preload", "logging.log_prompts"}
    keys = {
        f"{table.name}.{key.name}"
        for table in msgspec.structs.fields(tree.Tree)
        if isinstance(table.type, type) and issubclass(table.type, tree.Table)
        for key in msgspec.structs.fields(table.type)
    }
    assert keys == {*NEEDS_START, *NEEDS_RESTART, *reloaded}


def test_networks_that_are_opened_wait_for_a_restart_and_say_so(home):
    settings = in_force(home)
    write(home, '[outbound]\nallowed_networks = ["10.0.0.0/8"]\n')
    (warning,) = settings.take_over(with_new_workers=False)
    assert "outbound.allowed_networks has changed and is not in force yet; run `mainstay restart`" in warning


def test_the_copy_may_hold_keys_and_is_its_owners_alone(home):
    assert stat.S_IMODE(in_force(home).path.stat().st_mode) == 0o600
