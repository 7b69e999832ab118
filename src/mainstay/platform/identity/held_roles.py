"""The roles that were bound to some principals themselves, for lists that show them."""

from collections.abc import Iterable

import msgspec

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Value
from mainstay.platform.identity.names import clean_id


class HeldRole(msgspec.Struct, frozen=True, kw_only=True):
    """A role of someone; the binding is what takes it away again."""

    binding_id: str
    role_id: str
    created_at_ms: int


class HeldRoles:
    """Reads role bindings by principal; not those that have expired."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def in_organisation(self, organisation_id: str, principal_ids: Iterable[str]) -> dict[str, list[HeldRole]]:
        """Return the roles that hold in the whole organisation, oldest first."""
        return await self._held(organisation_id, "organisation", organisation_id, principal_ids)

    async def in_project(
        self, organisation_id: str, project_id: str, principal_ids: Iterable[str]
    ) -> dict[str, list[HeldRole]]:
        """Return the roles that hold in the project alone, oldest first."""
        return await self._held(organisation_id, "project", project_id, principal_ids)

    async def _held(
        self, organisation_id: str, scope_type: str, scope_id: str, principal_ids: Iterable[str]
    ) -> dict[str, list[HeldRole]]:
        held: dict[str, list[HeldRole]] = {principal_id: [] for principal_id in principal_ids}
        if not held:
            return held
        named: dict[str, Value] = {f"id_{number}": clean_id(id_) for number, id_ in enumerate(held)}
        names = ", ".join(f":{name}" for name in named)
        rows = await self._database.fetch(
            "SELECT principal_id, id, role_id, created_at_ms FROM role_bindings "  # noqa: S608 - placeholders
            "WHERE organisation_id = :organisation_id AND scope_type = :scope_type AND scope_id = :scope_id "
            f"AND principal_id IN ({names}) AND (expires_at_ms IS NULL OR expires_at_ms > :now_ms) ORDER BY id",
            named
            | {
                "organisation_id": organisation_id,
                "scope_type": scope_type,
                "scope_id": clean_id(scope_id),
                "now_ms": int(self._clock.wall() * 1000),
            },
        )
        for principal_id, binding_id, role_id, created_at_ms in rows:
            role = HeldRole(binding_id=binding_id, role_id=role_id, created_at_ms=created_at_ms)
            held[principal_id].append(role)
        return held
