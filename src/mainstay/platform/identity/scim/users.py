"""The users of an organisation, as its directory reads and writes them."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import msgspec

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Row, Transaction, Value
from mainstay.kit.errors import ConflictError
from mainstay.kit.ids import new_sortable_id
from mainstay.platform.audit.events import Act, Event, Target
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.change_feed import Change, ChangeKind
from mainstay.platform.identity.names import clean_id
from mainstay.platform.identity.owners import all_owners, keeping_an_owner
from mainstay.platform.identity.principals import (
    PrincipalType,
    delete_principal,
    end_sign_ins,
    insert_principal,
    lock_principal,
    no_principal,
)
from mainstay.platform.identity.scim.errors import UniquenessError
from mainstay.platform.identity.scim.filters import Compiler
from mainstay.platform.identity.scim.json_sql import JsonSql
from mainstay.platform.identity.scim.queries import Found, Query, select
from mainstay.platform.identity.scim.user_rows import BY_USER_NAME, USERS, ScimUser, source, user_of, values_of, written
from mainstay.platform.identity.scim.vocabulary import Json, Kind

_SELECT = f"SELECT {USERS.columns} FROM {USERS.tables} AND p.id = :id"  # noqa: S608 - constants only
_INSERT = (
    "INSERT INTO users "
    "(principal_id, organisation_id, email, email_normal, search_text, user_name, external_id, attributes) "
    "VALUES (:id, :organisation_id, :email, :email_normal, :search_text, :user_name, :external_id, :attributes) "
    "ON CONFLICT DO NOTHING RETURNING principal_id"
)
_TAKEN = (
    f"SELECT principal_id FROM ({BY_USER_NAME.format(value=':user_name')} UNION ALL SELECT principal_id FROM users "  # noqa: S608 - constants only
    "WHERE organisation_id || '' = :organisation_id AND email_normal = :email_normal) found WHERE principal_id <> :id"
)
_UPDATE_PRINCIPAL = (
    "UPDATE principals SET name = :name, status = :status, updated_at_ms = :now_ms, version = version + 1 "
    "WHERE id = :id"
)
_UPDATE_USER = (
    "UPDATE users SET email = :email, email_normal = :email_normal, search_text = :search_text, "
    "user_name = :user_name, external_id = :external_id, attributes = :attributes WHERE principal_id = :id"
)
_TOLD = ("userName", "displayName", "emails", "externalId", "active")
"""What the audit log tells the values of; of other attributes it tells that they changed."""


class _TakesSomeoneAwayError(Exception):
    """The change deactivates a user, so it must be made while no other one takes an owner away."""


class ScimUsers:
    """Users by directory. Every method is for one organisation, and knows nothing of others."""

    def __init__(self, database: Database, acts: Acts, clock: Clock) -> None:
        self._database = database
        self._acts = acts
        self._clock = clock
        self._json = JsonSql(database.dialect)

    async def find(self, kind: Kind, organisation_id: str, query: Query) -> Found[ScimUser]:
        """Return a page of users. Raises InvalidFilterError or InvalidPathError."""
        compiler = Compiler(source(kind, self._database.dialect), self._database.dialect, query.is_lenient)
        total, rows = await select(self._database, compiler, USERS, query, organisation_id=organisation_id)
        users = [user_of(row) for row in rows]
        return Found(total, await self._with_groups(organisation_id, users) if query.wants_links else users)

    async def get(self, organisation_id: str, user_id: str) -> ScimUser:
        """Return one user. Raises NotFoundError."""
        rows = await self._database.fetch(_SELECT, {"organisation_id": organisation_id, "id": clean_id(user_id)})
        if not rows:
            raise no_principal(user_id, PrincipalType.USER)
        return (await self._with_groups(organisation_id, [user_of(rows[0])]))[0]

    async def create(self, act: Act, organisation_id: str, document: Json) -> ScimUser:
        """Make a user. Raises InvalidValueError or UniquenessError."""
        document = {"active": True, **document}
        now_ms = self._now_ms()
        values = values_of(document) | {
            "id": new_sortable_id("user_"),
            "organisation_id": organisation_id,
            "type": PrincipalType.USER.value,
            "now_ms": now_ms,
        }
        async with self._database.transaction() as transaction:
            await _require_free(transaction, values)
            await insert_principal(transaction, values)
            if not await transaction.fetch(_INSERT, values):
                raise _taken()
            user = written(values, version=1, created_at_ms=now_ms)
            await self._acts.record(
                transaction,
                act,
                organisation_id,
                events=[Event(action="scim.user_created", target=_target(user), changed=_changed({}, user.document))],
                changes=[(ChangeKind.PRINCIPAL, user.id)],
            )
        return user

    async def change(
        self,
        act: Act,
        organisation_id: str,
        user_id: str,
        *,
        make: Callable[[Json], Json],
        expected_version: int | None = None,
    ) -> ScimUser:
        """Replace a user's document by what `make` makes of it.

        When that is the same, nothing is written. Raises NotFoundError, VersionMismatchError, UniquenessError,
        ConflictError for the last owner, and what `make` raises.
        """
        act_on = (act, organisation_id, clean_id(user_id))
        try:
            try:
                changed = await self._change(*act_on, make=make, expected_version=expected_version, keeps_owner=False)
            except _TakesSomeoneAwayError:
                changed = await self._change(*act_on, make=make, expected_version=expected_version, keeps_owner=True)
        except ConflictError as error:
            if error.__cause__ is None:
                raise
            # The database's own word: someone else took the name between our look and our write.
            raise _taken() from error
        return (await self._with_groups(organisation_id, [changed]))[0]

    async def delete(
        self, act: Act, organisation_id: str, user_id: str, *, expected_version: int | None = None
    ) -> None:
        """Delete a user, end its sign-ins and revoke its keys.

        Raises NotFoundError, VersionMismatchError, or ConflictError for the last owner.
        """
        now_ms = self._now_ms()
        async with self._database.transaction() as transaction:
            async with keeping_an_owner(transaction, organisation_id, now_ms):
                await lock_principal(
                    transaction, organisation_id, user_id, PrincipalType.USER, expected_version=expected_version
                )
                user = await self._read(transaction, {"organisation_id": organisation_id, "id": user_id})
                changes = await delete_principal(transaction, organisation_id, user_id, now_ms=now_ms)
            await self._acts.record(
                transaction,
                act,
                organisation_id,
                events=[Event(action="scim.user_deleted", target=_target(user))],
                changes=changes,
            )

    async def _change(
        self,
        act: Act,
        organisation_id: str,
        user_id: str,
        *,
        make: Callable[[Json], Json],
        expected_version: int | None,
        keeps_owner: bool,
    ) -> ScimUser:
        now_ms = self._now_ms()
        async with self._database.transaction() as transaction:
            async with AsyncExitStack() as stack:
                if keeps_owner:
                    await stack.enter_async_context(keeping_an_owner(transaction, organisation_id, now_ms))
                await lock_principal(
                    transaction, organisation_id, user_id, PrincipalType.USER, expected_version=expected_version
                )
                before = await self._read(transaction, {"organisation_id": organisation_id, "id": user_id})
                document = make(before.document)
                if document == before.document:
                    return before
                values = values_of(document, before) | {
                    "id": user_id,
                    "organisation_id": organisation_id,
                    "now_ms": now_ms,
                }
                is_deactivated = before.is_active and values["status"] != "active"
                if is_deactivated and not keeps_owner:
                    raise _TakesSomeoneAwayError
                changes = await self._write(transaction, before, values, is_deactivated=is_deactivated)
            after = written(values, version=before.version + 1, created_at_ms=before.created_at_ms)
            await self._acts.record(transaction, act, organisation_id, events=[_event(before, after)], changes=changes)
        return after

    async def _write(
        self, transaction: Transaction, before: ScimUser, values: dict[str, Value], *, is_deactivated: bool
    ) -> list[Change]:
        await _require_free(transaction, values)
        if values["email"] != before.email:
            await self._require_no_owner(transaction, values)
        await transaction.execute(_UPDATE_PRINCIPAL, values)
        await transaction.execute(_UPDATE_USER, values)
        changes: list[Change] = [(ChangeKind.PRINCIPAL, before.id)]
        if is_deactivated:
            changes += await end_sign_ins(transaction, before.id, int(values["now_ms"] or 0))
        return changes

    async def _require_no_owner(self, transaction: Transaction, values: dict[str, Value]) -> None:
        """Whoever can write an owner's address could become the owner by signing in with it.

        Also of one who is deactivated: a directory can bring him back.
        """
        if values["id"] in await all_owners(transaction, str(values["organisation_id"]), int(values["now_ms"] or 0)):
            raise ConflictError(
                "This user is an owner, whose address a directory may not change; change it in Mainstay.",
                code="mutability",
            )

    async def _read(self, transaction: Transaction, values: dict[str, Value]) -> ScimUser:
        rows: Sequence[Row] = await transaction.fetch(_SELECT, values)
        return user_of(rows[0])

    async def _with_groups(self, organisation_id: str, users: list[ScimUser]) -> list[ScimUser]:
        """Look up the groups of all of them at once."""
        ids = msgspec.json.encode([user.id for user in users]).decode()
        is_wanted = self._json.among("member_id", self._json.listed(":ids"))
        rows = await self._database.fetch(
            "WITH m AS MATERIALIZED (SELECT group_id, member_id FROM group_members "  # noqa: S608 - constants only
            f"WHERE organisation_id || '' = :organisation_id AND {is_wanted}) SELECT m.member_id, p.id, p.name FROM m "
            "JOIN groups g ON g.principal_id = m.group_id AND g.source = 'scim' JOIN principals p ON p.id = m.group_id "
            "ORDER BY m.member_id, p.id",
            {"organisation_id": organisation_id, "ids": ids},
        )
        groups: dict[str, list[tuple[str, str]]] = {}
        for member_id, group_id, name in rows:
            groups.setdefault(member_id, []).append((group_id, name))
        return [replace(user, groups=tuple(groups[user.id])) if user.id in groups else user for user in users]

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)


async def _require_free(transaction: Transaction, values: dict[str, Value]) -> None:
    others = await transaction.fetch(_TAKEN, values)
    if others:
        raise _taken(str(others[0][0]))


def _taken(user_id: str | None = None) -> UniquenessError:
    who = "Another user" if user_id is None else f"The user '{user_id}'"
    return UniquenessError(f"{who} has this userName or this address already; change that one, or delete it.")


def _target(user: ScimUser) -> Target:
    return Target(type="user", id=user.id, name=user.name)


def _event(before: ScimUser, after: ScimUser) -> Event:
    action = "scim.user_updated"
    if before.is_active != after.is_active:
        action = "scim.user_reactivated" if after.is_active else "scim.user_deactivated"
    others = sorted(
        name
        for name in before.document.keys() | after.document.keys()
        if name not in _TOLD and before.document.get(name) != after.document.get(name)
    )
    return Event(
        action=action,
        target=_target(after),
        changed=_changed(before.document, after.document),
        details={"attributes": others} if others else {},
    )


def _changed(before: Json, after: Json) -> Json:
    return {name: [before.get(name), after.get(name)] for name in _TOLD if before.get(name) != after.get(name)}
