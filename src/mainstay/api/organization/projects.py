"""`/v1/organization/projects`."""

from collections.abc import Iterator
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from mainstay.api.admin.projects import flag
from mainstay.api.admin.requests import Body, Patch, act_of, page_request, query, read
from mainstay.api.admin.responses import ListOf, show, show_page
from mainstay.api.admin.times import seconds
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.organization.parts import Parts
from mainstay.api.organization.shapes import PAGE, PROJECT, ROOT
from mainstay.api.routes import Route
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.projects import PROJECT_COLUMNS, NewProject, Project, ProjectChanges


class ProjectBody(Body, frozen=True, kw_only=True):
    """A new project."""

    name: str


class ProjectPatch(Patch, frozen=True, kw_only=True):
    """Another name."""

    name: str | UnsetType = UNSET


class OrganizationProject(msgspec.Struct, frozen=True, kw_only=True):
    """A project as OpenAI shows it."""

    id: str
    object: Literal["organization.project"] = "organization.project"
    name: str
    created_at: int
    archived_at: int | None
    status: Literal["active", "archived"]


class OrganizationProjectRoutes:
    """Projects in OpenAI's shape."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        yield Route(
            method="GET",
            path=ROOT + "/projects",
            action=Action.READ_PROJECTS,
            dialect=dialect,
            handler=self._list,
            summary="The projects.",
            response=ListOf[OrganizationProject],
            is_narrowed=True,
            query=(*PAGE, "include_archived"),
        )
        create = self._parts.idempotency.of(self._create)
        for method, path, action, handler, summary, request in (
            ("POST", ROOT + "/projects", Action.WRITE_PROJECTS, create, "Make a project.", ProjectBody),
            ("GET", PROJECT, Action.READ_PROJECTS, self._show, "One project.", None),
            ("POST", PROJECT, Action.WRITE_PROJECTS, self._rename, "Give a project another name.", ProjectPatch),
            ("POST", PROJECT + "/archive", Action.WRITE_PROJECTS, self._archive, "Archive a project.", None),
        ):
            yield Route(
                method=method,
                path=path,
                action=action,
                dialect=dialect,
                handler=handler,
                summary=summary,
                request=request,
                response=OrganizationProject,
                project="project" if path.startswith(PROJECT) else "",
            )

    async def _list(self, exchange: Exchange) -> None:
        page, asked = page_request(exchange, "include_archived")
        caller = exchange.caller
        found = await self._parts.projects.list(
            caller.organisation_id,
            page,
            with_archived=flag(asked, "include_archived"),
            visible=self._parts.visibility.condition(caller, Action.READ_PROJECTS, PROJECT_COLUMNS),
        )
        await show_page(exchange, found, _shown)

    async def _create(self, exchange: Exchange) -> None:
        body = await read(exchange, ProjectBody)
        project = await self._parts.projects.create(
            act_of(exchange), exchange.caller.organisation_id, NewProject(name=body.name)
        )
        await show(exchange, _shown(project))

    async def _show(self, exchange: Exchange) -> None:
        query(exchange)
        project = await self._parts.projects.get(exchange.caller.organisation_id, exchange.parameters["project"])
        await show(exchange, _shown(project))

    async def _rename(self, exchange: Exchange) -> None:
        body = await read(exchange, ProjectPatch)
        await self._change(exchange, ProjectChanges(name=body.name))

    async def _archive(self, exchange: Exchange) -> None:
        await self._change(exchange, ProjectChanges(is_archived=True))

    async def _change(self, exchange: Exchange, changes: ProjectChanges) -> None:
        project = await self._parts.projects.update(
            act_of(exchange), exchange.caller.organisation_id, exchange.parameters["project"], changes
        )
        await show(exchange, _shown(project))


def _shown(project: Project) -> OrganizationProject:
    return OrganizationProject(
        id=project.id,
        name=project.name,
        created_at=seconds(project.created_at_ms),
        archived_at=seconds(project.archived_at_ms),
        status="active" if project.is_open else "archived",
    )
