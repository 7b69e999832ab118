"""The shape that keeps the code readable, checked by a machine: sizes, names, and what may not be caught."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src" / "mainstay").rglob("*.py"))
LONGEST_MODULE = 400
LONGEST_FUNCTION = 60
MOST_PARAMETERS = 8
MOST_POSITIONAL = 4
BANNED_NAMES = {"utils", "util", "common", "helpers", "helper", "misc", "base", "core", "manager", "service", "main"}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|raise NotImplementedError")


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.fixture(scope="module", params=SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def module(request):
    text = request.param.read_text(encoding="utf-8")
    return request.param, text, ast.parse(text)


def test_every_module_is_short_and_says_why_it_exists(module):
    path, text, tree = module
    assert text.count("\n") <= LONGEST_MODULE, f"{path} is over {LONGEST_MODULE} lines"
    assert ast.get_docstring(tree) or not text.strip(), f"{path} has no docstring"


def test_no_module_is_named_for_its_position(module):
    path, _, _ = module
    assert path.stem not in BANNED_NAMES, f"{path}: name a file for what it does"


def test_functions_are_short_and_take_few_parameters(module):
    path, _, tree = module
    for node in functions(tree):
        first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
        lines = (node.end_lineno or first.lineno) - first.lineno + 1
        assert lines <= LONGEST_FUNCTION, f"{path}:{node.lineno} {node.name} has {lines} lines"
        arguments = node.args
        own = {"self", "cls"}
        positional = [one for one in arguments.posonlyargs + arguments.args if one.arg not in own]
        total = len(positional) + len(arguments.kwonlyargs)
        is_command = any(isinstance(one, ast.Call) and "option" in ast.dump(one.func) for one in node.decorator_list)
        if not is_command:  # click passes every option of a command by name
            assert len(positional) <= MOST_POSITIONAL, f"{path}:{node.lineno} {node.name}: more by position"
            assert total <= MOST_PARAMETERS, f"{path}:{node.lineno} {node.name}: {total} parameters"


def test_nothing_is_left_unfinished(module):
    path, text, _ = module
    for number, line in enumerate(text.splitlines(), 1):
        assert not UNFINISHED.search(line), f"{path}:{number}: {line.strip()}"


def test_broad_excepts_say_which_boundary_they_are(module):
    path, text, tree = module
    lines = text.splitlines()
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            name = getattr(node.type, "id", None)
            passes_on = any(isinstance(one, ast.Raise) and one.exc is None for one in node.body)
            if (node.type is None or name in {"Exception", "BaseException"}) and not passes_on:
                said = lines[node.lineno - 1] + lines[node.lineno]
                assert re.search(r"# (noqa: BLE001 - )?\w+", said), (
                    f"{path}:{node.lineno}: say why everything is caught"
                )


def test_import_contracts_have_no_exceptions():
    assert "ignore_imports" not in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_no_package_is_empty():
    for folder in {path.parent for path in SOURCES}:
        assert any(path.read_text(encoding="utf-8").strip() for path in folder.glob("*.py")), f"{folder} holds nothing"
