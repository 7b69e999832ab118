"""The program `mainstay`: a list of commands, each loaded only when it runs, so that `--help` is instant."""

import importlib
import sys
from collections.abc import Mapping

import click

from mainstay import __version__
from mainstay.kit.errors import MainstayError

COMMANDS: Mapping[str, tuple[str, str]] = {
    "run": ("mainstay.cli.serve:run", "Start with a model, a first key and ready-to-paste examples."),
    "serve": ("mainstay.cli.serve:serve", "Start the server as it is configured."),
    "reload": ("mainstay.cli.serve:reload", "Read mainstay.toml again, without dropping a stream."),
    "restart": ("mainstay.cli.serve:restart", "Replace the workers, without refusing a connection."),
    "chat": ("mainstay.cli.chat:chat", "Talk with a model in this terminal."),
    "models": ("mainstay.cli.models:models", "List, pull, add and remove the models that run here."),
    "keys": ("mainstay.cli.keys:keys", "Create, list and revoke API keys."),
    "admin": ("mainstay.cli.admin:admin", "Manage people, permissions, providers and budgets."),
    "why": ("mainstay.cli.why:why", "Say whether someone may do something, and why."),
    "sign-in-link": ("mainstay.cli.sign_in_link:sign_in_link", "Print a link that signs someone in, once."),
    "deployments": ("mainstay.cli.deployments:deployments", "Show and check the names that callers use."),
    "usage": ("mainstay.cli.usage:usage", "Show usage by key, model and day."),
    "audit": ("mainstay.cli.audit:audit", "Verify, export and list the audit log."),
    "secrets": ("mainstay.cli.secrets:secrets", "Show and rotate the keys that stored secrets are sealed with."),
    "doctor": ("mainstay.cli.doctor:doctor", "Check the installation and say what to do."),
}
"""Name of a command: where it is defined, and its line in the help."""


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the list, which is the order of need."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import the command, or return None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}:{attribute} is no click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the ones that were perhaps meant."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else " `mainstay --help` lists them."
            ctx.fail(f"There is no command '{args[0]}'.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mainstay")
def mainstay() -> None:
    """Run an organisation's own AI service."""


def run() -> None:
    """Run the command line and exit; the last resort for errors that a command let through."""
    try:
        mainstay()
    except MainstayError as error:
        click.echo(f"mainstay: {error.message}", err=True)
        sys.exit(1)
