"""The program as a whole: it is instant, it lists its commands, it speaks clearly when something is wrong."""

import importlib
import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from mainstay.cli.entry import COMMANDS, mainstay
from mainstay.cli.output import Output, output_option, table, to_json
from mainstay.kit.errors import ConfigurationError

HEAVY = {"uvicorn", "sqlalchemy", "numpy", "onnxruntime", "xllamacpp", "rich", "prompt_toolkit", "asyncpg", "alembic"}


def test_help_lists_every_command_and_imports_none_of_them():
    code = (
        "import sys\n"
        "from mainstay.cli.entry import mainstay\n"
        "try: mainstay(['--help'])\n"
        "except SystemExit: pass\n"
        "print('LOADED', *sorted(name.partition('.')[0] for name in sys.modules))\n"
        "print('OURS', *sorted(name for name in sys.modules if name.startswith('mainstay.')))\n"
    )
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert all(name in text for name in COMMANDS)
    loaded = set(text.partition("LOADED")[2].splitlines()[0].split())
    assert not loaded & HEAVY
    ours = text.partition("OURS")[2].split()
    assert ours == ["mainstay.cli", "mainstay.cli.entry", "mainstay.kit", "mainstay.kit.errors"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_listed_command_exists_and_describes_itself(name: str):
    module, _, attribute = COMMANDS[name][0].partition(":")
    command = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command)
    assert command.help


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_offers_json(name: str):
    for command in _leaves(_load(name)):
        assert any("--json" in parameter.opts for parameter in command.params), command.name


def test_unknown_command_is_refused_with_the_one_that_was_meant():
    result = CliRunner().invoke(mainstay, ["doctr"])
    assert result.exit_code == 2
    assert "Did you mean 'doctor'?" in result.output


def test_unknown_command_that_resembles_nothing_points_to_the_help():
    result = CliRunner().invoke(mainstay, ["zzzzzz"])
    assert result.exit_code == 2
    assert "mainstay --help" in result.output


def test_program_ends_with_one_line_when_a_command_lets_an_error_through():
    code = (
        "import sys, mainstay.cli.entry as entry, click\n"
        "from mainstay.kit.errors import ConfigurationError\n"
        "@click.command()\n"
        "def broken(): raise ConfigurationError('mainstay.toml:3: no such thing')\n"
        "entry.COMMANDS['broken'] = ('__main__:broken', '')\n"
        "sys.argv = ['mainstay', 'broken']\n"
        "entry.run()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "mainstay: mainstay.toml:3: no such thing\n")


@click.command()
@click.argument("word")
@output_option
def echo(word: str, output: Output) -> None:
    if word == "bad":
        raise ConfigurationError("The word is bad; choose another.", param="word")
    output.note("thinking")
    output.show({"word": word}, lambda: f"the word is {word}")


@click.command()
@output_option
async def later(output: Output) -> None:
    output.show({"done": True}, "done")


def test_result_is_text_for_people():
    result = CliRunner().invoke(echo, ["hi"])
    assert (result.stdout, result.stderr) == ("the word is hi\n", "thinking\n")


def test_result_is_one_json_document_for_programs():
    result = CliRunner().invoke(echo, ["hi", "--json"])
    assert json.loads(result.stdout) == {"word": "hi"}
    assert result.stderr == ""


def test_error_is_one_line_on_standard_error_with_exit_code_1():
    result = CliRunner().invoke(echo, ["bad"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "mainstay: The word is bad; choose another.\n"


def test_error_is_a_json_object_when_json_is_asked_for():
    result = CliRunner().invoke(echo, ["bad", "--json"])
    assert result.exit_code == 1
    error = json.loads(result.stdout)["error"]
    assert error["message"] == "The word is bad; choose another."
    assert (error["code"], error["param"], error["can_retry"]) == ("invalid_configuration", "word", False)


def test_async_command_runs_in_a_loop_of_its_own():
    assert json.loads(CliRunner().invoke(later, ["--json"]).stdout) == {"done": True}


def test_interrupt_ends_with_the_shells_exit_code():
    @click.command()
    @output_option
    def stuck(output: Output) -> None:
        raise KeyboardInterrupt

    assert CliRunner().invoke(stuck).exit_code == 130


def test_table_aligns_columns_and_shows_what_is_missing():
    text = table(["name", "size"], [["a", 1], ["longer", None]])
    assert text.splitlines() == ["NAME    SIZE", "a       1", "longer  -"]
    assert table(["name"], []) == "(none)"


def test_json_keeps_characters_readable_and_knows_paths_and_sets():
    import pathlib

    text = to_json({"path": pathlib.Path("/x"), "names": {"b", "a"}, "word": "Größe"})
    assert json.loads(text) == {"path": "/x", "names": ["a", "b"], "word": "Größe"}
    assert "Größe" in text


def _load(name: str) -> click.Command:
    module, _, attribute = COMMANDS[name][0].partition(":")
    command = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command)
    return command


def _leaves(command: click.Command) -> list[click.Command]:
    if isinstance(command, click.Group):
        return [leaf for child in command.commands.values() for leaf in _leaves(child)]
    return [command]
