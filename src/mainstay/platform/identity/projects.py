"""Projects: where an organisation's keys, service accounts and deployments belong."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from msgspec import UNSET, UnsetType

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Row, Transaction, Value
from mainstay.kit.errors import ConflictError, NotFoundError
from mainstay.kit.ids import new_sortable_id
from mainstay.kit.pages import Page, PageRequest
from mainstay.platform.audit.events import Act, Event, Target
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.change_feed import ChangeKind
from mainstay.platform.identity.names import clean_description, clean_id, clean_name
from mainstay.platform.identity.owners import lock_organisation
from mainstay.platform.identity.principals import require_version
from mainstay.platform.identity.visibility import NO_CONDITION, Columns, Condition

PROJECT_COLUMNS = Columns(type="project", id="projects.id", project="projects.id")
"""What a list of projects is narrowed by."""

_COLUMNS = "id, organisation_id, name, description, created_at_ms, archived_at_ms, version"
_SELECT = f"SELECT {_COLUMNS} FROM projects WHERE organisation_id = :organisation_id"  # noqa: S608 - constants only


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A project. Times are Unix milliseconds."""

    id: str
    organisation_id: str
    name: str
    description: str
    created_at_ms: int
    archived_at_ms: int | None
    version: int

    @property
    def is_open(self) -> bool:
        """Whether the project is not archived."""
        return self.archived_at_ms is None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProject:
    """What a project shall be."""

    name: str
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectChanges:
    """What of a project shall be otherwise; UNSET stays as it is."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    is_archived: bool | UnsetType = UNSET


class Projects:
    """The projects of every organisation; each method keeps to one."""

    def __init__(self, database: Database, acts: Acts, clock: Clock) -> None:
        self._database = database
        self._acts = acts
        self._clock = clock

    async def create(self, act: Act, organisation_id: str, wanted: NewProject) -> Project:
        """Make a project. Raises InvalidRequestError, or ConflictError if the name is taken."""
        project = new_project(organisation_id, wanted, self._now_ms())
        async with self._database.transaction() as transaction:
            await lock_organisation(transaction, organisation_id)
            await _require_free(transaction, project)
            await insert_project(transaction, project)
            event = Event(action="project.created", target=_target(project))
            await self._acts.record(
                transaction, act, organisation_id, events=[event], changes=[(ChangeKind.PROJECT, project.id)]
            )
        return project

    async def get(self, organisation_id: str, project_id: str) -> Project:
        """Return one project. Raises NotFoundError, also for another organisation's."""
        rows = await self._database.fetch(f"{_SELECT} AND id = :id", _named(organisation_id, project_id))
        if not rows:
            raise _unknown(project_id)
        return _project(rows[0])

    async def list(
        self,
        organisation_id: str,
        page: PageRequest,
        *,
        with_archived: bool = False,
        visible: Condition = NO_CONDITION,
    ) -> Page[Project]:
        """Return a page of the projects."""
        is_open = "" if with_archived else " AND archived_at_ms IS NULL"
        rows = await self._database.fetch(
            _SELECT + is_open + visible.clause + page.clause(),
            {"organisation_id": organisation_id, **visible.values, **page.values()},
        )
        return page.cut(rows, _project)

    async def names(self, organisation_id: str, project_ids: Iterable[str]) -> dict[str, str]:
        """Return the names of those of the projects that exist, by id."""
        named: dict[str, Value] = {f"id_{number}": clean_id(id_) for number, id_ in enumerate(set(project_ids))}
        if not named:
            return {}
        names = ", ".join(f":{name}" for name in named)
        rows = await self._database.fetch(
            f"SELECT id, name FROM projects WHERE organisation_id = :organisation_id AND id IN ({names})",  # noqa: S608 - placeholders
            named | {"organisation_id": organisation_id},
        )
        return {str(id_): str(name) for id_, name in rows}

    async def update(
        self,
        act: Act,
        organisation_id: str,
        project_id: str,
        changes: ProjectChanges,
        *,
        expected_version: int | None = None,
    ) -> Project:
        """Change a project. In one that is archived nothing is called any more, and nothing of it is lost.

        Raises NotFoundError, VersionMismatchError, InvalidRequestError, or ConflictError: the name is taken, or no
        project would be left open.
        """
        async with self._database.transaction() as transaction:
            await lock_organisation(transaction, organisation_id)
            before = await _locked(transaction, organisation_id, project_id, expected_version)
            after = self._changed(before, changes)
            if after == before:
                return before
            if after.name != before.name:
                await _require_free(transaction, after)
            if before.is_open and not after.is_open:
                await _require_other_open(transaction, before)
            after = msgspec.structs.replace(after, version=before.version + 1)
            await _write(transaction, after)
            await self._acts.record(
                transaction,
                act,
                organisation_id,
                events=[_change_event(before, after)],
                changes=[(ChangeKind.PROJECT, after.id)],
            )
        return after

    def _changed(self, before: Project, changes: ProjectChanges) -> Project:
        after = before
        if changes.name is not UNSET:
            after = msgspec.structs.replace(after, name=clean_name(changes.name, "A project"))
        if changes.description is not UNSET:
            after = msgspec.structs.replace(after, description=clean_description(changes.description))
        if changes.is_archived is not UNSET and changes.is_archived == before.is_open:
            after = msgspec.structs.replace(after, archived_at_ms=self._now_ms() if before.is_open else None)
        return after

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)


