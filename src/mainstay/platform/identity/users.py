"""Users: the people of an organisation."""

from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Row, Transaction, Value
from mainstay.kit.errors import ConflictError, NotFoundError
from mainstay.kit.ids import new_sortable_id
from mainstay.kit.pages import Page, PageRequest
from mainstay.platform.audit.events import Act, Event, Target
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.change_feed import Change, ChangeKind
from mainstay.platform.identity.first_role import bind_first_role
from mainstay.platform.identity.names import clean_email, clean_id, clean_name, folded, search_text
from mainstay.platform.identity.owners import keeping_an_owner
from mainstay.platform.identity.principals import (
    PrincipalStatus,
    PrincipalType,
    delete_principal,
    end_sign_ins,
    insert_principal,
    lock_principal,
    no_principal,
)
from mainstay.platform.identity.user_filter import UserFilter

_COLUMNS = (
    "principals.id, principals.organisation_id, principals.name, users.email, users.user_name, users.external_id, "
    "users.attributes, principals.status, users.password_hash IS NOT NULL, users.last_active_at_ms, "
    "principals.created_at_ms, principals.updated_at_ms, principals.version"
)
_SELECT = (
    f"SELECT {_COLUMNS} FROM principals JOIN users ON users.principal_id = principals.id "  # noqa: S608 - constants only
    "WHERE principals.organisation_id = :organisation_id AND principals.type = 'user'"
)
_INSERT = (
    "INSERT INTO users "
    "(principal_id, organisation_id, email, email_normal, search_text, user_name, external_id, attributes) "
    "VALUES (:id, :organisation_id, :email, :email_normal, :search_text, :user_name, :external_id, :attributes) "
    "ON CONFLICT DO NOTHING RETURNING principal_id"
)


