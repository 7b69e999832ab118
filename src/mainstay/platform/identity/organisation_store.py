"""Organisations as rows: made and suspended by the operator, named by their owners."""

from dataclasses import dataclass, replace
from enum import StrEnum

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
from mainstay.platform.identity.names import clean_id, clean_name
from mainstay.platform.identity.organisations import DEFAULT_ORGANISATION_ID
from mainstay.platform.identity.principals import require_version
from mainstay.platform.identity.projects import NewProject, Project, insert_project, new_project
from mainstay.platform.identity.roles import OWNER
from mainstay.platform.identity.users import NewUser, User, Users

FIRST_PROJECT = "Default"

_COLUMNS = "id, name, status, created_at_ms, version"


class OrganisationStatus(StrEnum):
    """Whether anyone of the organisation may do anything; the values are stored."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


class Organisation(msgspec.Struct, frozen=True, kw_only=True):
    """An organisation. Times are Unix milliseconds."""

    id: str
    name: str
    status: OrganisationStatus
    created_at_ms: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOrganisation:
    """What an organisation shall be, with its first owner, who then signs in by a link."""

    name: str
    owner: NewUser | None = None


@dataclass(frozen=True, slots=True)
class MadeOrganisation:
    """What was made at once."""

    organisation: Organisation
    project: Project
    owner: User | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganisationChanges:
    """What of an organisation shall be otherwise; UNSET stays as it is."""

    name: str | UnsetType = UNSET
    status: OrganisationStatus | UnsetType = UNSET


class Organisations:
    """All organisations."""

    def __init__(self, database: Database, acts: Acts, users: Users, clock: Clock) -> None:
        self._database = database
        self._acts = acts
        self._users = users
        self._clock = clock

    async def create(self, act: Act, acting_organisation_id: str, wanted: NewOrganisation) -> MadeOrganisation:
        """Make an organisation with a project and, if one is named, an owner.

        It is written down in the new organisation's audit log and in that of `acting_organisation_id`, in which a
        repeated request is known again. Raises InvalidRequestError, or ConflictError if the name is taken.
        """
        now_ms = int(self._clock.wall() * 1000)
        organisation = Organisation(
            id=new_sortable_id("org_"),
            name=clean_name(wanted.name, "An organisation"),
            status=OrganisationStatus.ACTIVE,
            created_at_ms=now_ms,
            version=1,
        )
        project = new_project(organisation.id, NewProject(name=FIRST_PROJECT), now_ms)
        async with self._database.transaction() as transaction:
            await _insert(transaction, organisation)
            await insert_project(transaction, project)
            changes: list[Change] = [(ChangeKind.ORGANISATION, organisation.id), (ChangeKind.PROJECT, project.id)]
            owner = None
            if wanted.owner is not None:
                owner, more = await self._users.insert_with_role(
                    transaction, act, organisation.id, replace(wanted.owner, role_id=OWNER.id)
                )
                changes += more
            event = Event(
                action="organisation.created",
                target=_target(organisation),
                details={"project_id": project.id}
                if owner is None
                else {"project_id": project.id, "owner_id": owner.id},
            )
            plain = replace(act, idempotency_key=None, request_digest=None)
            await self._acts.record(transaction, plain, organisation.id, events=[event])
            await self._acts.record(transaction, act, acting_organisation_id, events=[event], changes=changes)
        return MadeOrganisation(organisation, project, owner)

    async def get(self, organisation_id: str) -> Organisation:
        """Return one organisation. Raises NotFoundError."""
        rows = await self._database.fetch(
            f"SELECT {_COLUMNS} FROM organisations WHERE id = :id",  # noqa: S608 - constants only
            {"id": clean_id(organisation_id)},
        )
        if not rows:
            raise _unknown(organisation_id)
        return _organisation(rows[0])

    async def list(self, page: PageRequest) -> Page[Organisation]:
        """Return a page of all organisations: for the operator."""
        rows = await self._database.fetch(
            f"SELECT {_COLUMNS} FROM organisations WHERE 1 = 1" + page.clause(),  # noqa: S608 - constants only
            page.values(),
        )
        return page.cut(rows, _organisation)

    async def update(
        self, act: Act, organisation_id: str, changes: OrganisationChanges, *, expected_version: int | None = None
    ) -> Organisation:
        """Change an organisation; in one that is suspended nobody may do anything.

        Raises NotFoundError, VersionMismatchError, InvalidRequestError, or ConflictError: the name is taken, or it is
        the installation's own organisation that would be suspended.
        """
        async with self._database.transaction() as transaction:
            before = await _locked(transaction, organisation_id, expected_version)
            after = _changed(before, changes)
            if after == before:
                return before
            after = msgspec.structs.replace(after, version=before.version + 1)
            await _write(transaction, after)
            await self._acts.record(
                transaction,
                act,
                after.id,
                events=[_change_event(before, after)],
                changes=[(ChangeKind.ORGANISATION, after.id)],
            )
        return after


def _changed(before: Organisation, changes: OrganisationChanges) -> Organisation:
    after = before
    if changes.name is not UNSET:
        after = msgspec.structs.replace(after, name=clean_name(changes.name, "An organisation"))
    if changes.status is not UNSET:
        after = msgspec.structs.replace(after, status=changes.status)
    if after.id == DEFAULT_ORGANISATION_ID and after.status is OrganisationStatus.SUSPENDED:
        raise ConflictError("The installation's own organisation cannot be suspended.", code="own_organisation")
    return after


async def _insert(transaction: Transaction, organisation: Organisation) -> None:
    values: dict[str, Value] = msgspec.structs.asdict(organisation)
    await _require_free(transaction, organisation)
    await transaction.execute(
        f"INSERT INTO organisations ({_COLUMNS}) VALUES (:id, :name, :status, :created_at_ms, :version)",  # noqa: S608 - constants only
        values | {"status": organisation.status.value},
    )


async def _write(transaction: Transaction, organisation: Organisation) -> None:
    await _require_free(transaction, organisation)
    await transaction.execute(
        "UPDATE organisations SET name = :name, status = :status, version = :version WHERE id = :id",
        {**msgspec.structs.asdict(organisation), "status": organisation.status.value},
    )


async def _require_free(transaction: Transaction, organisation: Organisation) -> None:
    """Two of one name would be told apart by nobody; two made at the very same moment may yet have one."""
    rows = await transaction.fetch(
        "SELECT 1 FROM organisations WHERE name = :name AND id <> :id",
        {"name": organisation.name, "id": organisation.id},
    )
    if rows:
        raise ConflictError(
            f"There is an organisation '{organisation.name}' already.", param="name", code="already_exists"
        )


async def _locked(transaction: Transaction, organisation_id: str, expected_version: int | None) -> Organisation:
    rows = await transaction.fetch(
        f"UPDATE organisations SET version = version WHERE id = :id RETURNING {_COLUMNS}",  # noqa: S608 - constants only
        {"id": clean_id(organisation_id)},
    )
    if not rows:
        raise _unknown(organisation_id)
    organisation = _organisation(rows[0])
    require_version(organisation.version, expected_version, f"The organisation '{organisation.id}'")
    return organisation


def _change_event(before: Organisation, after: Organisation) -> Event:
    action = "organisation.updated"
    if before.status is not after.status:
        action = f"organisation.{'reactivated' if after.status is OrganisationStatus.ACTIVE else 'suspended'}"
    changed = {} if before.name == after.name else {"name": [before.name, after.name]}
    return Event(action=action, target=_target(after), changed=changed)


def _target(organisation: Organisation) -> Target:
    return Target(type="organisation", id=organisation.id, name=organisation.name)


def _unknown(organisation_id: str) -> NotFoundError:
    return NotFoundError(f"There is no organisation '{organisation_id[:80]}'.")


def _organisation(row: Row) -> Organisation:
    values = dict(zip(Organisation.__struct_fields__, row, strict=True))
    return Organisation(**values | {"status": OrganisationStatus(values["status"])})
