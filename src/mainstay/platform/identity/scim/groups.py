"""The groups that an organisation's directory keeps. Groups that were made here are none of its business.

A local group may carry rights that nobody meant the directory to give, so a directory neither sees nor fills it.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Row, Transaction, Value
from mainstay.kit.ids import new_sortable_id
from mainstay.platform.audit.events import Act, Event
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.change_feed import Change, ChangeKind
from mainstay.platform.identity.groups import Group, GroupSource, insert_group, lock_group, target_of
from mainstay.platform.identity.names import clean_id
from mainstay.platform.identity.owners import keeping_an_owner, lock_organisation
from mainstay.platform.identity.principals import PrincipalType, delete_principal, no_principal
from mainstay.platform.identity.scim.errors import InvalidValueError, UniquenessError
from mainstay.platform.identity.scim.filters import Column, Compiler, Source
from mainstay.platform.identity.scim.json_sql import JsonSql
from mainstay.platform.identity.scim.member_rows import MemberRows
from mainstay.platform.identity.scim.memberships import MEMBERS, Membership, membership_of
from mainstay.platform.identity.scim.queries import Found, Query, Relation, select
from mainstay.platform.identity.scim.vocabulary import Json, Kind

NAME_LENGTH_MAX = 256
EXTERNAL_ID_LENGTH_MAX = 512
_EVENT_IDS_MAX = 1000
_GROUPS = Relation(
    "p.id, p.organisation_id, p.name, g.source, g.external_id, p.created_at_ms, p.updated_at_ms, p.version",
    type="group",
    joined="groups g ON g.principal_id = p.id",
    narrowing=" AND g.source = 'scim'",
)
_BY_EXTERNAL_ID = (
    "SELECT principal_id FROM groups WHERE organisation_id || '' = :organisation_id AND external_id = {value}"
)
_COLUMNS = {
    "id": Column(sql="p.id"),
    "externalid": Column(sql="g.external_id", equality=_BY_EXTERNAL_ID),
    "displayname": Column(sql="p.name", is_case_exact=False),
    "meta.created": Column(sql="p.created_at_ms", type="time"),
    "meta.lastmodified": Column(sql="p.updated_at_ms", type="time"),
}
_WITH_MEMBERS = "SELECT group_id FROM group_members WHERE organisation_id = :organisation_id"


@dataclass(frozen=True, slots=True)
class ScimGroup:
    """A group as a directory sees it; `members` are ids and types, or None if they were not asked for."""

    group: Group
    members: tuple[tuple[str, str], ...] | None = None

    @property
    def document(self) -> Json:
        """The group without its members."""
        return _document(self.group)


class ScimGroups:
    """Groups by directory. Every method is for one organisation, and knows nothing of others."""

    def __init__(self, database: Database, acts: Acts, clock: Clock) -> None:
        self._database = database
        self._acts = acts
        self._clock = clock
        self._json = JsonSql(database.dialect)
        self._rows = MemberRows(database.dialect)

    async def find(self, kind: Kind, organisation_id: str, query: Query) -> Found[ScimGroup]:
        """Return a page of groups. Raises InvalidFilterError or InvalidPathError."""
        compiler = Compiler(_source(kind), self._database.dialect, query.is_lenient)
        total, rows = await select(self._database, compiler, _GROUPS, query, organisation_id=organisation_id)
        groups = [_group(row) for row in rows]
        if query.wants_links:
            return Found(total, await self._with_members(groups))
        return Found(total, [ScimGroup(group) for group in groups])

    async def get(self, organisation_id: str, group_id: str, *, wants_members: bool = True) -> ScimGroup:
        """Return one group. Raises NotFoundError."""
        rows = await self._database.fetch(
            f"SELECT {_GROUPS.columns} FROM {_GROUPS.tables} AND p.id = :id",  # noqa: S608 - constants only
            {"organisation_id": organisation_id, "id": clean_id(group_id)},
        )
        if not rows:
            raise no_principal(group_id, PrincipalType.GROUP)
        return (await self._with_members([_group(rows[0])]))[0] if wants_members else ScimGroup(_group(rows[0]))

    async def create(self, act: Act, organisation_id: str, document: Json) -> ScimGroup:
        """Make a group with its members. Raises InvalidValueError or UniquenessError."""
        membership, now_ms = membership_of(document), self._now_ms()
        group = _checked(
            Group(
                id=new_sortable_id("group_"),
                organisation_id=organisation_id,
                name=document.get("displayName", ""),
                source=GroupSource.SCIM,
                external_id=document.get("externalId"),
                created_at_ms=now_ms,
                updated_at_ms=now_ms,
                version=1,
            )
        )
        async with self._database.transaction() as transaction:
            await lock_organisation(transaction, organisation_id)
            await _require_free(transaction, group)
            await insert_group(transaction, group)
            added, _ = await self._rows.change(transaction, group, membership)
            await self._acts.record(
                transaction,
                act,
                organisation_id,
                events=list(_events("scim.group_created", None, group, (added, []))),
                changes=[(ChangeKind.PRINCIPAL, group.id), *_members_changed(added)],
            )
        return (await self._with_members([group]))[0]

    async def change(
        self,
        act: Act,
        organisation_id: str,
        group_id: str,
        *,
        make: Callable[[Json], Json],
        membership: Membership,
        expected_version: int | None = None,
    ) -> ScimGroup:
        """Replace a group's document by what `make` makes of it, and its members as `membership` says.

        When that is the same, nothing is written. The group comes back without its members. Raises NotFoundError,
        VersionMismatchError, InvalidValueError, UniquenessError, ConflictError for the last owner, and what `make`
        raises.
        """
        async with self._database.transaction() as transaction:
            async with self._guarded(transaction, organisation_id, membership):
                before = await _lock(transaction, organisation_id, group_id, expected_version)
                document = make(_document(before))
                added, removed = await self._rows.change(transaction, before, membership)
            if document == _document(before) and not added and not removed:
                return ScimGroup(before)
            after = self._changed(before, document)
            await _write(transaction, before, after)
            await self._acts.record(
                transaction,
                act,
                organisation_id,
                events=list(_events("scim.group_updated", before, after, (added, removed))),
                changes=[(ChangeKind.PRINCIPAL, after.id), *_members_changed([*added, *removed])],
            )
        return ScimGroup(after)

    async def delete(
        self, act: Act, organisation_id: str, group_id: str, *, expected_version: int | None = None
    ) -> None:
        """Delete a group; its members stay. Raises NotFoundError, VersionMismatchError or ConflictError."""
        now_ms = self._now_ms()
        async with self._database.transaction() as transaction:
            async with keeping_an_owner(transaction, organisation_id, now_ms):
                group = await _lock(transaction, organisation_id, group_id, expected_version)
                changes = await delete_principal(transaction, organisation_id, group.id, now_ms=now_ms)
            event = Event(action="scim.group_deleted", target=target_of(group))
            await self._acts.record(transaction, act, organisation_id, events=[event], changes=changes)

    @asynccontextmanager
    async def _guarded(
        self, transaction: Transaction, organisation_id: str, membership: Membership
    ) -> AsyncIterator[None]:
        """Change groups one transaction at a time; whoever is taken out may have been the last owner."""
        if membership.takes_away:
            async with keeping_an_owner(transaction, organisation_id, self._now_ms()):
                yield
            return
        await lock_organisation(transaction, organisation_id)
        yield

    def _changed(self, before: Group, document: Json) -> Group:
        return _checked(
            msgspec.structs.replace(
                before,
                name=document.get("displayName", ""),
                external_id=document.get("externalId"),
                updated_at_ms=self._now_ms(),
                version=before.version + 1,
            )
        )

    async def _with_members(self, groups: list[Group]) -> list[ScimGroup]:
        """Look up the members of all of them at once."""
        ids = msgspec.json.encode([group.id for group in groups]).decode()
        is_wanted = self._json.among("group_id", self._json.listed(":ids"))
        rows = await self._database.fetch(
            "WITH m AS MATERIALIZED (SELECT group_id, member_id FROM group_members "  # noqa: S608 - constants only
            f"WHERE {is_wanted}) SELECT m.group_id, m.member_id, p.type FROM m "
            "JOIN principals p ON p.id = m.member_id LEFT JOIN groups g ON g.principal_id = p.id "
            "WHERE p.type = 'user' OR g.source = 'scim' "
            "ORDER BY m.group_id, m.member_id",
            {"ids": ids},
        )
        members: dict[str, list[tuple[str, str]]] = {group.id: [] for group in groups}
        for group_id, member_id, type_ in rows:
            members[group_id].append((member_id, type_))
        return [ScimGroup(group, tuple(members[group.id])) for group in groups]

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)


def _source(kind: Kind) -> Source:
    with_this = _WITH_MEMBERS + " AND member_id = {value}"
    return Source(kind=kind, document=None, columns=_COLUMNS, links={MEMBERS: (with_this, _WITH_MEMBERS)})


def _group(row: Row) -> Group:
    values = dict(zip(Group.__struct_fields__, row, strict=True))
    return Group(**values | {"source": GroupSource(values["source"])})


def _document(group: Group) -> Json:
    return {"displayName": group.name} | ({} if group.external_id is None else {"externalId": group.external_id})


def _checked(group: Group) -> Group:
    """Return the group. Raises InvalidValueError for a name or an id that cannot be one."""
    if not 1 <= len(group.name) <= NAME_LENGTH_MAX or not group.name.strip() or set(group.name) & set("\r\n\t"):
        raise InvalidValueError(f"A group needs a displayName of 1 to {NAME_LENGTH_MAX} printable characters.")
    if group.external_id is not None and len(group.external_id) > EXTERNAL_ID_LENGTH_MAX:
        raise InvalidValueError(f"externalId may have {EXTERNAL_ID_LENGTH_MAX} characters.")
    return group


async def _lock(transaction: Transaction, organisation_id: str, group_id: str, expected_version: int | None) -> Group:
    group = await lock_group(transaction, organisation_id, clean_id(group_id), expected_version=expected_version)
    if group.source is not GroupSource.SCIM:
        raise no_principal(group_id, PrincipalType.GROUP)
    return group


async def _write(transaction: Transaction, before: Group, after: Group) -> None:
    if after.name != before.name:
        await _require_free(transaction, after)
    values: dict[str, Value] = {
        "id": after.id,
        "name": after.name,
        "external_id": after.external_id,
        "updated_at_ms": after.updated_at_ms,
        "version": after.version,
    }
    await transaction.execute(
        "UPDATE principals SET name = :name, updated_at_ms = :updated_at_ms, version = :version WHERE id = :id", values
    )
    await transaction.execute("UPDATE groups SET external_id = :external_id WHERE principal_id = :id", values)


async def _require_free(transaction: Transaction, group: Group) -> None:
    taken = await transaction.fetch(
        "SELECT 1 FROM principals WHERE organisation_id = :organisation_id AND type = 'group' AND name = :name "
        "AND id <> :id",
        {"organisation_id": group.organisation_id, "name": group.name, "id": group.id},
    )
    if taken:
        raise UniquenessError(f"There is a group '{group.name}' already, the directory's or one that was made here.")


def _members_changed(ids: Iterable[str]) -> list[Change]:
    return [(ChangeKind.MEMBERS, id_) for id_ in ids]


def _events(action: str, before: Group | None, after: Group, moved: tuple[list[str], list[str]]) -> Iterator[Event]:
    """One event; members beyond a thousand are told of in further ones, so that none grows without limit."""
    then, now = {} if before is None else _document(before), _document(after)
    names = sorted(then.keys() | now.keys())
    changed = {name: [then.get(name), now.get(name)] for name in names if then.get(name) != now.get(name)}
    added, removed = moved
    for start in range(0, max(len(added), len(removed), 1), _EVENT_IDS_MAX):
        part = slice(start, start + _EVENT_IDS_MAX)
        details = {"members_added": added[part], "members_removed": removed[part]}
        yield Event(
            action="scim.group_updated" if start else action,
            target=target_of(after),
            changed={} if start else changed,
            details={name: ids for name, ids in details.items() if ids},
        )