_Told = tuple[Event, Sequence[Change]]


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user. Times are Unix milliseconds; `attributes` is the JSON that a directory has given."""

    id: str
    organisation_id: str
    name: str
    email: str
    user_name: str | None
    external_id: str | None
    attributes: str
    status: PrincipalStatus
    has_password: bool
    last_active_at_ms: int | None
    created_at_ms: int
    updated_at_ms: int
    version: int

    @property
    def is_active(self) -> bool:
        """Whether the user may do anything at all."""
        return self.status is PrincipalStatus.ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    """What a user shall be; `user_name` and `external_id` are a directory's."""

    email: str
    name: str
    user_name: str | None = None
    external_id: str | None = None
    attributes: str = "{}"
    status: PrincipalStatus = PrincipalStatus.ACTIVE
    role_id: str | None = None
    """The role that the user has in the organisation from the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserChanges:
    """What of a user shall be otherwise; UNSET stays as it is."""

    email: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    user_name: str | UnsetType | None = UNSET
    external_id: str | UnsetType | None = UNSET
    attributes: str | UnsetType = UNSET
    status: PrincipalStatus | UnsetType = UNSET


class Users:
    """The users of every organisation; each method keeps to one."""

    def __init__(self, database: Database, acts: Acts, clock: Clock) -> None:
        self._database = database
        self._acts = acts
        self._clock = clock

    async def create(self, act: Act, organisation_id: str, wanted: NewUser) -> User:
        """Make a user. Raises InvalidRequestError, NotFoundError, or ConflictError if the address is taken."""
        async with self._database.transaction() as transaction:
            user, changes = await self.insert_with_role(transaction, act, organisation_id, wanted)
            details = {"name": user.name} if wanted.role_id is None else {"name": user.name, "role_id": wanted.role_id}
            event = Event(action="user.created", target=_target(user), details=details)
            await self._acts.record(transaction, act, organisation_id, events=[event], changes=changes)
        return user

    async def insert_with_role(
        self, transaction: Transaction, act: Act, organisation_id: str, wanted: NewUser
    ) -> tuple[User, Sequence[Change]]:
        """Write a new user's rows and role, in an act that the caller records with what is returned."""
        user = await self.insert(transaction, organisation_id, wanted)
        changes: list[Change] = [(ChangeKind.PRINCIPAL, user.id)]
        if wanted.role_id is not None:
            changes.append(
                await bind_first_role(
                    transaction, act, organisation_id, user.id, role_id=wanted.role_id, now_ms=self._now_ms()
                )
            )
        return user, changes

    async def insert(self, transaction: Transaction, organisation_id: str, wanted: NewUser) -> User:
        """Write a new user's rows, in an act that the caller records."""
        email, now_ms = clean_email(wanted.email), self._now_ms()
        user = User(
            id=new_sortable_id("user_"),
            organisation_id=organisation_id,
            name=clean_name(wanted.name, "A user"),
            email=email,
            user_name=None
            if wanted.user_name is None
            else folded(clean_name(wanted.user_name, "A user", param="user_name")),
            external_id=wanted.external_id,
            attributes=wanted.attributes,
            status=wanted.status,
            has_password=False,
            last_active_at_ms=None,
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
            version=1,
        )
        values: dict[str, Value] = msgspec.structs.asdict(user)
        values |= {"type": PrincipalType.USER.value, "now_ms": now_ms, **_searched(user)}
        await insert_principal(transaction, values | {"status": user.status.value})
        if not await transaction.fetch(_INSERT, values):
            raise _taken(email)
        return user

    async def get(self, organisation_id: str, user_id: str) -> User:
        """Return one user. Raises NotFoundError, also for another organisation's."""
        users = await self.get_many(organisation_id, [user_id])
        if not users:
            raise _no_user(user_id)
        return next(iter(users.values()))

    async def get_many(self, organisation_id: str, user_ids: Iterable[str]) -> dict[str, User]:
        """Return those of the users that exist, by id."""
        ids = list(dict.fromkeys(user_ids))
        if not ids:
            return {}
        names = ", ".join(f":id_{number}" for number in range(len(ids)))
        values: dict[str, Value] = {f"id_{number}": clean_id(id_) for number, id_ in enumerate(ids)}
        rows = await self._database.fetch(
            f"{_SELECT} AND principals.id IN ({names})", values | {"organisation_id": organisation_id}
        )
        return {user.id: user for user in map(_user, rows)}

    async def find_by_email(self, organisation_id: str, email: str) -> User | None:
        """Return the user with the address, if there is one."""
        found = await self.list(organisation_id, PageRequest(limit=1), UserFilter(emails=[email]))
        return found.items[0] if found.items else None

    async def list(self, organisation_id: str, page: PageRequest, wanted: UserFilter | None = None) -> Page[User]:
        """Return a page of the users."""
        wanted = wanted or UserFilter()
        values: dict[str, Value] = {"organisation_id": organisation_id, **page.values()}
        values |= wanted.values(self._now_ms())
        clause = wanted.clause()
        search = wanted.ids(page)
        if search is not None:
            ids = await self._database.fetch(search, values)
            if not ids:
                return Page([], has_more=False)
            named: dict[str, Value] = {f"id_{number}": id_ for number, (id_,) in enumerate(ids)}
            names = ", ".join(f":{name}" for name in named)
            clause = f" AND principals.id IN ({names})" + ("" if wanted.emails is None else clause)
            values |= named
        rows = await self._database.fetch(_SELECT + clause + page.clause("principals.id"), values)
        return page.cut(rows, _user)

    async def update(
        self, act: Act, organisation_id: str, user_id: str, changes: UserChanges, *, expected_version: int | None = None
    ) -> User:
        """Change a user; one that is deactivated is signed out everywhere, and its keys are refused.

        Raises NotFoundError, VersionMismatchError, InvalidRequestError, or ConflictError: the address is taken, or
        nobody would own the organisation any more.
        """
        wanted = _cleaned(changes)
        try:
            async with self._database.transaction() as transaction:
                async with AsyncExitStack() as stack:
                    if wanted.get("status") is PrincipalStatus.DEACTIVATED:
                        keeping = keeping_an_owner(transaction, organisation_id, self._now_ms())
                        await stack.enter_async_context(keeping)
                    user, told = await self._change(
                        transaction, organisation_id, user_id, wanted, expected_version=expected_version
                    )
                if told is not None:
                    event, noted = told
                    await self._acts.record(transaction, act, organisation_id, events=[event], changes=noted)
        except ConflictError as error:
            if error.__cause__ is None:
                raise
            # The database's own word: someone else took the address between our look and our write.
            raise _taken(str(wanted.get("email", ""))) from error
        return user

    async def delete(
        self, act: Act, organisation_id: str, user_id: str, *, expected_version: int | None = None
    ) -> None:
        """Delete a user with all that was given to them. Raises as `update` does."""
        async with self._database.transaction() as transaction:
            async with keeping_an_owner(transaction, organisation_id, self._now_ms()):
                user = await self._locked(transaction, organisation_id, user_id, expected_version)
                changes = await delete_principal(transaction, organisation_id, user.id, now_ms=self._now_ms())
            event = Event(action="user.deleted", target=_target(user))
            await self._acts.record(transaction, act, organisation_id, events=[event], changes=changes)

    async def _change(
        self,
        transaction: Transaction,
        organisation_id: str,
        user_id: str,
        wanted: dict[str, Any],  # Any: values of columns
        *,
        expected_version: int | None,
    ) -> tuple[User, _Told | None]:
        before = await self._locked(transaction, organisation_id, user_id, expected_version)
        changed = {name: value for name, value in wanted.items() if getattr(before, name) != value}
        if not changed:
            return before, None
        if "email" in changed:
            await _require_free(transaction, before, folded(changed["email"]), "email_normal")
        if changed.get("user_name") is not None:
            await _require_free(transaction, before, changed["user_name"], "user_name")
        user = msgspec.structs.replace(before, **changed, updated_at_ms=self._now_ms(), version=before.version + 1)
        await _write(transaction, user)
        noted: list[Change] = [(ChangeKind.PRINCIPAL, user.id)]
        if not user.is_active:
            noted += await end_sign_ins(transaction, user.id, self._now_ms())
        shown = {name: [getattr(before, name), value] for name, value in changed.items() if name != "attributes"}
        if "attributes" in changed:
            shown["attributes"] = ["changed", "changed"]
        return user, (Event(action=_action(before, user), target=_target(user), changed=shown), noted)

    async def _locked(
        self, transaction: Transaction, organisation_id: str, user_id: str, expected_version: int | None
    ) -> User:
        await lock_principal(
            transaction, organisation_id, user_id, PrincipalType.USER, expected_version=expected_version
        )
        rows = await transaction.fetch(
            f"{_SELECT} AND principals.id = :id", {"organisation_id": organisation_id, "id": user_id}
        )
        return _user(rows[0])

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)


