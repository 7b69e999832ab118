"""`/admin/v1/service_accounts`: programs, each in one project; those of the projects where the caller may see them."""

from collections.abc import Iterator
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from mainstay.api.admin.giving import Giving, in_project
from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.admin.requests import Body, Patch, act_of, expected_version, page_request, query, read
from mainstay.api.admin.responses import Deleted, ListOf, show, show_page
from mainstay.api.admin.times import seconds
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.routes import Route
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.authorize import Authority
from mainstay.platform.identity.principals import PrincipalStatus, PrincipalType, no_principal
from mainstay.platform.identity.roles import MEMBER
from mainstay.platform.identity.service_accounts import (
    SERVICE_ACCOUNT_COLUMNS,
    NewServiceAccount,
    ServiceAccount,
    ServiceAccountChanges,
    ServiceAccounts,
)
from mainstay.platform.identity.visibility import Visibility

_PATH = "/admin/v1/service_accounts"
_ONE = _PATH + "/{service_account}"


class ServiceAccountBody(Body, frozen=True, kw_only=True):
    """A new service account, which has `role` in its project; null is none."""

    project_id: str
    name: str
    description: str = ""
    role: str | None = MEMBER.id


class ServiceAccountPatch(Patch, frozen=True, kw_only=True):
    """What of a service account shall be otherwise."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    status: PrincipalStatus | UnsetType = UNSET


class ServiceAccountObject(msgspec.Struct, frozen=True, kw_only=True):
    """A service account."""

    id: str
    object: Literal["service_account"] = "service_account"
    project_id: str
    name: str
    description: str
    status: PrincipalStatus
    created_at: int
    updated_at: int
    version: int


class ServiceAccountRoutes:
    """Administration of service accounts."""

    def __init__(
        self,
        accounts: ServiceAccounts,
        giving: Giving,
        visibility: Visibility,
        *,
        idempotency: Idempotency,
        authority: Authority,
    ) -> None:
        self._accounts = accounts
        self._giving = giving
        self._visibility = visibility
        self._idempotency = idempotency
        self._authority = authority

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        yield Route(
            method="GET",
            path=_PATH,
            action=Action.READ_SERVICE_ACCOUNTS,
            dialect=dialect,
            handler=self._list,
            summary="The service accounts.",
            response=ListOf[ServiceAccountObject],
            is_narrowed=True,
            query=("limit", "after", "order", "project"),
        )
        create = self._idempotency.of(self._create)
        read_, write = Action.READ_SERVICE_ACCOUNTS, Action.WRITE_SERVICE_ACCOUNTS
        body, patch, shown = ServiceAccountBody, ServiceAccountPatch, ServiceAccountObject
        for method, path, action, handler, summary, request, response in (
            ("POST", _PATH, write, create, "Make a service account.", body, shown),
            ("GET", _ONE, read_, self._show, "One service account.", None, shown),
            ("PATCH", _ONE, write, self._update, "Change a service account.", patch, shown),
            ("DELETE", _ONE, write, self._delete, "Delete a service account and its keys.", None, Deleted),
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
                is_narrowed=True,
                status=201 if method == "POST" else 200,
            )

    async def _list(self, exchange: Exchange) -> None:
        page, asked = page_request(exchange, "project")
        caller = exchange.caller
        found = await self._accounts.list(
            caller.organisation_id,
            page,
            project_id=asked.get("project"),
            visible=self._visibility.condition(caller, Action.READ_SERVICE_ACCOUNTS, SERVICE_ACCOUNT_COLUMNS),
        )
        await show_page(exchange, found, _shown)

    async def _create(self, exchange: Exchange) -> None:
        body = await read(exchange, ServiceAccountBody)
        caller = exchange.caller
        self._authority.authorize(caller, Action.WRITE_SERVICE_ACCOUNTS, in_project(body.project_id))
        if body.role is not None:
            await self._giving.require_role(caller, body.role, body.project_id)
        wanted = NewServiceAccount(
            project_id=body.project_id, name=body.name, description=body.description, role_id=body.role
        )
        account = await self._accounts.create(act_of(exchange), caller.organisation_id, wanted)
        await show(exchange, _shown(account), version=account.version, status=201)

    async def _show(self, exchange: Exchange) -> None:
        query(exchange)
        account = await self._found(exchange)
        await show(exchange, _shown(account), version=account.version)

    async def _update(self, exchange: Exchange) -> None:
        body = await read(exchange, ServiceAccountPatch)
        account = await self._writable(exchange)
        if body.status is PrincipalStatus.ACTIVE and account.status is not PrincipalStatus.ACTIVE:
            # Its keys are good again, with all that the account may do.
            self._giving.require_principal(exchange.caller, account.id)
        changed = await self._accounts.update(
            act_of(exchange),
            account.organisation_id,
            account.id,
            ServiceAccountChanges(name=body.name, description=body.description, status=body.status),
            expected_version=expected_version(exchange),
        )
        await show(exchange, _shown(changed), version=changed.version)

    async def _delete(self, exchange: Exchange) -> None:
        query(exchange)
        account = await self._writable(exchange)
        await self._accounts.delete(
            act_of(exchange), account.organisation_id, account.id, expected_version=expected_version(exchange)
        )
        await show(exchange, Deleted(id=account.id, object="service_account"))

    async def _writable(self, exchange: Exchange) -> ServiceAccount:
        account = await self._found(exchange)
        self._authority.authorize(exchange.caller, Action.WRITE_SERVICE_ACCOUNTS, in_project(account.project_id))
        self._giving.require_not_an_owner(exchange.caller, account.id)
        return account

    async def _found(self, exchange: Exchange) -> ServiceAccount:
        """Return the one that is named; in a project where the caller may see none, it does not exist for him."""
        named = exchange.parameters["service_account"]
        account = await self._accounts.get(exchange.caller.organisation_id, named)
        if not self._authority.may(exchange.caller, Action.READ_SERVICE_ACCOUNTS, in_project(account.project_id)):
            raise no_principal(named, PrincipalType.SERVICE_ACCOUNT)
        return account


def _shown(account: ServiceAccount) -> ServiceAccountObject:
    return ServiceAccountObject(
        id=account.id,
        project_id=account.project_id,
        name=account.name,
        description=account.description,
        status=account.status,
        created_at=seconds(account.created_at_ms),
        updated_at=seconds(account.updated_at_ms),
        version=account.version,
    )
