"""The roles of an organisation: the built-in ones, which nobody changes, and its own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
from msgspec import UNSET, UnsetType

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Row, Transaction, Value
from mainstay.kit.errors import ConflictError, InvalidRequestError, NotFoundError
from mainstay.kit.ids import new_sortable_id
from mainstay.kit.pages import Page, PageRequest
from mainstay.platform.audit.events import Act, Event, Target
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.change_feed import ChangeKind
from mainstay.platform.identity.names import clean_description, clean_id, clean_name, folded
from mainstay.platform.identity.principals import require_version
from mainstay.platform.identity.roles import BUILT_IN, GIVABLE, BuiltInRole

_COLUMNS = "id, organisation_id, name, description, actions, created_at_ms, version"
_SELECT = f"SELECT {_COLUMNS} FROM roles WHERE organisation_id = :organisation_id"  # noqa: S608 - constants only
_INSERT = (
    f"INSERT INTO roles ({_COLUMNS}) "  # noqa: S608 - constants only
    "VALUES (:id, :organisation_id, :name, :description, :actions, :created_at_ms, :version) "
    "ON CONFLICT (organisation_id, name) DO NOTHING RETURNING id"
)


class StoredRole(msgspec.Struct, frozen=True, kw_only=True):
    """A role. Times are Unix milliseconds; a built-in role has no time and no organisation of its own."""

    id: str
    organisation_id: str | None
    name: str
    description: str
    actions: tuple[Action, ...]
    created_at_ms: int
    version: int
    is_built_in: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRole:
    """What a role shall be."""

    name: str
    actions: Sequence[str]
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleChanges:
    """What of a role shall be otherwise; UNSET stays as it is."""

    name: str | UnsetType = UNSET
    actions: Sequence[str] | UnsetType = UNSET
    description: str | UnsetType = UNSET


class Roles:
    """The roles of every organisation; each method keeps to one."""

    def __init__(self, database: Database, acts: Acts, clock: Clock) -> None:
        self._database = database
        self._acts = acts
        self._clock = clock

    async def create(self, act: Act, organisation_id: str, wanted: NewRole) -> StoredRole:
        """Make a role. Raises InvalidRequestError, or ConflictError if the name is taken."""
        role = StoredRole(
            id=new_sortable_id("role_"),
            organisation_id=organisation_id,
            name=_clean_name(wanted.name),
            description=clean_description(wanted.description),
            actions=_clean_actions(wanted.actions),
            created_at_ms=int(self._clock.wall() * 1000),
            version=1,
        )
        async with self._database.transaction() as transaction:
            if not await transaction.fetch(_INSERT, _values(role)):
                raise _taken(role.name)
            event = Event(action="role.created", target=_target(role), details={"actions": role.actions})
            await self._acts.record(
                transaction, act, organisation_id, events=[event], changes=[(ChangeKind.ROLE, role.id)]
            )
        return role

    async def get(self, organisation_id: str, role_id: str) -> StoredRole:
        """Return one role. Raises NotFoundError, also for another organisation's."""
        if role_id in BUILT_IN:
            return _built_in(BUILT_IN[role_id])
        rows = await self._database.fetch(f"{_SELECT} AND id = :id", _named(organisation_id, role_id))
        if not rows:
            raise _unknown(role_id)
        return _role(rows[0])

    async def list(self, organisation_id: str, page: PageRequest) -> Page[StoredRole]:
        """Return a page of the roles, built-in ones included."""
        rows = await self._database.fetch(
            _SELECT + page.clause(), {"organisation_id": organisation_id, **page.values()}
        )
        found = [_role(row) for row in rows] + [
            _built_in(role) for role in BUILT_IN.values() if _follows(page, role.id)
        ]
        found.sort(key=lambda role: role.id, reverse=page.is_descending)
        return Page(found[: page.limit], has_more=len(found) > page.limit)

    async def update(
        self,
        act: Act,
        organisation_id: str,
        role_id: str,
        changes: RoleChanges,
        *,
        expected_version: int | None = None,
    ) -> StoredRole:
        """Change a role, and so what everyone who has it may do.

        Raises NotFoundError, VersionMismatchError, InvalidRequestError, or ConflictError for a built-in role.
        """
        async with self._database.transaction() as transaction:
            before = await self._locked(transaction, organisation_id, role_id, expected_version)
            after = _changed(before, changes)
            if after == before:
                return before
            after = msgspec.structs.replace(after, version=before.version + 1)
            await _require_free(transaction, after)
            await transaction.execute(
                "UPDATE roles SET name = :name, description = :description, actions = :actions, version = :version "
                "WHERE id = :id",
                {
                    name: value
                    for name, value in _values(after).items()
                    if name not in {"organisation_id", "created_at_ms"}
                },
            )
            fields = ("name", "description", "actions")
            changed = {
                name: [getattr(before, name), getattr(after, name)]
                for name in fields
                if getattr(before, name) != getattr(after, name)
            }
            event = Event(action="role.updated", target=_target(after), changed=changed)
            await self._acts.record(
                transaction, act, organisation_id, events=[event], changes=[(ChangeKind.ROLE, role_id)]
            )
        return after

    async def delete(
        self, act: Act, organisation_id: str, role_id: str, *, expected_version: int | None = None
    ) -> None:
        """Delete a role that nobody has. Raises as `update` does, and ConflictError while it is bound."""
        async with self._database.transaction() as transaction:
            role = await self._locked(transaction, organisation_id, role_id, expected_version)
            bound = await transaction.fetch(
                "SELECT COUNT(*) FROM role_bindings WHERE organisation_id = :organisation_id AND role_id = :id",
                _named(organisation_id, role_id),
            )
            if bound[0][0]:
                raise ConflictError(
                    f"The role '{role.name}' is bound {bound[0][0]} times; remove those bindings first.",
                    code="role_in_use",
                )
            await transaction.execute("DELETE FROM roles WHERE id = :id", {"id": role_id})
            await self._acts.record(
                transaction,
                act,
                organisation_id,
                events=[Event(action="role.deleted", target=_target(role))],
                changes=[(ChangeKind.ROLE, role_id)],
            )

    async def _locked(
        self, transaction: Transaction, organisation_id: str, role_id: str, expected_version: int | None
    ) -> StoredRole:
        if role_id in BUILT_IN:
            raise ConflictError(
                f"'{BUILT_IN[role_id].name}' is a built-in role, which stays as it is; make a role of your own.",
                code="built_in_role",
            )
        rows = await transaction.fetch(
            "UPDATE roles SET version = version "  # noqa: S608 - constants only
            f"WHERE organisation_id = :organisation_id AND id = :id RETURNING {_COLUMNS}",
            _named(organisation_id, role_id),
        )
        if not rows:
            raise _unknown(role_id)
        role = _role(rows[0])
        require_version(role.version, expected_version, f"The role '{role.name}'")
        return role


