"""Groups of users, service accounts and groups; no group is in itself, however far around."""

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Row, Transaction, Value
from mainstay.kit.errors import ConflictError
from mainstay.kit.ids import new_sortable_id
from mainstay.kit.pages import Page, PageRequest
from mainstay.platform.audit.events import Act, Event, Target
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.change_feed import ChangeKind
from mainstay.platform.identity.names import clean_id, clean_name
from mainstay.platform.identity.owners import keeping_an_owner, lock_organisation
from mainstay.platform.identity.principals import (
    PrincipalStatus,
    PrincipalType,
    delete_principal,
    insert_principal,
    lock_principal,
    no_principal,
)

_SELECT = (
    "SELECT principals.id, principals.organisation_id, principals.name, groups.source, groups.external_id, "
    "principals.created_at_ms, principals.updated_at_ms, principals.version "
    "FROM principals JOIN groups ON groups.principal_id = principals.id "
    "WHERE principals.organisation_id = :organisation_id AND principals.type = 'group'"
)


class GroupSource(StrEnum):
    """Who keeps a group's name and members; the values are stored."""

    LOCAL = "local"
    SCIM = "scim"
    IDP = "idp"


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A group. Times are Unix milliseconds."""

    id: str
    organisation_id: str
    name: str
    source: GroupSource
    external_id: str | None
    created_at_ms: int
    updated_at_ms: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewGroup:
    """What a group shall be."""

    name: str
    source: GroupSource = GroupSource.LOCAL
    external_id: str | None = None


class Groups:
    """The groups of every organisation; each method keeps to one.

    Writes take the `source` that makes them: what a directory keeps, an administrator does not change here.
    """

    def __init__(self, database: Database, acts: Acts, clock: Clock) -> None:
        self._database = database
        self._acts = acts
        self._clock = clock

    async def create(self, act: Act, organisation_id: str, wanted: NewGroup) -> Group:
        """Make an empty group. Raises InvalidRequestError, or ConflictError if the name is taken."""
        now_ms = self._now_ms()
        group = Group(
            id=new_sortable_id("group_"),
            organisation_id=organisation_id,
            name=clean_name(wanted.name, "A group"),
            source=wanted.source,
            external_id=wanted.external_id,
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
            version=1,
        )
        async with self._database.transaction() as transaction:
            await lock_organisation(transaction, organisation_id)
            await _require_free(transaction, group)
            await insert_group(transaction, group)
            await self._acts.record(
                transaction,
                act,
                organisation_id,
                events=[Event(action="group.created", target=target_of(group), details={"source": group.source})],
                changes=[(ChangeKind.PRINCIPAL, group.id)],
            )
        return group

    async def get(self, organisation_id: str, group_id: str) -> Group:
        """Return one group. Raises NotFoundError, also for another organisation's."""
        rows = await self._database.fetch(
            f"{_SELECT} AND principals.id = :id", {"organisation_id": organisation_id, "id": clean_id(group_id)}
        )
        if not rows:
            raise no_principal(group_id, PrincipalType.GROUP)
        return _group(rows[0])

    async def list(
        self, organisation_id: str, page: PageRequest, *, name: str | None = None, member_id: str | None = None
    ) -> Page[Group]:
        """Return a page of the groups: those with exactly this name, those that `member_id` is directly in."""
        values: dict[str, Value] = {"organisation_id": organisation_id, **page.values()}
        conditions = ""
        if name is not None:
            conditions += " AND principals.name = :name"
            values["name"] = clean_id(name)
        if member_id is not None:
            conditions += " AND principals.id IN (SELECT group_id FROM group_members WHERE member_id = :member_id)"
            values["member_id"] = clean_id(member_id)
        rows = await self._database.fetch(_SELECT + conditions + page.clause("principals.id"), values)
        return page.cut(rows, _group)

    async def rename(
        self,
        act: Act,
        organisation_id: str,
        group_id: str,
        name: str,
        *,
        source: GroupSource = GroupSource.LOCAL,
        expected_version: int | None = None,
    ) -> Group:
        """Give a group another name. Raises NotFoundError, VersionMismatchError or ConflictError."""
        name = clean_name(name, "A group")
        async with self._database.transaction() as transaction:
            await lock_organisation(transaction, organisation_id)
            before = await lock_group(transaction, organisation_id, group_id, expected_version=expected_version)
            require_kept_by(before, source)
            if before.name == name:
                return before
            group = msgspec.structs.replace(before, name=name, updated_at_ms=self._now_ms(), version=before.version + 1)
            await _require_free(transaction, group)
            await transaction.execute(
                "UPDATE principals SET name = :name, updated_at_ms = :updated_at_ms, version = :version WHERE id = :id",
                {"name": name, "updated_at_ms": group.updated_at_ms, "version": group.version, "id": group.id},
            )
            event = Event(action="group.updated", target=target_of(group), changed={"name": [before.name, name]})
            await self._acts.record(
                transaction, act, organisation_id, events=[event], changes=[(ChangeKind.PRINCIPAL, group.id)]
            )
        return group

    async def delete(
        self,
        act: Act,
        organisation_id: str,
        group_id: str,
        *,
        source: GroupSource = GroupSource.LOCAL,
        expected_version: int | None = None,
    ) -> None:
        """Delete a group with all that was given to it; its members stay. Raises as `rename` does."""
        async with self._database.transaction() as transaction:
            async with keeping_an_owner(transaction, organisation_id, self._now_ms()):
                group = await lock_group(transaction, organisation_id, group_id, expected_version=expected_version)
                require_kept_by(group, source)
                changes = await delete_principal(transaction, organisation_id, group.id, now_ms=self._now_ms())
            event = Event(action="group.deleted", target=target_of(group))
            await self._acts.record(transaction, act, organisation_id, events=[event], changes=changes)

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)


