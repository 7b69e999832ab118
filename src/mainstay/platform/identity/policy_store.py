"""Policies as they are set: a value for a key, for the organisation, a group, a project or a user."""

from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Row, Transaction, Value
from mainstay.kit.errors import ConflictError, InvalidRequestError, NotFoundError
from mainstay.kit.ids import new_sortable_id
from mainstay.kit.pages import Page, PageRequest
from mainstay.platform.audit.events import Act, Event, Target
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.bindings import require_project
from mainstay.platform.identity.change_feed import ChangeKind
from mainstay.platform.identity.names import clean_id
from mainstay.platform.identity.policies import PolicyScope, policy_of
from mainstay.platform.identity.principals import require_version

_COLUMNS = "id, organisation_id, scope_type, scope_id, key, value, is_locked, created_at_ms, updated_at_ms, version"
_SELECT = f"SELECT {_COLUMNS} FROM policies WHERE organisation_id = :organisation_id"  # noqa: S608 - constants only
_INSERT = (
    f"INSERT INTO policies ({_COLUMNS}) "  # noqa: S608 - constants only
    "VALUES (:id, :organisation_id, :scope_type, :scope_id, :key, :value, :is_locked, :created_at_ms, :updated_at_ms, "
    ":version) ON CONFLICT (organisation_id, scope_type, scope_id, key) DO NOTHING RETURNING id"
)
_PRINCIPAL_TYPES = {PolicyScope.GROUP: "'group'", PolicyScope.USER: "'user', 'service_account'"}


class StoredPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy that is set somewhere. Times are Unix milliseconds."""

    id: str
    organisation_id: str
    scope_type: PolicyScope
    scope_id: str
    key: str
    value: Any  # JSON of the type that the policy's definition names
    is_locked: bool
    created_at_ms: int
    updated_at_ms: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPolicy:
    """What shall be set, and where."""

    scope_type: PolicyScope
    scope_id: str
    key: str
    value: Any  # checked against the policy's definition
    is_locked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChanges:
    """What of a policy shall be otherwise; UNSET stays as it is."""

    value: Any = UNSET  # checked against the policy's definition
    is_locked: bool | UnsetType = UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFilter:
    """Which policies."""

    scope_type: str | None = None
    scope_id: str | None = None
    key: str | None = None

    def clause(self) -> str:
        """Return the conditions; `values` belongs to it."""
        names = ("scope_type", "scope_id", "key")
        return "".join(f" AND {name} = :{name}" for name in names if getattr(self, name) is not None)

    def values(self) -> dict[str, Value]:
        """Return the values of the clause's placeholders."""
        wanted = {"scope_type": self.scope_type, "scope_id": self.scope_id, "key": self.key}
        return {name: clean_id(value) for name, value in wanted.items() if value is not None}


EVERY_POLICY = PolicyFilter()


