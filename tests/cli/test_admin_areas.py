"""The commands of `mainstay admin` are those of the admin API: none is missing, none asks for what is not there."""

import importlib
import inspect
import json
import pkgutil
import re
from unittest.mock import MagicMock

import msgspec
import pytest
from click.testing import CliRunner

import mainstay.api.admin
from mainstay.api.dialects import Dialect
from mainstay.api.routes import Route
from mainstay.cli.admin import admin
from mainstay.cli.admin.areas import AREAS
from mainstay.cli.admin.verbs import Field, Kind, value_of
from mainstay.kit.errors import InvalidRequestError

ELSEWHERE = re.compile(r"/admin/v1/(audit/(?!webhooks)|why|projects/\{project\}/bindings)")
"""Routes that other commands are for, or that do for one project what a command does for all."""


def _routes() -> dict[tuple[str, str], Route]:
    found = {}
    for module in pkgutil.iter_modules(mainstay.api.admin.__path__):
        loaded = importlib.import_module(f"mainstay.api.admin.{module.name}")
        for kind in vars(loaded).values():
            if inspect.isclass(kind) and hasattr(kind, "routes") and kind.__module__ == loaded.__name__:
                needs = list(inspect.signature(kind).parameters)
                group = kind(**{name: MagicMock() for name in needs})
                found |= {(route.method, route.path): route for route in group.routes(Dialect(""))}
    return found


ROUTES = _routes()
VERBS = [(area, verb) for area in AREAS for verb in area.verbs]


@pytest.mark.parametrize(("area", "verb"), VERBS, ids=[f"{area.name} {verb.name}" for area, verb in VERBS])
def test_command_is_a_route_with_just_these_members(area, verb):
    route = ROUTES[verb.method, verb.path]
    members = {one.name: one for one in msgspec.structs.fields(route.request)} if route.request else {}
    required = {name for name, one in members.items() if one.required} - set(verb.constants or {})
    assert {field.name for field in verb.fields} <= members.keys()
    assert required <= {field.name for field in verb.fields if field.is_required or verb.method == "PATCH"}
    assert {field.name for field in verb.filters} <= set(route.query)
    assert not verb.columns or verb.is_paged == ("limit" in route.query)
    assert verb.fails_unless is None or verb.fails_unless in route.response.__struct_fields__
    assert (verb.name == "test") == (verb.fails_unless is not None)


CHOSEN = [(verb, field) for _, verb in VERBS for field in verb.fields if field.choices]


@pytest.mark.parametrize(("verb", "field"), CHOSEN, ids=[f"{verb.path} {field.name}" for verb, field in CHOSEN])
def test_choices_are_those_of_the_api(verb, field):
    schema = json.dumps(msgspec.json.schema(ROUTES[verb.method, verb.path].request))
    assert json.dumps(sorted(field.choices)) in schema


def test_every_admin_route_has_a_command():
    served = {(verb.method, verb.path) for _, verb in VERBS}
    missing = sorted(key for key in ROUTES.keys() - served if not ELSEWHERE.match(key[1]))
    assert missing == []


@pytest.mark.parametrize("area", AREAS, ids=lambda area: area.name)
def test_help_of_every_command_can_be_shown(area):
    for verb in area.verbs:
        shown = CliRunner().invoke(admin, [area.name, verb.name, "--help"])
        assert shown.exit_code == 0
        assert verb.help.split(".")[0] in shown.output


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Kind.NUMBER, "12", 12),
        (Kind.NUMBER, "1.5", 1.5),
        (Kind.NUMBER, "none", None),
        (Kind.SWITCH, "true", True),
        (Kind.SWITCH, "no", False),
        (Kind.NAMES, "a, b,", ["a", "b"]),
        (Kind.JSON, '{"a": 1}', {"a": 1}),
        (Kind.SCOPE, "project:proj_1", {"type": "project", "id": "proj_1"}),
        (Kind.DATE, "2027-01-31", 1801353600),
        (Kind.DATE, "none", None),
        (Kind.WORDS, "@not-a-file", "@not-a-file"),
    ],
)
def test_text_of_an_option_becomes_its_value(kind, text, value):
    assert value_of(Field("it", "", kind), text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Kind.NUMBER, "many"),
        (Kind.SWITCH, "perhaps"),
        (Kind.JSON, "{"),
        (Kind.SCOPE, "project"),
        (Kind.DATE, "soon"),
        (Kind.SECRET, "@/no/such/file"),
    ],
)
def test_text_that_means_nothing_is_refused_with_the_option_s_name(kind, text):
    with pytest.raises(InvalidRequestError, match="--it"):
        value_of(Field("it", "", kind), text)


def test_secret_may_stand_in_a_file(tmp_path):
    file = tmp_path / "key"
    file.write_text("sk-1\n")
    assert value_of(Field("it", "", Kind.SECRET), f"@{file}") == "sk-1"