async def lock_role(transaction: Transaction, organisation_id: str, role_id: str) -> str:
    """Keep a role from being deleted until the transaction ends; return its name. Raises NotFoundError."""
    if role_id in BUILT_IN:
        return BUILT_IN[role_id].name
    rows = await transaction.fetch(
        "UPDATE roles SET version = version WHERE organisation_id = :organisation_id AND id = :id RETURNING name",
        _named(organisation_id, role_id),
    )
    if not rows:
        raise _unknown(role_id)
    return str(rows[0][0])


def _changed(role: StoredRole, changes: RoleChanges) -> StoredRole:
    wanted: dict[str, object] = {}
    if changes.name is not UNSET:
        wanted["name"] = _clean_name(changes.name)
    if changes.description is not UNSET:
        wanted["description"] = clean_description(changes.description)
    if changes.actions is not UNSET:
        wanted["actions"] = _clean_actions(changes.actions)
    return msgspec.structs.replace(role, **wanted)


def _clean_name(text: str) -> str:
    name = clean_name(text, "A role")
    if any(folded(role.name) == folded(name) for role in BUILT_IN.values()):
        raise ConflictError(f"'{name}' is a built-in role; choose another name.", param="name", code="already_exists")
    return name


def _clean_actions(actions: Iterable[str]) -> tuple[Action, ...]:
    wanted = set(actions)
    unknown = sorted(wanted - GIVABLE)
    if unknown:
        raise InvalidRequestError(
            f"A role cannot hold '{unknown[0][:100]}'; it can hold {', '.join(sorted(GIVABLE))}.", param="actions"
        )
    if not wanted:
        raise InvalidRequestError("A role needs at least one action.", param="actions")
    return tuple(Action(action) for action in sorted(wanted))


async def _require_free(transaction: Transaction, role: StoredRole) -> None:
    rows = await transaction.fetch(
        "SELECT 1 FROM roles WHERE organisation_id = :organisation_id AND name = :name AND id <> :id",
        {"organisation_id": role.organisation_id, "name": role.name, "id": role.id},
    )
    if rows:
        raise _taken(role.name)


def _follows(page: PageRequest, id_: str) -> bool:
    if page.after is None:
        return True
    return id_ < page.after if page.is_descending else id_ > page.after


def _target(role: StoredRole) -> Target:
    return Target(type="role", id=role.id, name=role.name)


def _values(role: StoredRole) -> dict[str, Value]:
    values: dict[str, Value] = msgspec.structs.asdict(role)
    del values["is_built_in"]
    return values | {"actions": msgspec.json.encode(role.actions).decode()}


def _role(row: Row) -> StoredRole:
    values = dict(zip(StoredRole.__struct_fields__, row, strict=False))
    stored = msgspec.json.decode(values["actions"], type=list[str])
    # A later version may know more.
    values["actions"] = tuple(Action(action) for action in stored if action in GIVABLE)
    return StoredRole(**values)


def _built_in(role: BuiltInRole) -> StoredRole:
    return StoredRole(
        id=role.id,
        organisation_id=None,
        name=role.name,
        description=role.description,
        actions=tuple(sorted(role.actions)),
        created_at_ms=0,
        version=1,
        is_built_in=True,
    )


def _named(organisation_id: str, role_id: str) -> dict[str, Value]:
    return {"organisation_id": organisation_id, "id": clean_id(role_id)}


def _unknown(role_id: str) -> NotFoundError:
    return NotFoundError(f"There is no role '{role_id[:80]}'; GET /admin/v1/roles lists them.")


def _taken(name: str) -> ConflictError:
    return ConflictError(f"There is a role '{name}' already.", param="name", code="already_exists")
