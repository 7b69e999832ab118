"""What the installation declares, in mainstay.toml or by the models that run there: shown, never changed here."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from mainstay.kit.errors import ConflictError
from mainstay.kit.pages import Page, PageRequest

_PREFIX = "file:"


class _Named(Protocol):
    @property
    def id(self) -> str: ...


S = TypeVar("S", bound=_Named)


def declared_id(name: str) -> str:
    """Return the id of something that is known by its name alone."""
    return _PREFIX + name


def declared_name(id_: str) -> str | None:
    """Return the name in such an id; None for ids of what administrators made."""
    return id_.removeprefix(_PREFIX) if id_.startswith(_PREFIX) else None


def refuse_change(what: str, name: str) -> ConflictError:
    """Return the error for a change to what is declared."""
    return ConflictError(
        f"{what} '{name}' is declared on the server itself: in mainstay.toml, or by a model that runs there. "
        "Change it there; here it can only be read.",
        code="declared_in_file",
    )


def merged(page: PageRequest, stored: Page[S], declared: Sequence[S]) -> Page[S]:
    """Return the page with what is declared at its place in the order of ids."""
    after = page.after
    if after is not None:
        declared = [one for one in declared if (one.id < after if page.is_descending else one.id > after)]
    items = sorted([*stored.items, *declared], key=lambda one: one.id, reverse=page.is_descending)
    if stored.has_more:  # what comes after the last of them belongs to a later page
        last = stored.items[-1].id
        items = [one for one in items if (one.id >= last if page.is_descending else one.id <= last)]
    return Page(items[: page.limit], has_more=stored.has_more or len(items) > page.limit)
