"""`mainstay deployments`, as people and programs use it."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mainstay.cli.deployments import deployments
from mainstay.platform.catalog.add import add_gguf
from mainstay.platform.catalog.catalog import Catalog
from mainstay.platform.catalog.store import Store
from mainstay.testing.tiny_gguf import write_tiny_gguf

SETTINGS = """\
[[providers]]
name = "vendor"
kind = "openai"
base_url = "https://vendor.example/v1"

[[deployments]]
name = "big"
description = "The large one"
targets = [{ provider = "vendor", model = "gpt-4.1" }, { provider = "local", model = "tiny", priority = 2 }]
prices = { input_per_million = 2, output_per_million = 8 }

[aliases]
"gpt-4o" = "big"
"gpt-4" = "gpt-4o"
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MAINSTAY_HOME", str(tmp_path))
    monkeypatch.setenv("MAINSTAY_MODELS", str(tmp_path / "models"))
    return tmp_path


@pytest.fixture
def tiny(home: Path) -> str:
    store = Store(home / "models")
    return add_gguf(write_tiny_gguf(home / "tiny.gguf"), store, Catalog.load(store)).id


def call(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(deployments, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def test_list_shows_what_answers_to_each_name(home: Path):
    (home / "mainstay.toml").write_text(SETTINGS)
    header, line = call("list").stdout.splitlines()
    assert header.split() == ["NAME", "ALIASES", "ANSWERS", "PRICE", "DESCRIPTION"]
    assert re.split("  +", line) == ["big", "gpt-4o, gpt-4", "vendor: gpt-4.1", "2 / 8 USD", "The large one"]


def test_list_for_programs_has_every_target_and_the_line_of_the_declaration(home: Path):
    (home / "mainstay.toml").write_text(SETTINGS)
    (big,) = json.loads(call("list", "--json").stdout)
    assert big["aliases"] == ["gpt-4o", "gpt-4"]
    assert [target["model"] for target in big["targets"]] == ["gpt-4.1", "tiny"]
    assert big["prices"]["output_per_million"] == 8
    assert big["declared_at"] == "mainstay.toml:6"


def test_nothing_declared_and_nothing_installed_is_no_deployment(home: Path):
    assert call("list").stdout == "(none)\n"


def test_model_of_this_machine_is_deployed_when_nothing_is_declared(
    home: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MAINSTAY_DEFAULT_MODEL", tiny)
    found = json.loads(call("list", "--json").stdout)
    assert [(one["name"], one["targets"][0]["model"], one["declared_at"]) for one in found] == [
        ("chat", tiny, "default"),
        (tiny, tiny, "default"),
    ]


def test_show_finds_a_deployment_by_its_alias(home: Path):
    (home / "mainstay.toml").write_text(SETTINGS)
    text = call("show", "gpt-4").stdout
    assert "name:          big" in text
    assert "other targets: local: tiny" in text
    assert json.loads(call("show", "gpt-4", "--json").stdout)["name"] == "big"


def test_show_of_an_unknown_name_fails_and_says_what_to_do(home: Path):
    assert "run `mainstay deployments list`" in call("show", "nothing", code=1).stderr


def test_list_with_bad_settings_fails_with_their_lines(home: Path):
    (home / "mainstay.toml").write_text("[server]\nport = 'x'\n")
    assert call("list", code=1).stderr.startswith("mainstay: mainstay.toml:2: server.port must be")
    error = json.loads(call("list", "--json", code=1).stdout)["error"]
    assert error["code"] == "invalid_configuration"


def test_right_file_passes_the_check(home: Path, tiny: str):
    file = home / "new.toml"
    file.write_text(SETTINGS.replace('"tiny"', f'"{tiny}"'))
    result = call("check", file)
    assert result.stdout.splitlines()[-1] == "The settings are right."
    assert f"{file}:9: Deployment 'big' has 2 targets" in result.stdout


def test_check_prints_every_problem_and_fails(home: Path):
    file = home / "new.toml"
    file.write_text("[server]\nprot = 1\nport = 'x'\n")
    assert [line.partition(": ")[0] for line in call("check", file, code=1).stdout.splitlines()] == [
        f"{file}:2",
        f"{file}:3",
    ]
    found = json.loads(call("check", file, "--json", code=1).stdout)
    assert (found["is_valid"], [problem["place"] for problem in found["problems"]]) == (
        False,
        [f"{file}:2", f"{file}:3"],
    )


def test_check_finds_models_that_are_not_in_the_catalog(home: Path):
    file = home / "new.toml"
    file.write_text(SETTINGS + '[models]\npreload = [\n"nothing"]\n')
    lines = call("check", file, code=1).stdout.splitlines()
    assert f"{file}:17: Model 'nothing' of models.preload is not in the catalog" in lines[0]
    assert f"{file}:9: Model 'tiny' of deployment 'big' is not in the catalog" in lines[1]


def test_check_warns_of_models_that_are_still_to_be_pulled(home: Path):
    file = home / "new.toml"
    file.write_text('[models]\ndefault = "smollm2-135m-instruct"\n')
    assert "run `mainstay models pull smollm2-135m-instruct`. (warning)" in call("check", file).stdout


def test_check_finds_aliases_to_models_that_nobody_deploys(home: Path, tiny: str):
    file = home / "new.toml"
    file.write_text('[aliases]\n"gpt-4o" = "nothing"\n')
    assert f"{file}:2: The alias" in call("check", file, code=1).stdout


def test_check_without_a_file_checks_this_installation(home: Path):
    (home / "mainstay.toml").write_text("[server]\nport = -1\n")
    assert call("check", code=1).stdout.startswith("mainstay.toml:2: server.port must be")


def test_key_that_this_shell_lacks_is_a_warning_of_the_check_and_nothing_to_the_list(home: Path):
    key = 'base_url = "https://vendor.example/v1"\napi_key_env = "NO_SUCH_KEY"'
    (home / "mainstay.toml").write_text(
        SETTINGS.replace('base_url = "https://vendor.example/v1"', key).replace(
            ', { provider = "local", model = "tiny", priority = 2 }', ""
        )
    )
    assert "NO_SUCH_KEY is not set in this shell; the server needs it when it starts" in call("check").stdout
    assert "big" in call("list").stdout
    assert "big" in call("show", "gpt-4").stdout


def test_check_tells_warnings_beside_problems(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MAINSTAY_PORT", "8099")
    (home / "mainstay.toml").write_text("[server]\nport = 'x'\nprot = 1\n")
    problem, warning = call("check", code=1).stdout.splitlines()
    assert problem.startswith("mainstay.toml:3: Unknown key")
    assert warning.startswith("mainstay.toml:2: server.port must be")
    assert warning.endswith("MAINSTAY_PORT is used instead. (warning)")


def test_check_of_a_missing_file_fails(home: Path):
    assert "There is no such file." in call("check", home / "none.toml", code=1).stdout
