"""Which models of this machine stand in for deployments that nobody declared."""

from dataclasses import dataclass
from typing import Self

import msgspec

from mainstay.platform.catalog.catalog import Catalog
from mainstay.platform.catalog.choose import choose_default
from mainstay.platform.catalog.machine import this_machine
from mainstay.platform.catalog.store import Store
from mainstay.platform.catalog.weights import Ability, Weights
from mainstay.settings import LOCAL, Deployment, Settings, Target, with_default_deployments

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class LocalModels:
    """The catalog and the store of an installation."""

    catalog: Catalog
    store: Store

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Open them."""
        store = Store(settings.models_folder)
        return cls(Catalog.load(store), store)

    def default_chat(self, settings: Settings) -> Weights | None:
        """The configured chat model; with "auto" the best one that is installed, None if none is."""
        if settings.models.default != AUTO:
            return self.catalog.get(settings.models.default)
        installed = self._installed(Ability.CHAT)
        if not installed:
            return None
        measured = [one for one in installed if one.profile.prefill_tokens_per_second_per_core]
        if not measured:
            return installed[0]
        machine = this_machine()
        return choose_default(Catalog(measured), machine.cores, machine.memory_bytes).weights

    def default_embedding(self) -> Weights | None:
        """The first installed embedding model."""
        return next(iter(self._installed(Ability.EMBEDDINGS)), None)

    def complete(self, settings: Settings) -> Settings:
        """Add the deployments that go without saying: every installed model under its id, `chat` and `embeddings`."""
        if settings.deployments:
            return settings
        chat, embedding = self.default_chat(settings), self.default_embedding()
        named = with_default_deployments(
            settings,
            chat_model_id=chat.id if chat else None,
            embedding_model_id=embedding.id if embedding else None,
        )
        taken = {one.name for one in named.deployments}
        others = tuple(
            Deployment(name=one.id, targets=(Target(provider=LOCAL, model=one.id),))
            for one in self.catalog.list()
            if one.id not in taken and self.store.path(one) is not None
        )
        return msgspec.structs.replace(named, deployments=(*named.deployments, *others))

    def to_preload(self, settings: Settings) -> tuple[str, ...]:
        """The models that calls should not wait for: the default chat model if it is deployed, and what is listed."""
        chat = self.default_chat(settings)
        deployed = {target.model for one in settings.deployments for target in one.targets if target.provider == LOCAL}
        first = (chat.id,) if chat is not None and chat.id in deployed else ()
        return tuple(dict.fromkeys((*first, *settings.models.preload)))

    def _installed(self, ability: Ability) -> list[Weights]:
        return [one for one in self.catalog.list() if ability in one.abilities and self.store.path(one) is not None]
