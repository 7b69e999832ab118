"""The rows of a directory's group: who is put in, who is taken out."""

from collections.abc import Iterable

import msgspec

from mainstay.kit.database import Dialect, Transaction, Value
from mainstay.platform.identity.groups import Group
from mainstay.platform.identity.members import require_fitting_groups
from mainstay.platform.identity.principals import PrincipalType
from mainstay.platform.identity.scim.errors import InvalidValueError
from mainstay.platform.identity.scim.json_sql import JsonSql
from mainstay.platform.identity.scim.memberships import Membership

# The organisation is compared as an expression, which no index has: see JsonSql.among.
_CANDIDATES = (
    "FROM principals p LEFT JOIN groups g ON g.principal_id = p.id "
    "WHERE p.organisation_id || '' = :organisation_id AND (p.type = 'user' OR g.source = 'scim') AND"
)


class MemberRows:
    """Writes members, all at once however many they are. The organisation is locked by the caller."""

    def __init__(self, dialect: Dialect) -> None:
        json = JsonSql(dialect)
        listed = json.listed(":ids")
        self._is_candidate = f"{_CANDIDATES} {json.among('p.id', listed)}"
        self._is_listed = json.among("member_id", listed)

    async def change(
        self, transaction: Transaction, group: Group, membership: Membership
    ) -> tuple[list[str], list[str]]:
        """Write what becomes of the members; return who came in and who went out.

        Raises InvalidValueError for someone unknown, and ConflictError for a group that would be in itself.
        """
        if membership.changes_nothing:
            return [], []
        values: dict[str, Value] = {"organisation_id": group.organisation_id, "group_id": group.id}
        if membership.added:
            await require_fitting_groups(transaction, group, await self._groups_among(transaction, values, membership))
        removed = await self._remove(transaction, values, membership)
        added = await self._add(transaction, values, membership.added) if membership.added else []
        return added, removed

    async def _groups_among(
        self, transaction: Transaction, values: dict[str, Value], membership: Membership
    ) -> list[str]:
        rows = await transaction.fetch(
            f"SELECT p.id, p.type {self._is_candidate}", values | {"ids": _json(membership.added)}
        )
        known = {str(id_) for id_, _ in rows}
        for id_ in membership.added:
            if id_ not in known:
                raise InvalidValueError(f"There is no user or group '{id_[:80]}' to be a member.")
        return sorted(str(id_) for id_, type_ in rows if type_ == PrincipalType.GROUP)

    async def _remove(self, transaction: Transaction, values: dict[str, Value], membership: Membership) -> list[str]:
        if not membership.takes_away:
            return []
        ids = membership.added if membership.is_replaced else membership.removed
        word = "NOT " if membership.is_replaced else ""
        rows = await transaction.fetch(
            "DELETE FROM group_members WHERE group_id = :group_id AND organisation_id = :organisation_id "  # noqa: S608 - constants
            f"AND {word}({self._is_listed}) RETURNING member_id",
            values | {"ids": _json(ids)},
        )
        return sorted(str(id_) for (id_,) in rows)

    async def _add(self, transaction: Transaction, values: dict[str, Value], ids: Iterable[str]) -> list[str]:
        rows = await transaction.fetch(
            "INSERT INTO group_members (group_id, member_id, organisation_id, source) "
            f"SELECT CAST(:group_id AS text), p.id, p.organisation_id, 'scim' {self._is_candidate} "
            "ON CONFLICT (group_id, member_id) DO NOTHING RETURNING member_id",
            values | {"ids": _json(ids)},
        )
        return sorted(str(id_) for (id_,) in rows)


def _json(ids: Iterable[str]) -> str:
    return msgspec.json.encode(list(ids)).decode()
