"""The catalog: every model that can run here, the shipped ones and those that an operator added."""

from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Self

import msgspec

from mainstay.kit.errors import NotFoundError
from mainstay.platform.catalog.store import Store
from mainstay.platform.catalog.weights import Weights


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    weights: list[Weights]


class Catalog:
    """Finds models by their id."""

    def __init__(self, entries: Iterable[Weights]) -> None:
        """Hold `entries`; of two with the same id the first one stays."""
        by_id: dict[str, Weights] = {}
        for entry in entries:
            by_id.setdefault(entry.id, entry)
        self._by_id: Mapping[str, Weights] = by_id

    @classmethod
    def load(cls, store: Store | None = None) -> Self:
        """Read the shipped entries and, with a store, what was added to it."""
        return cls([*shipped(), *(store.added() if store else ())])

    def get(self, model_id: str) -> Weights:
        """Return the entry of `model_id`, or raise NotFoundError."""
        try:
            return self._by_id[model_id]
        except KeyError:
            message = f"Model '{model_id[:100]}' is not in the catalog; run `mainstay models list`."
            raise NotFoundError(message, code="model_not_found", param="model") from None

    def list(self) -> tuple[Weights, ...]:
        """Return all entries: the shipped ones in their order, then the added ones."""
        return tuple(self._by_id.values())


def shipped() -> tuple[Weights, ...]:
    """Read the entries that come with this version of Mainstay."""
    text = resources.files(__package__).joinpath("catalog.toml").read_bytes()
    return tuple(msgspec.toml.decode(text, type=_Document).weights)
