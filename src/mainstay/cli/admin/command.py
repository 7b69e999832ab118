"""Builds the commands of `mainstay admin` from the list of areas."""

from typing import Any

import click

from mainstay.cli.admin.areas import AREAS
from mainstay.cli.admin.calling import run_verb
from mainstay.cli.admin.verbs import Area, Field, Verb
from mainstay.cli.output import Output, output_option

_SETTINGS = {"help_option_names": ["-h", "--help"]}
_LIMIT = Field("limit", "Items at most; all without it.")


@click.group(context_settings=_SETTINGS)
@click.option("--base-url", metavar="URL", help="The server; without it, the one that runs here.")
@click.option(
    "--api-key", metavar="KEY", help="A key with the scope admin; without it, the local one, or MAINSTAY_API_KEY."
)
@click.option("--organisation", metavar="ID", help="Act in another organisation (owner of the machine only).")
@click.pass_context
def admin(context: click.Context, base_url: str | None, api_key: str | None, organisation: str | None) -> None:
    """Manage people, permissions, providers and budgets of a running server.

    A value @FILE is read from a file, - from standard input. What is changed is changed only if nobody else has
    changed it since it was read.
    """
    context.obj = {"base_url": base_url, "api_key": api_key, "organisation": organisation}


def _group(area: Area) -> click.Group:
    group = click.Group(area.name, help=area.help, short_help=area.help, context_settings=_SETTINGS)
    for verb in area.verbs:
        group.add_command(_command(verb))
    return group


def _option(field: Field) -> click.Option:
    if field.choices:
        return click.Option(
            [field.option], type=click.Choice(field.choices), help=field.help, required=field.is_required
        )
    return click.Option([field.option], metavar=field.kind.value, help=field.help, required=field.is_required)


def _command(verb: Verb) -> click.Command:
    @output_option
    async def run(output: Output, **given: str | None) -> None:
        where = click.get_current_context().obj or {}
        await run_verb(verb, given, output, where=where)

    parameters: list[click.Parameter] = [
        click.Argument([name], metavar=name.upper().replace("_", "-")) for name in verb.parameters
    ]
    parameters += [
        _option(field)
        for field in (*verb.fields, *verb.filters, *((_LIMIT,) if verb.columns and verb.is_paged else ()))
    ]
    options: list[Any] = getattr(run, "__click_params__", [])  # Any: click keeps what decorators add there
    return click.Command(
        verb.name, callback=run, params=[*parameters, *options], help=verb.help, context_settings=_SETTINGS
    )


for _area in AREAS:
    admin.add_command(_group(_area))
