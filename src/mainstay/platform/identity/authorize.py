"""The one choke point: may this caller do this?"""

from enum import StrEnum

from mainstay.kit.errors import PermissionDeniedError
from mainstay.platform.identity.caller import Caller, Scope


class Action(StrEnum):
    """What a route does. `public` needs no caller."""

    PUBLIC = "public"
    CALL_MODEL = "models:call"
    READ_MODELS = "models:read"
    READ_USAGE = "usage:read"
    READ_METRICS = "metrics:read"


_SCOPES = {
    Action.CALL_MODEL: frozenset({Scope.INFERENCE}),
    Action.READ_MODELS: frozenset({Scope.INFERENCE, Scope.ADMIN}),
    Action.READ_USAGE: frozenset({Scope.ADMIN}),
    Action.READ_METRICS: frozenset({Scope.ADMIN}),
}


def authorize(caller: Caller, action: Action) -> None:
    """Raise PermissionDeniedError unless one of the caller's scopes allows the action."""
    if action is Action.PUBLIC or not _SCOPES[action].isdisjoint(caller.scopes):
        return
    needed = " or ".join(sorted(_SCOPES[action]))
    raise PermissionDeniedError(
        f"This key may not do '{action}'; it needs the scope '{needed}'. Make one with 'mainstay keys create --scopes'."
    )
