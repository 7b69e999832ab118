"""Whom a question of permissions is about: a principal as it would act, or a key; and what they are called."""

from collections.abc import Collection

import msgspec

from mainstay.kit.database import Database, Value
from mainstay.kit.errors import InvalidRequestError, NotFoundError
from mainstay.platform.audit.events import ActorType
from mainstay.platform.identity.caller import Caller, Scope
from mainstay.platform.identity.directory import Directory
from mainstay.platform.identity.names import clean_id
from mainstay.platform.identity.principals import PrincipalType

_KEY = (
    "SELECT id, project_id, scopes, deployments, principal_id, expires_at_ms, revoked_at_ms FROM api_keys "
    "WHERE organisation_id = :organisation_id AND id = :id"
)
_ACCOUNT = "SELECT project_id FROM service_accounts WHERE organisation_id = :organisation_id AND principal_id = :id"
_NAMES_MAX = 200


class Subjects:
    """Finds callers by what administrators know of them."""

    def __init__(self, database: Database, directory: Directory) -> None:
        self._database = database
        self._directory = directory

    async def principal(self, organisation_id: str, principal_id: str, project_id: str | None) -> Caller:
        """Return a user or service account as it acts in a project, with a credential that is good for everything.

        Without a project, a service account acts in its own and a user in none.
        Raises NotFoundError, also for another organisation's, or InvalidRequestError for a group.
        """
        known = self._directory.principal(principal_id)
        if known is None or known.organisation_id != organisation_id:
            raise NotFoundError(f"There is no user or service account '{principal_id[:80]}'.", param="principal")
        if known.type == PrincipalType.GROUP:
            raise InvalidRequestError("A group does nothing itself; ask for one of its members.", param="principal")
        if project_id is None and known.type == PrincipalType.SERVICE_ACCOUNT:
            values: dict[str, Value] = {"organisation_id": organisation_id, "id": principal_id}
            rows = await self._database.fetch(_ACCOUNT, values)
            project_id = str(rows[0][0]) if rows else None
        return Caller(
            key_id=principal_id,
            organisation_id=organisation_id,
            project_id=project_id or "",
            scopes=frozenset({Scope.INFERENCE, Scope.ADMIN}),
            principal_id=principal_id,
            actor_type=ActorType(known.type),
        )

    async def key(self, organisation_id: str, key_id: str) -> Caller:
        """Return a key's caller. Raises NotFoundError, also for a key that is revoked."""
        rows = await self._database.fetch(_KEY, {"organisation_id": organisation_id, "id": clean_id(key_id)})
        if not rows:
            raise NotFoundError(f"There is no key '{key_id[:80]}'.", param="key")
        id_, project_id, scopes, deployments, principal_id, expires_at_ms, revoked_at_ms = rows[0]
        if revoked_at_ms is not None:
            raise NotFoundError(f"The key '{key_id[:80]}' is revoked: it is good for nothing.", param="key")
        return Caller(
            key_id=id_,
            organisation_id=organisation_id,
            project_id=project_id,
            scopes=msgspec.json.decode(scopes, type=frozenset[str]),
            deployments=None if deployments is None else msgspec.json.decode(deployments, type=frozenset[str]),
            expires_at=None if expires_at_ms is None else expires_at_ms / 1000,
            principal_id=principal_id,
        )

    async def names(self, organisation_id: str, principal_ids: Collection[str]) -> dict[str, str]:
        """Return what principals are called, by id; of very many, only some."""
        values: dict[str, Value] = {
            f"id_{number}": id_ for number, id_ in enumerate(sorted(principal_ids)[:_NAMES_MAX])
        }
        if not values:
            return {}
        within = ", ".join(f":{name}" for name in values)
        rows = await self._database.fetch(
            f"SELECT id, name FROM principals WHERE organisation_id = :organisation_id AND id IN ({within})",  # noqa: S608 - placeholders only
            values | {"organisation_id": organisation_id},
        )
        return {str(id_): str(name) for id_, name in rows}
