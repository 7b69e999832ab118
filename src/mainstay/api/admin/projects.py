"""`/admin/v1/projects`: those that the caller may see."""

from collections.abc import Iterator
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.admin.requests import Body, Patch, act_of, expected_version, page_request, query, read
from mainstay.api.admin.responses import ListOf, show, show_page
from mainstay.api.admin.times import seconds
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.routes import Route
from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.projects import PROJECT_COLUMNS, NewProject, Project, ProjectChanges, Projects
from mainstay.platform.identity.visibility import Visibility

_PATH = "/admin/v1/projects"
_ONE = _PATH + "/{project}"


class ProjectBody(Body, frozen=True, kw_only=True):
    """A new project."""

    name: str
    description: str = ""


class ProjectPatch(Patch, frozen=True, kw_only=True):
    """What of a project shall be otherwise; in one that is archived nothing is called any more."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    is_archived: bool | UnsetType = UNSET


class ProjectObject(msgspec.Struct, frozen=True, kw_only=True):
    """A project."""

    id: str
    object: Literal["project"] = "project"
    name: str
    description: str
    is_archived: bool
    archived_at: int | None
    created_at: int
    version: int


class ProjectRoutes:
    """Administration of projects."""

    def __init__(self, projects: Projects, visibility: Visibility, idempotency: Idempotency) -> None:
        self._projects = projects
        self._visibility = visibility
        self._idempotency = idempotency

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        yield Route(
            method="GET",
            path=_PATH,
            action=Action.READ_PROJECTS,
            dialect=dialect,
            handler=self._list,
            summary="The projects, those that are archived only with `archived=true`.",
            response=ListOf[ProjectObject],
            is_narrowed=True,
            query=("limit", "after", "order", "archived"),
        )
        yield Route(
            method="POST",
            path=_PATH,
            action=Action.WRITE_PROJECTS,
            dialect=dialect,
            handler=self._idempotency.of(self._create),
            summary="Make a project.",
            request=ProjectBody,
            response=ProjectObject,
            status=201,
        )
        for method, action, handler, summary, request in (
            ("GET", Action.READ_PROJECTS, self._show, "One project.", None),
            ("PATCH", Action.WRITE_PROJECTS, self._update, "Change, archive or restore a project.", ProjectPatch),
        ):
            yield Route(
                method=method,
                path=_ONE,
                action=action,
                dialect=dialect,
                handler=handler,
                summary=summary,
                request=request,
                response=ProjectObject,
                project="project",
            )

    async def _list(self, exchange: Exchange) -> None:
        page, asked = page_request(exchange, "archived")
        found = await self._projects.list(
            exchange.caller.organisation_id,
            page,
            with_archived=flag(asked, "archived"),
            visible=self._visibility.condition(exchange.caller, Action.READ_PROJECTS, PROJECT_COLUMNS),
        )
        await show_page(exchange, found, _shown)

    async def _create(self, exchange: Exchange) -> None:
        body = await read(exchange, ProjectBody)
        wanted = NewProject(name=body.name, description=body.description)
        project = await self._projects.create(act_of(exchange), exchange.caller.organisation_id, wanted)
        await show(exchange, _shown(project), version=project.version, status=201)

    async def _show(self, exchange: Exchange) -> None:
        query(exchange)
        project = await self._projects.get(exchange.caller.organisation_id, exchange.parameters["project"])
        await show(exchange, _shown(project), version=project.version)

    async def _update(self, exchange: Exchange) -> None:
        body = await read(exchange, ProjectPatch)
        project = await self._projects.update(
            act_of(exchange),
            exchange.caller.organisation_id,
            exchange.parameters["project"],
            ProjectChanges(name=body.name, description=body.description, is_archived=body.is_archived),
            expected_version=expected_version(exchange),
        )
        await show(exchange, _shown(project), version=project.version)


def flag(asked: dict[str, str], name: str) -> bool:
    """Return a parameter that is true or false, false if it is not given. Raises InvalidRequestError."""
    text = asked.get(name, "false").lower()
    if text not in ("true", "false"):
        raise InvalidRequestError(f"'{name}' must be true or false.", param=name)
    return text == "true"


def _shown(project: Project) -> ProjectObject:
    return ProjectObject(
        id=project.id,
        name=project.name,
        description=project.description,
        is_archived=not project.is_open,
        archived_at=seconds(project.archived_at_ms),
        created_at=seconds(project.created_at_ms),
        version=project.version,
    )
