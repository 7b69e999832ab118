"""`Settings`: the tree, read once from mainstay.toml, the environment and the options of a command."""

import difflib
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Self

import msgspec

from mainstay.kit.secret_text import Secret
from mainstay.settings.credentials import Credentials
from mainstay.settings.decoding import Decoder, Fault
from mainstay.settings.document import Document, Origins, read_document, read_leniently
from mainstay.settings.environment import HOME, misspelt_variables, read_environment
from mainstay.settings.problems import Problem, SettingsError
from mainstay.settings.tree import Deployment, Limit, Target, Tree
from mainstay.settings.validation import absolute, check_aliases, find_faults, resolve_alias

FILE_NAME = "mainstay.toml"
DEFAULT_HOME = "~/.local/share/mainstay"
DEFAULT_MODELS_FOLDER = "~/.cache/mainstay/models"


class Settings(Tree, frozen=True, kw_only=True):
    """All settings of one installation. Frozen: a reload makes new ones."""

    home: Path
    file: Path
    models_folder: Path
    origins: Origins
    warnings: tuple[Problem, ...] = ()
    """What works but should be looked at."""
    problems: tuple[Problem, ...] = ()
    """What is wrong; there is none unless only some tables were asked for."""
    uncertain: frozenset[str] = frozenset()
    """Tables that have problems, so that they may say something else than they seem to."""

    @classmethod
    def load(
        cls,
        home: Path | None = None,
        environ: Mapping[str, str] = os.environ,
        *,
        options: Mapping[str, object] | None = None,
        file: Path | None = None,
        only: Collection[str] | None = None,
        needs_keys: bool = True,
    ) -> Self:
        """Read the settings of the installation at `home`. Raises SettingsError with everything that is wrong.

        An environment variable goes before the file, and an option such as `{"server.port": 8081}` before both;
        options that are None say nothing. `file` is read in place of the home's mainstay.toml, and must exist.
        With `only`, it is raised just for what is wrong in these tables; the rest is in `problems`. Without
        `needs_keys`, environment variables with the keys of providers may be missing here, which is a warning.
        """
        home = find_home(home, environ)
        path = file or home / FILE_NAME
        if only is None:
            document = read_document(path, must_exist=file is not None)
        else:
            document = read_leniently(path, must_exist=file is not None, tables=Tree.__struct_fields__)
        for name, key_path, value in read_environment(environ):
            document.override(key_path, value, source=name)
        for key, value in (options or {}).items():
            if value is not None:
                document.override(tuple(key.split(".")), value, source="command line")
        credentials = Credentials(environ=environ, folder=path.parent.absolute(), must_be_set=needs_keys)
        found = cls._build(document, home=home, file=path, credentials=credentials)
        if found.problems and (only is None or found.uncertain.intersection(only)):
            raise SettingsError(found.problems)
        return found

    @classmethod
    def _build(cls, document: Document, *, home: Path, file: Path, credentials: Credentials) -> Self:
        decoder = Decoder()
        tree = decoder.tree(document.content)
        faults = [*decoder.faults, *find_faults(tree, decoder, document)]
        tree = credentials.fill_in(tree, decoder, is_file_open=document.is_open_to_others)
        faults += credentials.faults
        models_folder = _find_models_folder(tree, document, folder=credentials.folder, faults=faults)
        odd = _located([*credentials.warnings, *_unused_targets(tree, decoder)], document.origins)
        return cls(
            **{name: getattr(tree, name) for name in Tree.__struct_fields__},
            home=home,
            file=file,
            models_folder=models_folder,
            origins=document.origins,
            warnings=(*odd, *_overridden_mistakes(document), *_misspelt(credentials.environ)),
            problems=(*document.problems, *_located(faults, document.origins)),
            uncertain=_uncertain(document, faults),
        )

    @property
    def database_url(self) -> Secret:
        """Where the database is; without a setting, a file in the home."""
        return self.database.url or Secret(f"sqlite:///{self.home / 'mainstay.db'}")

    @property
    def limit_per_key(self) -> Limit:
        """What a key may use that has no limits of its own."""
        return next(iter(self.limits), Limit())

    def find_deployment(self, name: str) -> Deployment | None:
        """Return the deployment of that name, or to which that alias leads."""
        name = resolve_alias(self.aliases, name)
        return next((deployment for deployment in self.deployments if deployment.name == name), None)

    def aliases_of(self, name: str) -> list[str]:
        """Return the aliases that lead to the deployment `name`, directly or by way of others."""
        return [alias for alias in self.aliases if resolve_alias(self.aliases, alias) == name]

    def origin(self, *path: str | int) -> str:
        """Return who set a key: a variable, "command line", `mainstay.toml:12`, or "default".

        `origin("server.port")`, or in parts where a name has dots or counts: `origin("deployments", 0, "name")`.
        """
        whole = tuple(str(path[0]).split(".")) if len(path) == 1 else path
        return self.origins.exact(whole)