def new_project(organisation_id: str, wanted: NewProject, now_ms: int) -> Project:
    """Return a project as `insert_project` writes it. Raises InvalidRequestError."""
    return Project(
        id=new_sortable_id("proj_"),
        organisation_id=organisation_id,
        name=clean_name(wanted.name, "A project"),
        description=clean_description(wanted.description),
        created_at_ms=now_ms,
        archived_at_ms=None,
        version=1,
    )


async def insert_project(transaction: Transaction, project: Project) -> None:
    """Write a new project's row, in an act that the caller records."""
    await transaction.execute(
        f"INSERT INTO projects ({_COLUMNS}) VALUES (:id, :organisation_id, :name, :description, :created_at_ms, "  # noqa: S608 - constants only
        ":archived_at_ms, :version)",
        msgspec.structs.asdict(project),
    )


async def _locked(
    transaction: Transaction, organisation_id: str, project_id: str, expected_version: int | None
) -> Project:
    rows = await transaction.fetch(
        "UPDATE projects SET version = version WHERE organisation_id = :organisation_id AND id = :id "  # noqa: S608 - constants only
        f"RETURNING {_COLUMNS}",
        _named(organisation_id, project_id),
    )
    if not rows:
        raise _unknown(project_id)
    project = _project(rows[0])
    require_version(project.version, expected_version, f"The project '{project.id}'")
    return project


async def _write(transaction: Transaction, project: Project) -> None:
    await transaction.execute(
        "UPDATE projects SET name = :name, description = :description, archived_at_ms = :archived_at_ms, "
        "version = :version WHERE organisation_id = :organisation_id AND id = :id",
        msgspec.structs.asdict(project),
    )


async def _require_free(transaction: Transaction, project: Project) -> None:
    rows = await transaction.fetch(
        "SELECT 1 FROM projects WHERE organisation_id = :organisation_id AND name = :name AND id <> :id",
        {"organisation_id": project.organisation_id, "name": project.name, "id": project.id},
    )
    if rows:
        raise ConflictError(f"There is a project '{project.name}' already.", param="name", code="already_exists")


async def _require_other_open(transaction: Transaction, project: Project) -> None:
    rows = await transaction.fetch(
        "SELECT 1 FROM projects WHERE organisation_id = :organisation_id AND id <> :id AND archived_at_ms IS NULL "
        "LIMIT 1",
        {"organisation_id": project.organisation_id, "id": project.id},
    )
    if not rows:
        raise ConflictError(
            f"'{project.name}' is the only project that is open; make another one before you archive it.",
            code="last_project",
        )


def _change_event(before: Project, after: Project) -> Event:
    action = "project.updated"
    if before.is_open != after.is_open:
        action = "project.restored" if after.is_open else "project.archived"
    changed = {
        name: [getattr(before, name), getattr(after, name)]
        for name in ("name", "description")
        if getattr(before, name) != getattr(after, name)
    }
    return Event(action=action, target=_target(after), changed=changed)


def _target(project: Project) -> Target:
    return Target(type="project", id=project.id, name=project.name)


def _named(organisation_id: str, project_id: str) -> dict[str, Value]:
    return {"organisation_id": organisation_id, "id": clean_id(project_id)}


def _unknown(project_id: str) -> NotFoundError:
    return NotFoundError(f"There is no project '{project_id[:80]}'.")


def _project(row: Row) -> Project:
    return Project(**dict(zip(Project.__struct_fields__, row, strict=True)))
