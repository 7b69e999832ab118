"""Service accounts: programs of a project, with roles and keys of their own."""

from collections.abc import Sequence
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
from mainstay.platform.identity.key_rows import Key
from mainstay.platform.identity.key_wishes import NewKey
from mainstay.platform.identity.keys import Keys
from mainstay.platform.identity.names import clean_description, clean_id, clean_name
from mainstay.platform.identity.organisations import Tenant
from mainstay.platform.identity.principals import (
    PrincipalStatus,
    PrincipalType,
    delete_principal,
    end_sign_ins,
    insert_principal,
    lock_principal,
    no_principal,
)
from mainstay.platform.identity.visibility import NO_CONDITION, Columns, Condition

SERVICE_ACCOUNT_COLUMNS = Columns(
    type="project", id="service_accounts.project_id", project="service_accounts.project_id"
)
"""What a list of service accounts is narrowed by: the projects that they are in."""

_SELECT = (
    "SELECT principals.id, principals.organisation_id, service_accounts.project_id, principals.name, "
    "service_accounts.description, principals.status, principals.created_at_ms, principals.updated_at_ms, "
    "principals.version FROM principals JOIN service_accounts ON service_accounts.principal_id = principals.id "
    "WHERE principals.organisation_id = :organisation_id AND principals.type = 'service_account'"
)


class ServiceAccount(msgspec.Struct, frozen=True, kw_only=True):
    """A service account. Times are Unix milliseconds."""

    id: str
    organisation_id: str
    project_id: str
    name: str
    description: str
    status: PrincipalStatus
    created_at_ms: int
    updated_at_ms: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewServiceAccount:
    """What a service account shall be; it gets `role_id` in its project."""

    project_id: str
    name: str
    description: str = ""
    role_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccountChanges:
    """What of a service account shall be otherwise; UNSET stays as it is."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    status: PrincipalStatus | UnsetType = UNSET


class ServiceAccounts:
    """The service accounts of every organisation; each method keeps to one.

    Those that take a `project_id` find nothing in other projects.
    """

    def __init__(self, database: Database, acts: Acts, clock: Clock) -> None:
        self._database = database
        self._acts = acts
        self._clock = clock

    async def create(self, act: Act, organisation_id: str, wanted: NewServiceAccount) -> ServiceAccount:
        """Make a service account. Raises InvalidRequestError, NotFoundError, or ConflictError (archived)."""
        async with self._database.transaction() as transaction:
            account, changes = await self._insert(transaction, act, organisation_id, wanted)
            event = Event(action="service_account.created", target=target_of(account), details=_details(wanted))
            await self._acts.record(transaction, act, organisation_id, events=[event], changes=changes)
        return account

    async def create_with_key(
        self, act: Act, organisation_id: str, wanted: NewServiceAccount, *, keys: Keys, expires_at_ms: int | None
    ) -> tuple[ServiceAccount, Key, str]:
        """Make a service account and a key of the same name; return both with the key's secret. Raises as `create`."""
        async with self._database.transaction() as transaction:
            account, changes = await self._insert(transaction, act, organisation_id, wanted)
            wish = NewKey(account.name, principal_id=account.id, expires_at_ms=expires_at_ms)
            key, secret = keys.make(act, wish, Tenant(organisation_id, account.project_id))
            await keys.insert(transaction, key, secret)
            details = _details(wanted) | {"key_id": key.id}
            event = Event(action="service_account.created", target=target_of(account), details=details)
            await self._acts.record(transaction, act, organisation_id, events=[event], changes=changes)
        return account, key, secret

    async def get(self, organisation_id: str, account_id: str, *, project_id: str | None = None) -> ServiceAccount:
        """Return one service account. Raises NotFoundError, also for another organisation's or project's."""
        rows = await self._database.fetch(
            f"{_SELECT} AND principals.id = :id{_in(project_id)}", _named(organisation_id, account_id, project_id)
        )
        if not rows:
            raise no_principal(account_id, PrincipalType.SERVICE_ACCOUNT)
        return _account(rows[0])

    async def get_many(self, organisation_id: str, account_ids: Sequence[str]) -> dict[str, ServiceAccount]:
        """Return those of the service accounts that exist, by id."""
        if not account_ids:
            return {}
        values: dict[str, Value] = {f"id_{number}": clean_id(id_) for number, id_ in enumerate(set(account_ids))}
        names = ", ".join(f":{name}" for name in values)
        rows = await self._database.fetch(
            f"{_SELECT} AND principals.id IN ({names})", values | {"organisation_id": organisation_id}
        )
        return {account.id: account for account in map(_account, rows)}

    async def list(
        self,
        organisation_id: str,
        page: PageRequest,
        *,
        project_id: str | None = None,
        visible: Condition = NO_CONDITION,
    ) -> Page[ServiceAccount]:
        """Return a page of the service accounts."""
        rows = await self._database.fetch(
            _SELECT + _in(project_id) + visible.clause + page.clause("principals.id"),
            {**_named(organisation_id, "", project_id), **visible.values, **page.values()},
        )
        return page.cut(rows, _account)

    async def update(
        self,
        act: Act,
        organisation_id: str,
        account_id: str,
        changes: ServiceAccountChanges,
        *,
        expected_version: int | None = None,
    ) -> ServiceAccount:
        """Change a service account. Raises NotFoundError, VersionMismatchError or InvalidRequestError."""
        wanted = _cleaned(changes)
        async with self._database.transaction() as transaction:
            before = await _locked(transaction, organisation_id, account_id, expected_version)
            changed = {name: value for name, value in wanted.items() if getattr(before, name) != value}
            if not changed:
                return before
            after = msgspec.structs.replace(before, **changed, updated_at_ms=self._now_ms(), version=before.version + 1)
            await _write(transaction, after)
            told: list[Change] = [(ChangeKind.PRINCIPAL, after.id)]
            if after.status is not PrincipalStatus.ACTIVE:
                told += await end_sign_ins(transaction, after.id, self._now_ms())
            event = Event(
                action=_action(before, after),
                target=target_of(after),
                changed={name: [getattr(before, name), value] for name, value in changed.items()},
            )
            await self._acts.record(transaction, act, organisation_id, events=[event], changes=told)
        return after

    async def delete(
        self, act: Act, organisation_id: str, account_id: str, *, expected_version: int | None = None
    ) -> None:
        """Delete a service account; its keys are revoked for good. Raises NotFoundError or VersionMismatchError."""
        async with self._database.transaction() as transaction:
            account = await _locked(transaction, organisation_id, account_id, expected_version)
            changes = await delete_principal(transaction, organisation_id, account.id, now_ms=self._now_ms())
            event = Event(action="service_account.deleted", target=target_of(account))
            await self._acts.record(transaction, act, organisation_id, events=[event], changes=changes)

    async def _insert(
        self, transaction: Transaction, act: Act, organisation_id: str, wanted: NewServiceAccount
    ) -> tuple[ServiceAccount, Sequence[Change]]:
        now_ms = self._now_ms()
        account = ServiceAccount(
            id=new_sortable_id("sa_"),
            organisation_id=organisation_id,
            project_id=clean_id(wanted.project_id),
            name=clean_name(wanted.name, "A service account"),
            description=clean_description(wanted.description),
            status=PrincipalStatus.ACTIVE,
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
            version=1,
        )
        await _require_open_project(transaction, account)
        values: dict[str, Value] = msgspec.structs.asdict(account)
        values |= {"status": account.status.value, "type": PrincipalType.SERVICE_ACCOUNT.value, "now_ms": now_ms}
        await insert_principal(transaction, values)
        await transaction.execute(
            "INSERT INTO service_accounts (principal_id, organisation_id, project_id, description) "
            "VALUES (:id, :organisation_id, :project_id, :description)",
            values,
        )
        changes: list[Change] = [(ChangeKind.PRINCIPAL, account.id)]
        if wanted.role_id is not None:
            changes.append(
                await bind_first_role(
                    transaction,
                    act,
                    organisation_id,
                    account.id,
                    role_id=wanted.role_id,
                    project_id=account.project_id,
                    now_ms=now_ms,
                )
            )
        return account, changes

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)