class PolicyStore:
    """The policies of every organisation; each method keeps to one."""

    def __init__(self, database: Database, acts: Acts, clock: Clock) -> None:
        self._database = database
        self._acts = acts
        self._clock = clock

    async def create(self, act: Act, organisation_id: str, wanted: NewPolicy) -> StoredPolicy:
        """Set a policy where it is not set. Raises InvalidRequestError, NotFoundError or ConflictError."""
        now_ms = self._now_ms()
        policy = StoredPolicy(
            id=new_sortable_id("policy_"),
            organisation_id=organisation_id,
            scope_type=wanted.scope_type,
            scope_id=clean_id(wanted.scope_id),
            key=policy_of(wanted.key).key,
            value=_clean_value(wanted.key, wanted.value),
            is_locked=_clean_lock(wanted.scope_type, is_locked=wanted.is_locked),
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
            version=1,
        )
        async with self._database.transaction() as transaction:
            await _require_place(transaction, policy)
            if not await transaction.fetch(_INSERT, _values(policy)):
                raise ConflictError(
                    f"The policy '{policy.key}' is set there already; change that instead.", code="already_exists"
                )
            changed = {"value": [None, policy.value], "is_locked": [None, policy.is_locked]}
            await self._record(transaction, act, policy, Event(action="policy.set", changed=changed))
        return policy

    async def get(self, organisation_id: str, policy_id: str) -> StoredPolicy:
        """Return one policy. Raises NotFoundError, also for another organisation's."""
        rows = await self._database.fetch(f"{_SELECT} AND id = :id", _named(organisation_id, policy_id))
        if not rows:
            raise _unknown(policy_id)
        return _policy(rows[0])

    async def list(
        self, organisation_id: str, page: PageRequest, chosen: PolicyFilter = EVERY_POLICY
    ) -> Page[StoredPolicy]:
        """Return a page of the policies that are set."""
        rows = await self._database.fetch(
            _SELECT + chosen.clause() + page.clause(),
            {"organisation_id": organisation_id, **chosen.values(), **page.values()},
        )
        return page.cut(rows, _policy)

    async def update(
        self,
        act: Act,
        organisation_id: str,
        policy_id: str,
        changes: PolicyChanges,
        *,
        expected_version: int | None = None,
    ) -> StoredPolicy:
        """Set another value, lock or unlock. Raises NotFoundError, VersionMismatchError or InvalidRequestError."""
        async with self._database.transaction() as transaction:
            before = await _locked(transaction, organisation_id, policy_id, expected_version)
            value = before.value if changes.value is UNSET else _clean_value(before.key, changes.value)
            is_locked = before.is_locked if changes.is_locked is UNSET else changes.is_locked
            changed = {
                name: [old, new]
                for name, old, new in (("value", before.value, value), ("is_locked", before.is_locked, is_locked))
                if old != new
            }
            if not changed:
                return before
            after = msgspec.structs.replace(
                before,
                value=value,
                is_locked=_clean_lock(before.scope_type, is_locked=is_locked),
                updated_at_ms=self._now_ms(),
                version=before.version + 1,
            )
            await transaction.execute(
                "UPDATE policies SET value = :value, is_locked = :is_locked, updated_at_ms = :updated_at_ms, "
                "version = :version WHERE id = :id",
                _values(after),
            )
            await self._record(transaction, act, after, Event(action="policy.set", changed=changed))
        return after

    async def delete(
        self, act: Act, organisation_id: str, policy_id: str, *, expected_version: int | None = None
    ) -> None:
        """Set it no longer there. Raises NotFoundError or VersionMismatchError."""
        async with self._database.transaction() as transaction:
            policy = await _locked(transaction, organisation_id, policy_id, expected_version)
            await transaction.execute("DELETE FROM policies WHERE id = :id", {"id": policy.id})
            changed = {"value": [policy.value, None], "is_locked": [policy.is_locked, None]}
            await self._record(transaction, act, policy, Event(action="policy.removed", changed=changed))

    async def _record(self, transaction: Transaction, act: Act, policy: StoredPolicy, event: Event) -> None:
        details = {"scope_type": policy.scope_type.value, "scope_id": policy.scope_id}
        target = Target(type="policy", id=policy.id, name=policy.key)
        await self._acts.record(
            transaction,
            act,
            policy.organisation_id,
            events=[msgspec.structs.replace(event, target=target, details=details)],
            changes=[(ChangeKind.POLICY, f"{policy.scope_type}:{policy.scope_id}")],
        )

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)


def _clean_value(key: str, value: object) -> object:
    return policy_of(key).check(value)


def _clean_lock(scope_type: PolicyScope, *, is_locked: bool) -> bool:
    if is_locked and scope_type is PolicyScope.USER:
        raise InvalidRequestError("A user's policy cannot be locked: nothing is nearer than it.", param="is_locked")
    return is_locked


async def _require_place(transaction: Transaction, policy: StoredPolicy) -> None:
    organisation_id = policy.organisation_id
    if policy.scope_type is PolicyScope.ORGANISATION:
        if policy.scope_id != organisation_id:
            raise NotFoundError(f"There is no organisation '{policy.scope_id[:80]}'.", param="scope_id")
    elif policy.scope_type is PolicyScope.PROJECT:
        await require_project(transaction, organisation_id, policy.scope_id)
    else:
        types = _PRINCIPAL_TYPES[policy.scope_type]
        rows = await transaction.fetch(
            f"SELECT 1 FROM principals WHERE organisation_id = :organisation_id AND id = :id AND type IN ({types})",  # noqa: S608 - constants only
            _named(organisation_id, policy.scope_id),
        )
        if not rows:
            raise NotFoundError(f"There is no {policy.scope_type} '{policy.scope_id[:80]}'.", param="scope_id")


async def _locked(
    transaction: Transaction, organisation_id: str, policy_id: str, expected_version: int | None
) -> StoredPolicy:
    rows = await transaction.fetch(
        "UPDATE policies SET version = version "  # noqa: S608 - constants only
        f"WHERE organisation_id = :organisation_id AND id = :id RETURNING {_COLUMNS}",
        _named(organisation_id, policy_id),
    )
    if not rows:
        raise _unknown(policy_id)
    policy = _policy(rows[0])
    require_version(policy.version, expected_version, f"The policy '{policy.key}'")
    return policy


def _values(policy: StoredPolicy) -> dict[str, Value]:
    values: dict[str, Value] = msgspec.structs.asdict(policy)
    return values | {"scope_type": policy.scope_type.value, "value": msgspec.json.encode(policy.value).decode()}


def _policy(row: Row) -> StoredPolicy:
    values = dict(zip(StoredPolicy.__struct_fields__, row, strict=True))
    values["scope_type"] = PolicyScope(values["scope_type"])
    values["value"] = msgspec.json.decode(values["value"])
    values["is_locked"] = bool(values["is_locked"])
    return StoredPolicy(**values)


def _named(organisation_id: str, id_: str) -> dict[str, Value]:
    return {"organisation_id": organisation_id, "id": clean_id(id_)}


def _unknown(policy_id: str) -> NotFoundError:
    return NotFoundError(f"There is no policy '{policy_id[:80]}'.")