async def insert_group(transaction: Transaction, group: Group) -> None:
    """Write a new group's rows, in an act that the caller records."""
    values: dict[str, Value] = msgspec.structs.asdict(group)
    values |= {"type": PrincipalType.GROUP.value, "status": PrincipalStatus.ACTIVE.value}
    await insert_principal(transaction, values | {"now_ms": group.created_at_ms})
    await transaction.execute(
        "INSERT INTO groups (principal_id, organisation_id, source, external_id) "
        "VALUES (:id, :organisation_id, :source, :external_id)",
        values | {"source": group.source.value},
    )


async def lock_group(
    transaction: Transaction, organisation_id: str, group_id: str, *, expected_version: int | None = None
) -> Group:
    """Return the group, which nobody else changes until the transaction ends.

    Raises NotFoundError or VersionMismatchError.
    """
    await lock_principal(transaction, organisation_id, group_id, PrincipalType.GROUP, expected_version=expected_version)
    rows = await transaction.fetch(
        f"{_SELECT} AND principals.id = :id", {"organisation_id": organisation_id, "id": group_id}
    )
    return _group(rows[0])


def require_kept_by(group: Group, source: GroupSource) -> None:
    """Raise ConflictError if another keeps the group."""
    if group.source is not source:
        keeper = {GroupSource.LOCAL: "this server's administrators", GroupSource.SCIM: "the directory, by SCIM"}
        raise ConflictError(
            f"The group '{group.name}' is kept by {keeper.get(group.source, 'an identity provider')}; change it there.",
            code="managed_elsewhere",
        )


def target_of(group: Group) -> Target:
    """Return the group as an audit event names it."""
    return Target(type="group", id=group.id, name=group.name)


async def _require_free(transaction: Transaction, group: Group) -> None:
    rows = await transaction.fetch(
        "SELECT 1 FROM principals WHERE organisation_id = :organisation_id AND type = 'group' AND name = :name "
        "AND id <> :id",
        {"organisation_id": group.organisation_id, "name": group.name, "id": group.id},
    )
    if rows:
        raise ConflictError(f"There is a group '{group.name}' already.", param="name", code="already_exists")


def _group(row: Row) -> Group:
    values = dict(zip(Group.__struct_fields__, row, strict=True))
    return Group(**values | {"source": GroupSource(values["source"])})