def target_of(account: ServiceAccount) -> Target:
    """Return the service account as an audit event names it."""
    return Target(type="service_account", id=account.id, name=account.name)


def _details(wanted: NewServiceAccount) -> dict[str, str]:
    details = {"project_id": wanted.project_id}
    return details if wanted.role_id is None else details | {"role_id": wanted.role_id}


def _cleaned(changes: ServiceAccountChanges) -> dict[str, Any]:  # Any: values of columns
    wanted: dict[str, Any] = {}  # Any: values of columns
    if changes.name is not UNSET:
        wanted["name"] = clean_name(changes.name, "A service account")
    if changes.description is not UNSET:
        wanted["description"] = clean_description(changes.description)
    if changes.status is not UNSET:
        wanted["status"] = changes.status
    return wanted


async def _require_open_project(transaction: Transaction, account: ServiceAccount) -> None:
    rows = await transaction.fetch(
        "UPDATE projects SET version = version WHERE organisation_id = :organisation_id AND id = :id "
        "RETURNING archived_at_ms",
        {"organisation_id": account.organisation_id, "id": account.project_id},
    )
    if not rows:
        raise NotFoundError(f"There is no project '{account.project_id[:80]}'.", param="project_id")
    if rows[0][0] is not None:
        raise ConflictError(f"The project '{account.project_id}' is archived.", code="project_archived")


async def _locked(
    transaction: Transaction, organisation_id: str, account_id: str, expected_version: int | None
) -> ServiceAccount:
    await lock_principal(
        transaction, organisation_id, account_id, PrincipalType.SERVICE_ACCOUNT, expected_version=expected_version
    )
    rows = await transaction.fetch(f"{_SELECT} AND principals.id = :id", _named(organisation_id, account_id, None))
    return _account(rows[0])


async def _write(transaction: Transaction, account: ServiceAccount) -> None:
    values: dict[str, Value] = msgspec.structs.asdict(account)
    values["status"] = account.status.value
    await transaction.execute(
        "UPDATE principals SET name = :name, status = :status, updated_at_ms = :updated_at_ms, version = :version "
        "WHERE id = :id",
        values,
    )
    await transaction.execute("UPDATE service_accounts SET description = :description WHERE principal_id = :id", values)


def _action(before: ServiceAccount, after: ServiceAccount) -> str:
    if before.status is after.status:
        return "service_account.updated"
    is_active = after.status is PrincipalStatus.ACTIVE
    return "service_account.reactivated" if is_active else "service_account.deactivated"


def _in(project_id: str | None) -> str:
    return "" if project_id is None else " AND service_accounts.project_id = :project_id"


def _named(organisation_id: str, account_id: str, project_id: str | None) -> dict[str, Value]:
    named: dict[str, Value] = {"organisation_id": organisation_id, "id": clean_id(account_id)}
    return named if project_id is None else named | {"project_id": clean_id(project_id)}


def _account(row: Row) -> ServiceAccount:
    values = dict(zip(ServiceAccount.__struct_fields__, row, strict=True))
    return ServiceAccount(**values | {"status": PrincipalStatus(values["status"])})
