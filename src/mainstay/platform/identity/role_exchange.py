"""Giving someone one role for others in one act: nobody is without a role in between, and the log has one event."""

from collections.abc import Sequence

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Value
from mainstay.platform.audit.events import Act, Event, Target
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.change_feed import ChangeKind
from mainstay.platform.identity.first_role import bind_first_role
from mainstay.platform.identity.owners import keeping_an_owner

_TAKE_AWAY = (
    "DELETE FROM role_bindings WHERE organisation_id = :organisation_id AND principal_id = :principal_id "
    "AND role_id = :role_id AND scope_type = :scope_type AND scope_id = :scope_id"
)


class RoleExchange:
    """Exchanges the roles of one principal in the organisation, or in one project."""

    def __init__(self, database: Database, acts: Acts, clock: Clock) -> None:
        self._database = database
        self._acts = acts
        self._clock = clock

    async def exchange(
        self,
        act: Act,
        organisation_id: str,
        principal_id: str,
        *,
        role_id: str | None,
        instead_of: Sequence[str],
        project_id: str | None = None,
    ) -> None:
        """Take the roles `instead_of` away and give `role_id`, if one is given.

        Whether the caller may is asked before. Raises NotFoundError, or ConflictError for the last owner.
        """
        now_ms = int(self._clock.wall() * 1000)
        place: dict[str, Value] = {
            "organisation_id": organisation_id,
            "principal_id": principal_id,
            "scope_type": "organisation" if project_id is None else "project",
            "scope_id": organisation_id if project_id is None else project_id,
        }
        async with self._database.transaction() as transaction:
            async with keeping_an_owner(transaction, organisation_id, now_ms):
                # An expired binding of the new role makes room too.
                for gone in dict.fromkeys([*instead_of, *([role_id] if role_id else [])]):
                    await transaction.execute(_TAKE_AWAY, place | {"role_id": gone})
                if role_id is not None:
                    await bind_first_role(
                        transaction,
                        act,
                        organisation_id,
                        principal_id,
                        role_id=role_id,
                        project_id=project_id,
                        now_ms=now_ms,
                    )
            event = Event(
                action="binding.deleted" if role_id is None else "binding.created",
                target=Target(type=principal_id.partition("_")[0], id=principal_id),
                details={"role_id": role_id, "instead_of": list(instead_of), "project_id": project_id},
            )
            changes = [(ChangeKind.BINDINGS, principal_id)]
            await self._acts.record(transaction, act, organisation_id, events=[event], changes=changes)