def with_default_deployments(
    settings: Settings, *, chat_model_id: str | None, embedding_model_id: str | None
) -> Settings:
    """Return settings in which the models of this machine are deployments, if none are declared.

    Each model is one under its own id, and the same is called `chat` or `embeddings`. Raises SettingsError for
    aliases that lead to none of them, which `Settings.load` cannot know yet.
    """
    if settings.deployments:
        return settings
    named = {"chat": chat_model_id, "embeddings": embedding_model_id}
    models = {name: model for name, model in named.items() if model is not None}
    deployments = {
        name: Deployment(name=name, targets=(Target(provider="local", model=model),))
        for role, model in models.items()
        for name in (role, model)
    }
    faults = list(check_aliases(settings.aliases, set(deployments)))
    if faults:
        raise SettingsError(_located(faults, settings.origins))
    return msgspec.structs.replace(settings, deployments=tuple(deployments.values()))


def find_home(home: Path | None, environ: Mapping[str, str]) -> Path:
    """Return the absolute path of the installation: as given, MAINSTAY_HOME, or the default. Raises SettingsError."""
    written = str(home) if home is not None else environ.get(HOME, "").strip() or DEFAULT_HOME
    try:
        return absolute(Path(written), Path.cwd())
    except OSError as error:
        raise SettingsError([Problem(HOME, f"{written!r} is no path: {error.strerror}.")]) from error


def _find_models_folder(tree: Tree, document: Document, *, folder: Path, faults: list[Fault]) -> Path:
    """Return where weights are; a relative path means from the file, or for a variable from where one stands."""
    path = ("models", "folder")
    written = tree.models.folder or Path(DEFAULT_MODELS_FOLDER)
    try:
        return absolute(written, Path.cwd() if path in document.origins.overrides else folder)
    except OSError as error:
        faults.append((path, f"models.folder is no path: {error.strerror}."))
        return written


def _unused_targets(tree: Tree, decoder: Decoder) -> list[Fault]:
    faults: list[Fault] = []
    for path, deployment in decoder.elements(("deployments",), tree.deployments):
        if len(deployment.targets) > 1:
            answering = f"{deployment.target.model!r} at {deployment.target.provider!r}"
            message = f"Deployment {deployment.name!r} has {len(deployment.targets)} targets; only one answers"
            faults.append(((*path, "targets"), f"{message}: {answering}, the first of the lowest priority."))
    return faults


def _overridden_mistakes(document: Document) -> list[Problem]:
    """Return what is wrong in the file where a variable or option goes before it: it counts once that is gone."""
    content: dict[str, dict[str, object]] = {}
    for path, value in document.overridden.items():
        content.setdefault(str(path[0]), {})[str(path[-1])] = value
    decoder = Decoder()
    decoder.tree(content)
    origins = document.origins
    return [
        Problem(origins.written(path), f"{message} {origins.exact(path)} is used instead.")
        for path, message in decoder.faults
    ]


def _misspelt(environ: Mapping[str, str]) -> list[Problem]:
    return [
        Problem(name, f"This variable means nothing here. Did you mean {meant}?")
        for name, meant in misspelt_variables(environ)
    ]


def _uncertain(document: Document, faults: list[Fault]) -> frozenset[str]:
    """Return the tables that are not known for sure: a fault in one, or in what is perhaps a mistyped one."""
    named = {str(path[0]) for path, _ in faults if path}
    tables = {name: difflib.get_close_matches(name, Tree.__struct_fields__, n=1, cutoff=0.6) for name in named}
    unread = set(document.unread_tables)
    if ("database", "url") in document.origins.overrides:
        unread.discard("database")
    return frozenset(unread.union(*tables.values()))


def _located(faults: list[Fault], origins: Origins) -> list[Problem]:
    """Add the places and sort by them, so that an operator can work from top to bottom."""
    ordered = sorted(faults, key=lambda fault: origins.lines.line(fault[0]) or 0)
    return [Problem(origins.place(path), message) for path, message in ordered]
