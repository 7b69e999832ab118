"""What administrators may hand to others: nobody gives what he may not do himself."""

from collections.abc import Sequence

from mainstay.kit.errors import PermissionDeniedError
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.authorize import Authority, Resource
from mainstay.platform.identity.caller import Caller, Scope
from mainstay.platform.identity.key_rows import Key
from mainstay.platform.identity.role_store import Roles
from mainstay.platform.identity.roles import OWNER
from mainstay.platform.identity.standing import actions_of_scopes

_PROVISIONS = frozenset({Action.WRITE_IDENTITY_PROVIDERS, Action.WRITE_USERS, Action.WRITE_GROUPS, Action.PROVISION})
"""What it takes to let a directory make and change users and groups."""


class Giving:
    """Asks whether a caller may give something. Each method raises PermissionDeniedError if not."""

    def __init__(self, authority: Authority, roles: Roles) -> None:
        self._authority = authority
        self._roles = roles

    async def require_role(self, caller: Caller, role_id: str, project_id: str | None = None) -> None:
        """For a role in the organisation or in one project. Raises NotFoundError for a role that there is not."""
        role = await self._roles.get(caller.organisation_id, role_id)
        if role.id == OWNER.id:
            self._authority.require_owner(caller)
        self._authority.require_covers(caller, frozenset(role.actions), in_project(project_id))

    def require_principal(self, caller: Caller, principal_id: str) -> None:
        """For whatever lets the caller, or someone of his choice, act as the principal or with its roles."""
        self._authority.require_covers_principal(caller, principal_id)

    def require_not_an_owner(self, caller: Caller, principal_id: str) -> None:
        """For what takes rights away: only owners unmake owners."""
        if self._authority.roles_of(caller.organisation_id, principal_id).is_owner:
            self._authority.require_owner(caller)

    def require_key(self, caller: Caller, key: Key) -> None:
        """For making, changing and replacing a key, which can then do what its scopes and its owner's roles say."""
        self.require_scopes(caller, key.scopes, key.project_id, principal_id=key.principal_id)

    def require_scopes(
        self, caller: Caller, scopes: Sequence[str], project_id: str, *, principal_id: str | None
    ) -> None:
        """For a key with these scopes: a person's is his own alone, since what it does is done in his name."""
        if principal_id is not None:
            if principal_id.startswith("user_"):
                raise PermissionDeniedError(
                    "A person's key is made and changed by that person alone, at /admin/v1/my/keys; "
                    "administrators revoke it, or make a key of a service account."
                )
            self.require_principal(caller, principal_id)
            return
        if Scope.SCIM in scopes:
            self._authority.require_covers(caller, _PROVISIONS)
        is_everywhere = Scope.ADMIN in scopes
        actions = actions_of_scopes(scope for scope in scopes if scope != Scope.SCIM)
        self._authority.require_covers(caller, actions, None if is_everywhere else in_project(project_id))


def in_project(project_id: str | None) -> Resource | None:
    """Return the project as what permissions are asked for; None is the whole organisation."""
    return None if project_id is None else Resource(type="project", id=project_id, project_id=project_id)
