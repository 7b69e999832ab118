"""What viewers, editors and owners of a resource may do with it."""

from collections.abc import Mapping
from enum import StrEnum

from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.roles import BUILDER


class Level(StrEnum):
    """How much is granted; each holds what those before it hold."""

    VIEWER = "viewer"
    EDITOR = "editor"
    OWNER = "owner"


RANK: Mapping[str, int] = {level.value: rank for rank, level in enumerate(Level, 1)}

_SHARE = frozenset({Action.READ_GRANTS, Action.WRITE_GRANTS})


def _levels(
    viewer: frozenset[Action], editor: frozenset[Action], owner: frozenset[Action]
) -> Mapping[str, frozenset[Action]]:
    return {Level.VIEWER: viewer, Level.EDITOR: viewer | editor, Level.OWNER: viewer | editor | owner}


_DEPLOYMENT = _levels(
    frozenset({Action.CALL_MODEL, Action.READ_MODELS, Action.READ_DEPLOYMENTS}),
    frozenset({Action.WRITE_DEPLOYMENTS}),
    _SHARE,
)
_PROJECT = _levels(
    frozenset({Action.READ_PROJECTS, Action.READ_DEPLOYMENTS, Action.READ_MODELS, Action.READ_LIMITS}),
    BUILDER.actions,
    _SHARE | {Action.WRITE_PROJECTS, Action.READ_BINDINGS, Action.WRITE_BINDINGS, Action.WRITE_LIMITS},
)

_ORGANISATION = _levels(frozenset({Action.READ_ORGANISATION}), frozenset(), frozenset())

LEVELS: Mapping[str, Mapping[str, frozenset[Action]]] = {
    "deployment": _DEPLOYMENT,
    "project": _PROJECT,
    "organisation": _ORGANISATION,
}
"""By type of resource: what can be granted on. A deployment goes by its name, which callers use.

What is granted on a project or on the organisation holds, at the same level, for everything in it.
"""


def actions_granted(type_: str, level: Level) -> frozenset[Action]:
    """Return what a grant lets someone do: to the resource, and to what is in it."""
    reaches = {"organisation": tuple(LEVELS), "project": ("project", "deployment")}.get(type_, (type_,))
    return frozenset[Action]().union(*(LEVELS[reached][level] for reached in reaches))