def _cleaned(changes: UserChanges) -> dict[str, Any]:  # Any: values of columns
    wanted = {name: getattr(changes, name) for name in UserChanges.__slots__ if getattr(changes, name) is not UNSET}
    if "email" in wanted:
        wanted["email"] = clean_email(wanted["email"])
    if "name" in wanted:
        wanted["name"] = clean_name(wanted["name"], "A user")
    if wanted.get("user_name") is not None:
        wanted["user_name"] = folded(clean_name(wanted["user_name"], "A user", param="user_name"))
    return wanted


async def _require_free(transaction: Transaction, user: User, wanted: str, column: str) -> None:
    rows = await transaction.fetch(
        f"SELECT 1 FROM users WHERE organisation_id = :organisation_id AND {column} = :wanted "  # noqa: S608 - constants only
        "AND principal_id <> :id",
        {"organisation_id": user.organisation_id, "wanted": wanted, "id": user.id},
    )
    if rows:
        raise _taken(wanted)


async def _write(transaction: Transaction, user: User) -> None:
    values: dict[str, Value] = msgspec.structs.asdict(user)
    values |= {"status": user.status.value, **_searched(user)}
    await transaction.execute(
        "UPDATE principals SET name = :name, status = :status, updated_at_ms = :updated_at_ms, version = :version "
        "WHERE id = :id",
        values,
    )
    await transaction.execute(
        "UPDATE users SET email = :email, email_normal = :email_normal, search_text = :search_text, "
        "user_name = :user_name, external_id = :external_id, attributes = :attributes WHERE principal_id = :id",
        values,
    )


def _searched(user: User) -> dict[str, Value]:
    return {"email_normal": folded(user.email), "search_text": search_text(user.name, user.email)}


def _action(before: User, after: User) -> str:
    if before.status is after.status:
        return "user.updated"
    return "user.reactivated" if after.is_active else "user.deactivated"


def _target(user: User) -> Target:
    return Target(type="user", id=user.id, name=user.email)


def _taken(wanted: str) -> ConflictError:
    return ConflictError(f"There is a user '{wanted}' already.", param="email", code="already_exists")


def _no_user(user_id: str) -> NotFoundError:
    return no_principal(user_id, PrincipalType.USER)


def _user(row: Row) -> User:
    values = dict(zip(User.__struct_fields__, row, strict=True))
    return User(**values | {"status": PrincipalStatus(values["status"]), "has_password": bool(values["has_password"])})
