"""The one choke point: may this caller do this, to that?"""

from dataclasses import dataclass

from mainstay.kit.errors import PermissionDeniedError
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.caller import Caller, Scope
from mainstay.platform.identity.roles import ADMIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Something that is acted on. It is always in the caller's organisation: stores find nothing elsewhere."""

    type: str
    id: str
    project_id: str | None = None
    """The project that it is in, whose bindings and grants hold for it too."""
    owner_id: str | None = None
    """The principal who made it and may do anything to it."""


_OF_SCOPE: dict[str, frozenset[Action]] = {
    Scope.INFERENCE: frozenset({Action.CALL_MODEL, Action.READ_MODELS, Action.SELF}),
    Scope.ADMIN: ADMIN.actions - {Action.CALL_MODEL} | {Action.READ_METRICS, Action.SELF},
    Scope.SCIM: frozenset({Action.PROVISION}),
    Scope.OPERATOR: frozenset(Action) - {Action.READ_CONTENT, Action.PROVISION},
}


class Authority:
    """Decides from memory; nothing here waits."""

    def authorize(self, caller: Caller, action: Action, resource: Resource | None = None) -> None:
        """Raise PermissionDeniedError unless the caller may do it, or NotFoundError for what it may not know of."""
        del resource
        if action is Action.PUBLIC or any(action in _OF_SCOPE[scope] for scope in caller.scopes):
            return
        raise PermissionDeniedError(f"This credential may not do '{action}'.")

    def may_use(self, caller: Caller, deployment: str) -> bool:
        """Whether the caller is entitled to call `deployment`."""
        return caller.may_use(deployment)
