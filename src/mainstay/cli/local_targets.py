"""Which models of this machine the settings count on, and whether they are here."""

from collections.abc import Iterator
from dataclasses import dataclass

from mainstay.kit.errors import NotFoundError
from mainstay.platform.catalog.catalog import Catalog
from mainstay.platform.catalog.store import Store
from mainstay.server.local_models import AUTO
from mainstay.settings import LOCAL, Problem, Settings


@dataclass(frozen=True, slots=True)
class LocalTarget:
    """A model that the settings name. `place` is where, `user` what for."""

    model: str
    place: str
    user: str
    is_known: bool
    is_installed: bool

    @property
    def problem(self) -> Problem | None:
        """What to do about it, None if it can be used."""
        if not self.is_known:
            text = f"Model '{self.model}' of {self.user} is not in the catalog; run `mainstay models list`."
        elif not self.is_installed:
            text = f"Model '{self.model}' of {self.user} is not installed; run `mainstay models pull {self.model}`."
        else:
            return None
        return Problem(self.place, text)


def local_targets(settings: Settings) -> list[LocalTarget]:
    """Look up every local model in the catalog and the store; nothing is loaded or fetched."""
    store = Store(settings.models_folder)
    catalog = Catalog.load(store)
    return [_look_up(catalog, store, named) for named in _named(settings)]


def _named(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Yield model, place and user."""
    if settings.models.default != AUTO:
        yield settings.models.default, settings.origin("models.default"), "models.default"
    for index, model in enumerate(settings.models.preload):
        yield model, settings.origins.place(("models", "preload", index)), "models.preload"
    for index, deployment in enumerate(settings.deployments):
        for number, target in enumerate(deployment.targets):
            if target.provider == LOCAL:
                place = settings.origins.place(("deployments", index, "targets", number, "model"))
                yield target.model, place, f"deployment '{deployment.name}'"


def _look_up(catalog: Catalog, store: Store, named: tuple[str, str, str]) -> LocalTarget:
    model, place, user = named
    try:
        is_known, is_installed = True, store.path(catalog.get(model)) is not None
    except NotFoundError:
        is_known, is_installed = False, False
    return LocalTarget(model, place, user, is_known=is_known, is_installed=is_installed)
