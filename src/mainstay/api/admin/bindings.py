"""`/admin/v1/bindings`, and those of one project: who has which role. Nobody gives what he may not do himself."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.admin.requests import Body, Patch, act_of, expected_version, page_request, query, read
from mainstay.api.admin.responses import Deleted, ListOf, show, show_page
from mainstay.api.admin.times import milliseconds, seconds
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.routes import Route
from mainstay.kit.errors import NotFoundError
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.authorize import Authority, Resource
from mainstay.platform.identity.bindings import BindingFilter, Bindings, NewBinding, StoredBinding
from mainstay.platform.identity.caller import Caller
from mainstay.platform.identity.role_store import Roles
from mainstay.platform.identity.roles import OWNER

_PATH = "/admin/v1/bindings"
_OF_PROJECT = "/admin/v1/projects/{project}/bindings"
_PAGE = ("limit", "after", "order")


class ProjectBindingBody(Body, frozen=True, kw_only=True):
    """A role for someone in the project of the address."""

    principal_id: str
    role_id: str
    expires_at: int | None = None


class BindingBody(ProjectBindingBody, frozen=True, kw_only=True):
    """A role for someone: in one project, or in the whole organisation."""

    project_id: str | None = None


class BindingPatch(Patch, frozen=True, kw_only=True):
    """Until when a role is had; null is for good."""

    expires_at: int | None


class BindingObject(msgspec.Struct, frozen=True, kw_only=True):
    """A role of someone; without a project it holds in the whole organisation."""

    id: str
    object: Literal["binding"] = "binding"
    principal_id: str
    role_id: str
    project_id: str | None
    expires_at: int | None
    created_by: str
    created_at: int
    version: int


class BindingRoutes:
    """Administration of role bindings."""

    def __init__(self, bindings: Bindings, roles: Roles, authority: Authority, idempotency: Idempotency) -> None:
        self._bindings = bindings
        self._roles = roles
        self._authority = authority
        self._idempotency = idempotency

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        for path, project, body in ((_PATH, "", BindingBody), (_OF_PROJECT, "project", ProjectBindingBody)):
            where = "in the project" if project else "in the organisation and its projects"
            filters = () if project else ("project",)
            yield Route(
                method="GET",
                path=path,
                action=Action.READ_BINDINGS,
                dialect=dialect,
                handler=self._list,
                summary=f"Who has which role {where}.",
                response=ListOf[BindingObject],
                project=project,
                query=(*_PAGE, "principal", "role", *filters),
            )
            yield Route(
                method="POST",
                path=path,
                action=Action.WRITE_BINDINGS,
                dialect=dialect,
                handler=self._idempotency.of(self._create),
                summary="Give someone a role.",
                request=body,
                response=BindingObject,
                project=project,
                status=201,
            )
            yield from self._single(path + "/{binding}", project, dialect)

    def _single(self, path: str, project: str, dialect: Dialect) -> Iterator[Route]:
        for method, action, handler, summary, request, response in (
            ("GET", Action.READ_BINDINGS, self._show, "One role binding.", None, BindingObject),
            ("PATCH", Action.WRITE_BINDINGS, self._prolong, "Change until when.", BindingPatch, BindingObject),
            ("DELETE", Action.WRITE_BINDINGS, self._delete, "Take a role away.", None, Deleted),
        ):
            yield Route(
                method=method,
                path=path,
                action=action,
                dialect=dialect,
                handler=handler,
                summary=summary,
                request=request,
                response=response,
                project=project,
            )

    async def _list(self, exchange: Exchange) -> None:
        project_id = exchange.parameters.get("project")
        names = ("principal", "role") if project_id is not None else ("principal", "role", "project")
        page, asked = page_request(exchange, *names)
        chosen = BindingFilter(
            principal_id=asked.get("principal"),
            role_id=asked.get("role"),
            project_id=project_id or asked.get("project"),
        )
        found = await self._bindings.list(exchange.caller.organisation_id, page, chosen)
        await show_page(exchange, found, _shown)

    async def _create(self, exchange: Exchange) -> None:
        project_id = exchange.parameters.get("project")
        if project_id is None:
            whole = await read(exchange, BindingBody)
            body: ProjectBindingBody = whole
            project_id = whole.project_id
        else:
            body = await read(exchange, ProjectBindingBody)
        caller = exchange.caller
        await self._require_may_give(caller, body.role_id, project_id)
        binding = await self._bindings.create(
            act_of(exchange),
            caller.organisation_id,
            NewBinding(
                principal_id=body.principal_id,
                role_id=body.role_id,
                project_id=project_id,
                expires_at_ms=milliseconds(body.expires_at),
            ),
        )
        await show(exchange, _shown(binding), version=binding.version, status=201)

    async def _show(self, exchange: Exchange) -> None:
        query(exchange)
        binding = await self._found(exchange)
        await show(exchange, _shown(binding), version=binding.version)

    async def _prolong(self, exchange: Exchange) -> None:
        body = await read(exchange, BindingPatch)
        binding = await self._found(exchange)
        await self._require_may_give(exchange.caller, binding.role_id, binding.project_id)
        changed = await self._bindings.prolong(
            act_of(exchange),
            exchange.caller.organisation_id,
            binding.id,
            milliseconds(body.expires_at),
            expected_version=expected_version(exchange),
        )
        await show(exchange, _shown(changed), version=changed.version)

    async def _delete(self, exchange: Exchange) -> None:
        binding = await self._found(exchange)
        if binding.role_id == OWNER.id:
            self._authority.require_owner(exchange.caller)
        await self._bindings.delete(
            act_of(exchange),
            exchange.caller.organisation_id,
            binding.id,
            expected_version=expected_version(exchange),
        )
        await show(exchange, Deleted(id=binding.id, object="binding"))

    async def _found(self, exchange: Exchange) -> StoredBinding:
        """Return the binding that the address names; under a project, only one of that project."""
        binding = await self._bindings.get(exchange.caller.organisation_id, exchange.parameters["binding"])
        project_id = exchange.parameters.get("project")
        if project_id is not None and binding.project_id != project_id:
            raise NotFoundError(f"There is no role binding '{binding.id}' in the project '{project_id[:80]}'.")
        return binding

    async def _require_may_give(self, caller: Caller, role_id: str, project_id: str | None) -> None:
        role = await self._roles.get(caller.organisation_id, role_id)
        if role.id == OWNER.id:
            self._authority.require_owner(caller)
        project = None if project_id is None else Resource(type="project", id=project_id, project_id=project_id)
        self._authority.require_covers(caller, frozenset(role.actions), project)


def _shown(binding: StoredBinding) -> BindingObject:
    return BindingObject(
        id=binding.id,
        principal_id=binding.principal_id,
        role_id=binding.role_id,
        project_id=binding.project_id,
        expires_at=seconds(binding.expires_at_ms),
        created_by=binding.created_by,
        created_at=seconds(binding.created_at_ms),
        version=binding.version,
    )
