"""Which attributes of a resource are sent: `attributes` and `excludedAttributes` (RFC 7644, 3.9)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mainstay.platform.identity.scim.errors import InvalidPathError, InvalidValueError
from mainstay.platform.identity.scim.vocabulary import Json, Kind, parse_path

Tree: TypeAlias = dict[str, "Tree"]
"""Names, and below each the names inside it; none there means all of it."""

_ALWAYS = ("schemas", "id")
_NAMES_MAX = 200
_NAME_LENGTH_MAX = 256


@dataclass(frozen=True, slots=True)
class Selection:
    """What is wanted: all, or only `included`, or all but `excluded`."""

    included: Tree | None = None
    excluded: Tree = field(default_factory=dict)

    def wants(self, name: str) -> bool:
        """Whether something of the attribute `name` is sent."""
        if self.included is not None:
            return name in self.included
        return self.excluded.get(name) != {}

    def of(self, resource: Json) -> Json:
        """Return what is sent of a resource."""
        if self.included is not None:
            always = {name: resource[name] for name in _ALWAYS if name in resource}
            kept: Json = _kept(resource, self.included)
            return always | kept
        left: Json = _without(resource, {name: tree for name, tree in self.excluded.items() if name not in _ALWAYS})
        return left


def select(kind: Kind, included: Iterable[str] | None, excluded: Iterable[str] | None) -> Selection:
    """Return what is selected by name; names of unknown attributes select nothing. Raises InvalidValueError."""
    included, excluded = list(included or ()), list(excluded or ())
    if len(included) + len(excluded) > _NAMES_MAX:
        raise InvalidValueError(f"{_NAMES_MAX} attributes can be named.")
    if included and excluded:
        raise InvalidValueError("Name 'attributes' or 'excludedAttributes', not both.")
    return Selection(_tree(kind, included) if included else None, _tree(kind, excluded))


def _tree(kind: Kind, names: list[str]) -> Tree:
    tree: Tree = {}
    for name in names:
        way = _way(kind, name.strip()) if len(name) <= _NAME_LENGTH_MAX else []
        if way:
            _plant(tree, way)
    return tree


def _plant(tree: Tree, way: list[str]) -> None:
    """Add a name; the whole of something outweighs parts of it."""
    *holders, last = way
    for name in holders:
        if tree.get(name) == {}:
            return
        tree = tree.setdefault(name, {})
    tree[last] = {}


def _way(kind: Kind, name: str) -> list[str]:
    from scim2_models.path import AttrPath

    try:
        node = parse_path(name)
    except InvalidPathError:
        return []
    place = kind.find(node) if isinstance(node, AttrPath) else None
    if place is None:
        return []
    steps = [place.extension, place.attribute and place.attribute.name, place.child and place.child.name]
    return [step for step in steps if step]


def _kept(value: Any, tree: Tree) -> Any:  # Any: JSON values
    if isinstance(value, list):
        return [_kept(one, tree) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _kept(value[name], inside) if inside else value[name] for name, inside in tree.items() if name in value
    }


def _without(value: Any, tree: Tree) -> Any:  # Any: JSON values
    if isinstance(value, list):
        return [_without(one, tree) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _without(one, tree[name]) if name in tree else one for name, one in value.items() if tree.get(name) != {}
    }
