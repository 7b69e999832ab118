"""Whose a key is, as OpenAI shows it."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from mainstay.api.admin.times import seconds
from mainstay.api.organization.parts import Parts
from mainstay.api.organization.shapes import PROJECT_ROLES, role_name
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.authorize import Authority
from mainstay.platform.identity.held_roles import HeldRole
from mainstay.platform.identity.key_rows import Key
from mainstay.platform.identity.service_accounts import ServiceAccount
from mainstay.platform.identity.users import User


class OwnerUser(msgspec.Struct, frozen=True, kw_only=True):
    """The user whose key it is."""

    object: Literal["organization.project.user"] = "organization.project.user"
    id: str
    email: str
    name: str
    role: str
    created_at: int
    added_at: int


class OwnerServiceAccount(msgspec.Struct, frozen=True, kw_only=True):
    """The service account whose key it is."""

    object: Literal["organization.project.service_account"] = "organization.project.service_account"
    id: str
    name: str
    role: str
    created_at: int


class KeyOwner(msgspec.Struct, frozen=True, kw_only=True):
    """Whose key it is; nobody's when there is no type: it is then the project's own."""

    type: Literal["user", "service_account"] | None = None
    user: OwnerUser | None = None
    service_account: OwnerServiceAccount | None = None


class Owners:
    """The owners of some keys, read at once."""

    def __init__(
        self,
        authority: Authority,
        users: dict[str, User],
        accounts: dict[str, ServiceAccount],
        roles: dict[str, list[HeldRole]],
    ) -> None:
        self._authority = authority
        self._users = users
        self._accounts = accounts
        self._roles = roles

    def of(self, key: Key) -> KeyOwner:
        """Return whose key it is."""
        principal_id = key.principal_id or ""
        role = role_name(self._roles.get(principal_id, ()), PROJECT_ROLES)
        user, account = self._users.get(principal_id), self._accounts.get(principal_id)
        if user is not None:
            at = seconds(user.created_at_ms)
            return KeyOwner(
                type="user",
                user=OwnerUser(id=user.id, email=user.email, name=user.name, role=role, created_at=at, added_at=at),
            )
        if account is not None:
            at = seconds(account.created_at_ms)
            shown = OwnerServiceAccount(id=account.id, name=account.name, role=role, created_at=at)
            return KeyOwner(type="service_account", service_account=shown)
        return KeyOwner()

    def access(self, key: Key) -> Literal["active", "inactive"]:
        """Whether the key's owner may do anything in the key's project now."""
        directory = self._authority.directory
        is_active = bool(directory.project_is_open(key.organisation_id, key.project_id))
        if key.principal_id is not None:
            principal = directory.principal(key.principal_id)
            roles = self._authority.roles_of(key.organisation_id, key.principal_id)
            may = roles.everywhere | roles.projects.get(key.project_id, frozenset())
            is_active = is_active and principal is not None and principal.is_active and Action.CALL_MODEL in may
        return "active" if is_active else "inactive"


async def owners_of(parts: Parts, organisation_id: str, project_id: str, keys: Sequence[Key]) -> Owners:
    """Read the owners of keys of one project."""
    ids = [key.principal_id for key in keys if key.principal_id is not None]
    return Owners(
        parts.authority,
        await parts.users.get_many(organisation_id, ids),
        await parts.accounts.get_many(organisation_id, ids),
        await parts.held_roles.in_project(organisation_id, project_id, ids),
    )
