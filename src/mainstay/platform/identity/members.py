"""Who is in which group. An organisation's memberships are changed by one transaction at a time: no circle arises."""

from collections.abc import Sequence

import msgspec

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Row, Transaction, Value
from mainstay.kit.errors import ConflictError, InvalidRequestError, NotFoundError
from mainstay.kit.pages import Page, PageRequest
from mainstay.platform.audit.events import Act, Event
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.change_feed import Change, ChangeKind
from mainstay.platform.identity.groups import Group, GroupSource, lock_group, require_kept_by, target_of
from mainstay.platform.identity.names import clean_id
from mainstay.platform.identity.owners import keeping_an_owner, lock_organisation
from mainstay.platform.identity.principals import PrincipalStatus, PrincipalType

DEPTH_MAX = 10
"""How many groups may lie in one another."""

AT_ONCE_MAX = 1000

_MEMBERS = (
    "SELECT principals.id, principals.type, principals.name, users.email, principals.status, group_members.source "
    "FROM group_members JOIN principals ON principals.id = group_members.member_id "
    "LEFT JOIN users ON users.principal_id = principals.id "
    "WHERE group_members.organisation_id = :organisation_id AND group_members.group_id = :group_id"
)
# Distances rather than paths: UNION keeps one row for each group and distance, so that a web of groups stays small.
_ABOVE = (
    "WITH RECURSIVE above (id, distance) AS (SELECT CAST(:id AS TEXT), 0 UNION "
    "SELECT members.group_id, above.distance + 1 FROM group_members members JOIN above ON members.member_id = above.id "
    "WHERE above.distance < :depth_max) SELECT id, MAX(distance) FROM above GROUP BY id"
)
_BELOW = (
    "WITH RECURSIVE below (id, distance) AS (SELECT CAST(:id AS TEXT), 0 UNION "
    "SELECT members.member_id, below.distance + 1 FROM group_members members JOIN below ON members.group_id = below.id "
    "JOIN groups ON groups.principal_id = members.member_id "
    "WHERE below.distance < :depth_max) SELECT MAX(distance) FROM below"
)
_ADD = (
    "INSERT INTO group_members (group_id, member_id, organisation_id, source) "
    "VALUES (:group_id, :member_id, :organisation_id, :source) ON CONFLICT DO NOTHING RETURNING member_id"
)


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """Someone or something in a group."""

    id: str
    type: PrincipalType
    name: str
    email: str | None
    status: PrincipalStatus
    source: GroupSource


class Members:
    """The members of groups."""

    def __init__(self, database: Database, acts: Acts, clock: Clock) -> None:
        self._database = database
        self._acts = acts
        self._clock = clock

    async def list(self, organisation_id: str, group_id: str, page: PageRequest) -> Page[Member]:
        """Return a page of the direct members; none for a group that does not exist."""
        rows = await self._database.fetch(
            _MEMBERS + page.clause("group_members.member_id"),
            {"organisation_id": organisation_id, "group_id": clean_id(group_id), **page.values()},
        )
        return page.cut(rows, _member)

    async def add(
        self,
        act: Act,
        organisation_id: str,
        group_id: str,
        member_ids: Sequence[str],
        *,
        source: GroupSource = GroupSource.LOCAL,
    ) -> tuple[str, ...]:
        """Put members into a group; return those that were not in it yet.

        Raises NotFoundError for a group or member that is not in the organisation, and ConflictError when a group
        would be in itself, or too deep, or is kept by another.
        """
        wanted = _at_once(member_ids)
        async with self._database.transaction() as transaction:
            await lock_organisation(transaction, organisation_id)
            group = await lock_group(transaction, organisation_id, group_id)
            require_kept_by(group, source)
            await self._require_fitting(transaction, group, wanted)
            added = await _each(transaction, _ADD, group, wanted, source=source)
            if added:
                await self._record(transaction, act, group, added, action="group.member_added")
        return added

    async def remove(
        self,
        act: Act,
        organisation_id: str,
        group_id: str,
        member_ids: Sequence[str],
        *,
        source: GroupSource = GroupSource.LOCAL,
    ) -> tuple[str, ...]:
        """Take members out of a group; return those that were in it. Raises as `add` does."""
        wanted = _at_once(member_ids)
        async with self._database.transaction() as transaction:
            async with keeping_an_owner(transaction, organisation_id, self._now_ms()):
                group = await lock_group(transaction, organisation_id, group_id)
                require_kept_by(group, source)
                removed = await _each(
                    transaction,
                    "DELETE FROM group_members WHERE organisation_id = :organisation_id AND group_id = :group_id "
                    "AND member_id = :member_id RETURNING member_id",
                    group,
                    wanted,
                )
            if removed:
                await self._record(transaction, act, group, removed, action="group.member_removed")
        return removed

    async def _require_fitting(self, transaction: Transaction, group: Group, member_ids: Sequence[str]) -> None:
        types = await _types(transaction, group.organisation_id, member_ids)
        for member_id in member_ids:
            if member_id not in types:
                raise NotFoundError(
                    f"There is no user, group or service account '{member_id[:80]}'.", param="member_ids"
                )
        nested = [member_id for member_id in member_ids if types[member_id] is PrincipalType.GROUP]
        await require_fitting_groups(transaction, group, nested)

    async def _record(
        self, transaction: Transaction, act: Act, group: Group, member_ids: Sequence[str], *, action: str
    ) -> None:
        await transaction.execute(
            "UPDATE principals SET version = version + 1, updated_at_ms = :now_ms WHERE id = :id",
            {"now_ms": self._now_ms(), "id": group.id},
        )
        changes: list[Change] = [(ChangeKind.MEMBERS, member_id) for member_id in member_ids]
        event = Event(action=action, target=target_of(group), details={"member_ids": list(member_ids)})
        await self._acts.record(transaction, act, group.organisation_id, events=[event], changes=changes)

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)


