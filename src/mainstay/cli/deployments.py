"""`mainstay deployments`: the names that callers use, what answers to them, and whether a file of them is right."""

from pathlib import Path

import click

from mainstay.cli.local_targets import local_targets
from mainstay.cli.output import Output, output_option, table
from mainstay.kit.errors import NotFoundError
from mainstay.server.local_models import LocalModels
from mainstay.settings import Deployment, Prices, Problem, Settings, SettingsError, Target


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def deployments() -> None:
    """Show and check the names that callers use.

    Deployments are declared in mainstay.toml; without any, the models of this machine are deployed as `chat`,
    `embeddings` and under their own ids.
    """


@deployments.command("list")
@output_option
def list_deployments(output: Output) -> None:
    """List the deployments and their aliases."""
    settings = _settings()
    described = [_describe(settings, deployment) for deployment in settings.deployments]
    rows = [
        (one.name, _aliases(settings, one.name), _answers(one), _price(one.prices), one.description or None)
        for one in settings.deployments
    ]
    output.show(described, lambda: table(("name", "aliases", "answers", "price", "description"), rows))


@deployments.command("show")
@click.argument("name")
@output_option
def show_deployment(name: str, output: Output) -> None:
    """Show one deployment, found by its name or an alias."""
    settings = _settings()
    found = settings.find_deployment(name)
    if found is None:
        raise NotFoundError(f"There is no deployment or alias '{name[:100]}'; run `mainstay deployments list`.")
    output.show(_describe(settings, found), lambda: _details(settings, found))


@deployments.command("check")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@output_option
def check_file(file: Path | None, output: Output) -> None:
    """Check FILE, or this installation's mainstay.toml, without using it. Exit code 1 if it has problems."""
    problems, warnings = _check(file)
    value = {
        "file": file,
        "is_valid": not problems,
        "problems": [_as_json(problem) for problem in problems],
        "warnings": [_as_json(warning) for warning in warnings],
    }
    lines = [*map(str, problems), *(f"{warning} (warning)" for warning in warnings)]
    output.show(value, "\n".join(lines if problems else [*lines, "The settings are right."]))
    if problems:
        raise click.exceptions.Exit(1)


def _check(file: Path | None) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Return problems and warnings. A model that is not installed is a warning: it can still be pulled."""
    settings = Settings.load(file=file, only=(), needs_keys=False)
    if settings.problems:
        return settings.problems, settings.warnings
    targets = local_targets(settings)
    unknown = tuple(one.problem for one in targets if one.problem and not one.is_known)
    absent = tuple(one.problem for one in targets if one.problem and one.is_known)
    if not unknown:
        try:
            LocalModels.of(settings).complete(settings)
        except SettingsError as error:
            unknown = error.problems
    return unknown, (*settings.warnings, *absent)


def _settings() -> Settings:
    """Load the settings with the deployments that go without saying."""
    settings = Settings.load(needs_keys=False)
    return LocalModels.of(settings).complete(settings)


def _describe(settings: Settings, deployment: Deployment) -> dict[str, object]:
    prices = deployment.prices
    return {
        "name": deployment.name,
        "aliases": settings.aliases_of(deployment.name),
        "description": deployment.description,
        "targets": [
            {"provider": one.provider, "model": one.model, "weight": one.weight, "priority": one.priority}
            for one in deployment.targets
        ],
        "prices": {name: getattr(prices, name) for name in Prices.__struct_fields__} if prices else None,
        "declared_at": _declared_at(settings, deployment),
    }


def _details(settings: Settings, deployment: Deployment) -> str:
    lines = {
        "name": deployment.name,
        "aliases": _aliases(settings, deployment.name),
        "description": deployment.description or None,
        "answers": _answers(deployment),
        "other targets": ", ".join(f"{one.provider}: {one.model}" for one in _others(deployment)) or None,
        "price": _price(deployment.prices),
        "declared at": _declared_at(settings, deployment),
    }
    return "\n".join(f"{key + ':':15}{value}" for key, value in lines.items() if value is not None)


def _declared_at(settings: Settings, deployment: Deployment) -> str:
    return settings.origin("deployments", settings.deployments.index(deployment))


def _aliases(settings: Settings, name: str) -> str | None:
    return ", ".join(settings.aliases_of(name)) or None


def _answers(deployment: Deployment) -> str:
    return f"{deployment.target.provider}: {deployment.target.model}"


def _others(deployment: Deployment) -> list[Target]:
    return [one for one in deployment.targets if one is not deployment.target]


def _price(prices: Prices | None) -> str | None:
    """Write prices as operators compare them: input / output for a million tokens."""
    if prices is None:
        return None
    return f"{prices.input_per_million:g} / {prices.output_per_million:g} {prices.currency}"


def _as_json(problem: Problem) -> dict[str, str]:
    return {"place": problem.place, "message": problem.message}
