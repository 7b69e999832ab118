"""`/v1/organization/projects/{project}/service_accounts`: made with a key that is shown this once."""

from collections.abc import Iterator
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from mainstay.api.admin.giving import in_project
from mainstay.api.admin.requests import Body, Patch, act_of, page_request, query, read
from mainstay.api.admin.responses import Deleted, ListOf, show, show_page
from mainstay.api.admin.times import seconds
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.organization.parts import Parts
from mainstay.api.organization.shapes import PAGE, PROJECT, PROJECT_ROLES, expiry_ms, role_name
from mainstay.api.routes import Route
from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.held_roles import HeldRole
from mainstay.platform.identity.key_rows import Key
from mainstay.platform.identity.key_wishes import NewKey
from mainstay.platform.identity.organisations import Tenant
from mainstay.platform.identity.policies import Subject
from mainstay.platform.identity.roles import MEMBER
from mainstay.platform.identity.service_accounts import NewServiceAccount, ServiceAccount, ServiceAccountChanges

_PATH = PROJECT + "/service_accounts"
_ONE = _PATH + "/{service_account}"
_KEYS = _ONE + "/api_keys"

Role = Literal["owner", "member", "none"]


class AccountBody(Body, frozen=True, kw_only=True):
    """A new service account with a key, or without role and key."""

    name: str
    create_service_account_only: bool | None = None
    expires_in_seconds: int | None = None


class AccountPatch(Patch, frozen=True, kw_only=True):
    """Another name."""

    name: str | UnsetType = UNSET


class AccountKeyBody(Body, frozen=True, kw_only=True):
    """A new key of a service account."""

    name: str | None = None
    expires_in_seconds: int | None = None


class AccountKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was made just now: `value` is shown this once."""

    id: str
    object: Literal["organization.project.service_account.api_key"] = "organization.project.service_account.api_key"
    name: str
    value: str
    created_at: int
    expires_at: int | None


class ProjectAccount(msgspec.Struct, frozen=True, kw_only=True):
    """A service account as OpenAI shows it."""

    id: str
    object: Literal["organization.project.service_account"] = "organization.project.service_account"
    name: str
    role: Role
    created_at: int


class NewProjectAccount(ProjectAccount, frozen=True, kw_only=True):
    """A service account that was made just now."""

    api_key: AccountKey | None


class ProjectServiceAccountRoutes:
    """A project's service accounts in OpenAI's shape."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        create, add_key = self._parts.idempotency.of(self._create), self._parts.idempotency.of(self._add_key)
        read_, write = Action.READ_SERVICE_ACCOUNTS, Action.WRITE_SERVICE_ACCOUNTS
        one = ProjectAccount
        for method, path, action, handler, summary, request, response in (
            ("GET", _PATH, read_, self._list, "The project's service accounts.", None, ListOf[ProjectAccount]),
            ("POST", _PATH, write, create, "Make a service account and its key.", AccountBody, NewProjectAccount),
            ("GET", _ONE, read_, self._show, "One service account of the project.", None, one),
            ("POST", _ONE, write, self._rename, "Give a service account another name.", AccountPatch, one),
            ("DELETE", _ONE, write, self._delete, "Delete a service account and its keys.", None, Deleted),
            ("POST", _KEYS, Action.WRITE_KEYS, add_key, "Make another key of it.", AccountKeyBody, AccountKey),
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
                project="project",
                query=PAGE if response is ListOf[ProjectAccount] else (),
            )

    async def _list(self, exchange: Exchange) -> None:
        page, _ = page_request(exchange)
        organisation_id, project_id = exchange.caller.organisation_id, exchange.parameters["project"]
        await self._parts.projects.get(organisation_id, project_id)
        found = await self._parts.accounts.list(organisation_id, page, project_id=project_id)
        held = await self._parts.held_roles.in_project(
            organisation_id, project_id, [account.id for account in found.items]
        )
        await show_page(exchange, found, lambda account: _shown(account, held[account.id]))

    async def _create(self, exchange: Exchange) -> None:
        body = await read(exchange, AccountBody)
        organisation_id, project_id = exchange.caller.organisation_id, exchange.parameters["project"]
        if body.create_service_account_only:
            if body.expires_in_seconds is not None:
                raise InvalidRequestError(
                    "A service account without a key has no 'expires_in_seconds'.", param="expires_in_seconds"
                )
            wanted = NewServiceAccount(project_id=project_id, name=body.name)
            account = await self._parts.accounts.create(act_of(exchange), organisation_id, wanted)
            await show(exchange, _shown_new(account, "none", None))
            return
        await self._create_with_key(exchange, body)

    async def _create_with_key(self, exchange: Exchange, body: AccountBody) -> None:
        caller, project_id, writing = exchange.caller, exchange.parameters["project"], self._parts.writing
        self._parts.authority.authorize(caller, Action.WRITE_KEYS, in_project(project_id))
        await self._parts.giving.require_role(caller, MEMBER.id, project_id)
        subject = Subject(organisation_id=caller.organisation_id, project_id=project_id)
        asked_ms = expiry_ms(body.expires_in_seconds, writing.policy.now_ms())
        ends_ms = writing.policy.longest_if_none(subject, asked_ms)
        writing.policy.require_lifetime(subject, ends_ms)
        account, key, secret = await self._parts.accounts.create_with_key(
            act_of(exchange),
            caller.organisation_id,
            NewServiceAccount(project_id=project_id, name=body.name, role_id=MEMBER.id),
            keys=writing.keys,
            expires_at_ms=ends_ms,
        )
        await writing.notice()
        await show(exchange, _shown_new(account, "member", _shown_key(key, secret)))

    async def _show(self, exchange: Exchange) -> None:
        query(exchange)
        await self._answer(exchange, await self._found(exchange))

    async def _rename(self, exchange: Exchange) -> None:
        body = await read(exchange, AccountPatch)
        account = await self._found(exchange)
        changed = await self._parts.accounts.update(
            act_of(exchange), account.organisation_id, account.id, ServiceAccountChanges(name=body.name)
        )
        await self._answer(exchange, changed)

    async def _delete(self, exchange: Exchange) -> None:
        query(exchange)
        account = await self._found(exchange)
        self._parts.giving.require_not_an_owner(exchange.caller, account.id)
        await self._parts.accounts.delete(act_of(exchange), account.organisation_id, account.id)
        await self._parts.writing.notice()
        await show(exchange, Deleted(id=account.id, object="organization.project.service_account.deleted"))

    async def _add_key(self, exchange: Exchange) -> None:
        body = await read(exchange, AccountKeyBody)
        account, writing = await self._found(exchange), self._parts.writing
        self._parts.giving.require_principal(exchange.caller, account.id)
        subject = Subject(
            organisation_id=account.organisation_id, principal_id=account.id, project_id=account.project_id
        )
        asked_ms = expiry_ms(body.expires_in_seconds, writing.policy.now_ms())
        wanted = NewKey(
            body.name or account.name,
            principal_id=account.id,
            expires_at_ms=writing.policy.longest_if_none(subject, asked_ms),
        )
        tenant = Tenant(account.organisation_id, account.project_id)
        key, secret = await writing.create(act_of(exchange), wanted, tenant)
        await show(exchange, _shown_key(key, secret))

    async def _answer(self, exchange: Exchange, account: ServiceAccount) -> None:
        held = await self._parts.held_roles.in_project(account.organisation_id, account.project_id, [account.id])
        await show(exchange, _shown(account, held[account.id]))

    async def _found(self, exchange: Exchange) -> ServiceAccount:
        return await self._parts.accounts.get(
            exchange.caller.organisation_id,
            exchange.parameters["service_account"],
            project_id=exchange.parameters["project"],
        )


def _role(held: list[HeldRole]) -> Role:
    if not held:
        return "none"
    return "owner" if role_name(held, PROJECT_ROLES) == "owner" else "member"


def _shown(account: ServiceAccount, held: list[HeldRole]) -> ProjectAccount:
    at = seconds(account.created_at_ms)
    return ProjectAccount(id=account.id, name=account.name, role=_role(held), created_at=at)


def _shown_new(account: ServiceAccount, role: Role, key: AccountKey | None) -> NewProjectAccount:
    at = seconds(account.created_at_ms)
    return NewProjectAccount(id=account.id, name=account.name, role=role, created_at=at, api_key=key)


def _shown_key(key: Key, secret: str) -> AccountKey:
    return AccountKey(
        id=key.id,
        name=key.name,
        value=secret,
        created_at=seconds(key.created_at_ms),
        expires_at=seconds(key.expires_at_ms),
    )