async def require_fitting_groups(transaction: Transaction, group: Group, nested: Sequence[str]) -> None:
    """Raise ConflictError if the group would be in itself, or groups too deep in one another, with these in it.

    The organisation must be locked.
    """
    if not nested:
        return
    rows = await transaction.fetch(_ABOVE, {"id": group.id, "depth_max": DEPTH_MAX})
    above = {str(id_): int(distance) for id_, distance in rows}
    for member_id in nested:
        if member_id in above:
            raise ConflictError(
                f"The group '{group.name}' is '{member_id}' or in it already; a group cannot be in itself.",
                code="group_circle",
            )
        ((below,),) = await transaction.fetch(_BELOW, {"id": member_id, "depth_max": DEPTH_MAX})
        # Groups in the longest chain: those above, this one, and the member with those below it.
        if max(above.values()) + 1 + int(below) + 1 > DEPTH_MAX:
            raise ConflictError(
                f"With '{member_id}' in it, groups would lie more than {DEPTH_MAX} deep.", code="group_too_deep"
            )


def _at_once(member_ids: Sequence[str]) -> tuple[str, ...]:
    """Return the ids in one order for all, each once."""
    if not 1 <= len(member_ids) <= AT_ONCE_MAX:
        raise InvalidRequestError(
            f"Name 1 to {AT_ONCE_MAX} members at once, not {len(member_ids)}.", param="member_ids"
        )
    return tuple(sorted({clean_id(member_id) for member_id in member_ids}))


async def _types(transaction: Transaction, organisation_id: str, member_ids: Sequence[str]) -> dict[str, PrincipalType]:
    names = ", ".join(f":id_{number}" for number in range(len(member_ids)))
    values: dict[str, Value] = {f"id_{number}": member_id for number, member_id in enumerate(member_ids)}
    rows = await transaction.fetch(
        f"SELECT id, type FROM principals WHERE organisation_id = :organisation_id AND id IN ({names})",  # noqa: S608 - placeholders
        values | {"organisation_id": organisation_id},
    )
    return {str(id_): PrincipalType(type_) for id_, type_ in rows}


async def _each(
    transaction: Transaction, sql: str, group: Group, member_ids: Sequence[str], *, source: GroupSource | None = None
) -> tuple[str, ...]:
    touched = []
    for member_id in member_ids:
        values: dict[str, Value] = {
            "group_id": group.id,
            "member_id": member_id,
            "organisation_id": group.organisation_id,
            "source": source,
        }
        if await transaction.fetch(sql, values):
            touched.append(member_id)
    return tuple(touched)


def _member(row: Row) -> Member:
    id_, type_, name, email, status, source = row
    return Member(
        id=id_,
        type=PrincipalType(type_),
        name=name,
        email=email,
        status=PrincipalStatus(status),
        source=GroupSource(source),
    )
