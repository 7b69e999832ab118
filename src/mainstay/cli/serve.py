"""`mainstay run`, `serve`, `reload`, `restart`: the server's life."""

import os
import sys
from pathlib import Path

import click

from mainstay.cli.output import Output, output_option
from mainstay.platform.catalog.weights import Weights
from mainstay.server.local_models import AUTO, LocalModels
from mainstay.settings import Settings

_PATIENCE_SECONDS = 120.0


@click.command()
@click.option("--port", type=int, help="Port to listen on (default: 8080).")
@click.option("--model", "model_id", metavar="ID", help="Chat model to serve; 'mainstay models list' shows them.")
@output_option
def run(port: int | None, model_id: str | None, output: Output) -> None:
    """Start with a model that runs here: choose it, fetch it, make the first key, print examples."""
    from mainstay.cli.examples import welcome
    from mainstay.cli.first_key import create_first_key, create_first_link
    from mainstay.supervisor.home import prepare_home
    from mainstay.supervisor.starting import serve as start

    _set_options(port, model_id)
    settings = Settings.load()
    prepare_home(settings.home)
    chat = _prepare_models(settings, output)
    os.environ["MAINSTAY_DEFAULT_MODEL"] = chat.id  # for the workers, which choose by the same settings
    settings = Settings.load()

    async def announce(url: str) -> None:
        key = await create_first_key()
        link = None if key is None else await create_first_link(url)
        text = welcome(url, key, sign_in_link=link, model_id=chat.id, folder=Path.cwd())
        output.show({"url": url, "model": chat.id, "api_key": key, "sign_in_link": link}, text)
        sys.stdout.flush()

    start(settings, announce=announce)


@click.command()
@click.option("--port", type=int, help="Port to listen on (default: 8080).")
@click.option("--model", "model_id", metavar="ID", help="Default chat model.")
@output_option
def serve(port: int | None, model_id: str | None, output: Output) -> None:
    """Start the server as it is configured; nothing is downloaded and no key is made."""
    from mainstay.supervisor.starting import serve as start

    _set_options(port, model_id)

    async def announce(url: str) -> None:
        if output.as_json:
            output.show({"url": url}, "")
            sys.stdout.flush()

    start(Settings.load(), announce=announce)


@click.command()
@output_option
def reload(output: Output) -> None:
    """Have the running server read mainstay.toml again; a bad file changes nothing."""
    _ask("reload", "Deployments, providers, aliases and limits are in force.", output)


@click.command()
@output_option
def restart(output: Output) -> None:
    """Replace the running server's workers, without refusing a connection or cutting a stream."""
    _ask("restart", "The workers are replaced; the old ones finish what they have begun.", output)


def _ask(method: str, success: str, output: Output) -> None:
    from mainstay.cli.running import call

    answer = call(method, seconds=_PATIENCE_SECONDS)
    warnings = answer.get("warnings")
    lines = [f"warning: {warning}" for warning in warnings] if isinstance(warnings, list) else []
    output.show(answer, "\n".join([success, *lines]))


def _set_options(port: int | None, model_id: str | None) -> None:
    """Options go before everything; the environment is how they reach the workers."""
    if port is not None:
        os.environ["MAINSTAY_PORT"] = str(port)
    if model_id is not None:
        os.environ["MAINSTAY_DEFAULT_MODEL"] = model_id


def _prepare_models(settings: Settings, output: Output) -> Weights:
    """Choose the chat model and have it, and the embedding model, installed."""
    from mainstay.platform.catalog.choose import choose_default
    from mainstay.platform.catalog.machine import this_machine
    from mainstay.platform.catalog.weights import Ability

    local = LocalModels.of(settings)
    if settings.models.default != AUTO:
        chat = local.catalog.get(settings.models.default)
        output.note(f"Model {chat.id}: as configured ({settings.origin('models.default')}).")
    else:
        machine = this_machine()
        choice = choose_default(local.catalog, machine.cores, machine.memory_bytes)
        chat = choice.weights
        output.note(f"Model {choice.reason}")
    embedding = next(one for one in local.catalog.list() if Ability.EMBEDDINGS in one.abilities)
    for weights in (chat, embedding):
        if local.store.path(weights) is None:
            _pull(weights, local, output)
    return chat


def _pull(weights: Weights, local: LocalModels, output: Output) -> None:
    from mainstay.cli.pull_progress import pull_progress
    from mainstay.platform.catalog.pull import pull

    output.note(f"Fetching {weights.id} ({weights.size_bytes / 1e6:.0f} MB) into {local.store.root}, once.")
    with pull_progress(weights.id, as_json=output.as_json) as progress:
        pull(weights, local.store, progress)
