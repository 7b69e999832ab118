"""What whoever sets an identity provider up may let it give: nothing that he could not give himself."""

from mainstay.kit.errors import PermissionDeniedError
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.authorize import Authority
from mainstay.platform.identity.caller import Caller
from mainstay.platform.identity.oidc.settings import ProviderSettings
from mainstay.platform.identity.role_store import Roles
from mainstay.platform.identity.roles import GIVABLE
from mainstay.platform.identity.stored_provider import Ceiling

_WHO_IS_WHO = ("subject_claim", "email_claim", "trusts_email")
_NOTHING_MAPPED = ProviderSettings(default_role_id=None)


class ProviderCeilings:
    """Compares what a provider would give with what its administrator could."""

    def __init__(self, authority: Authority, roles: Roles) -> None:
        self._authority = authority
        self._roles = roles

    def ceiling_of(self, caller: Caller) -> Ceiling:
        """Return what the caller could give."""
        actions = frozenset(action.value for action in GIVABLE if self._covers(caller, frozenset({action})))
        return Ceiling(actions=actions, is_owner=self._authority.is_owner(caller))

    @staticmethod
    def says_who_is_who_otherwise(before: ProviderSettings, after: ProviderSettings) -> bool:
        """Whether the settings read another account from the same claims."""
        return any(getattr(before, name) != getattr(after, name) for name in _WHO_IS_WHO)

    async def require_may_set(
        self, caller: Caller, after: ProviderSettings, before: ProviderSettings = _NOTHING_MAPPED
    ) -> None:
        """Raise PermissionDeniedError if the settings newly give what the caller could not.

        With another group claim, all that is mapped is given anew. Raises InvalidRequestError or NotFoundError.
        """
        after.checked()
        if after.creates_users and not before.creates_users:
            self._authority.require_covers(caller, frozenset({Action.WRITE_USERS}))
        known = before if before.group_claim == after.group_claim else _NOTHING_MAPPED
        for value, role_id in after.roles.items():
            if known.roles.get(value) != role_id:
                await self._require_covers_role(caller, role_id)
        if after.default_role_id is not None and after.default_role_id != before.default_role_id:
            await self._require_covers_role(caller, after.default_role_id)
        for value, group_id in after.groups.items():
            if known.groups.get(value) != group_id:
                self._authority.require_covers(caller, frozenset({Action.WRITE_GROUPS}))
                self._authority.require_covers_principal(caller, group_id)
        old_accounts = before.api_tokens.service_accounts
        for application, account_id in after.api_tokens.service_accounts.items():
            if old_accounts.get(application) != account_id:
                self._authority.require_covers_principal(caller, account_id)

    async def _require_covers_role(self, caller: Caller, role_id: str) -> None:
        role = await self._roles.get(caller.organisation_id, role_id)
        self._authority.require_covers(caller, frozenset(role.actions))

    def _covers(self, caller: Caller, actions: frozenset[Action]) -> bool:
        try:
            self._authority.require_covers(caller, actions)
        except PermissionDeniedError:
            return False
        return True
