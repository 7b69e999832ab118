"""`/v1/organization/admin_api_keys`: keys with the scope `admin`, which call no models."""

from collections.abc import Iterator
from typing import Literal, TypedDict

import msgspec

from mainstay.api.admin.requests import Body, act_of, page_request, query, read
from mainstay.api.admin.responses import Deleted, ListOf, show, show_page
from mainstay.api.admin.times import seconds
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.organization.parts import Parts
from mainstay.api.organization.shapes import PAGE, ROOT, expiry_ms
from mainstay.api.routes import Route
from mainstay.kit.errors import NotFoundError
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.caller import Scope
from mainstay.platform.identity.key_rows import Key
from mainstay.platform.identity.key_wishes import NewKey
from mainstay.platform.identity.keys import KeyFilter
from mainstay.platform.identity.organisations import Tenant
from mainstay.platform.identity.policies import Subject
from mainstay.platform.identity.users import User

_PATH = ROOT + "/admin_api_keys"
_ONE = _PATH + "/{admin_key}"


class AdminKeyBody(Body, frozen=True, kw_only=True):
    """A new admin key."""

    name: str
    expires_in_seconds: int | None = None


class AdminKeyOwner(msgspec.Struct, frozen=True, kw_only=True):
    """Whose key it is, or who made it; without an object it is no user."""

    id: str | None
    type: str
    object: Literal["organization.user"] | None = None
    name: str | None = None
    created_at: int | None = None
    role: Literal["owner"] | None = None


class AdminKey(msgspec.Struct, frozen=True, kw_only=True):
    """An admin key as OpenAI shows it."""

    id: str
    object: Literal["organization.admin_api_key"] = "organization.admin_api_key"
    name: str
    redacted_value: str
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    owner: AdminKeyOwner


class NewAdminKey(AdminKey, frozen=True, kw_only=True):
    """An admin key that was made just now: `value` is shown this once."""

    value: str


class AdminKeyRoutes:
    """Admin keys in OpenAI's shape."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        create = self._parts.idempotency.of(self._create)
        for method, path, action, handler, summary, request, response in (
            ("GET", _PATH, Action.READ_KEYS, self._list, "The admin keys.", None, ListOf[AdminKey]),
            ("POST", _PATH, Action.WRITE_KEYS, create, "Make an admin key.", AdminKeyBody, NewAdminKey),
            ("GET", _ONE, Action.READ_KEYS, self._show, "One admin key.", None, AdminKey),
            ("DELETE", _ONE, Action.WRITE_KEYS, self._revoke, "Revoke an admin key.", None, Deleted),
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
                query=PAGE if response is ListOf[AdminKey] else (),
            )

    async def _list(self, exchange: Exchange) -> None:
        page, _ = page_request(exchange)
        organisation_id = exchange.caller.organisation_id
        wanted = KeyFilter(scope=Scope.ADMIN, is_revoked=False)
        found = await self._parts.writing.keys.list(organisation_id, page, wanted)
        users = await self._people(organisation_id, found.items)
        await show_page(exchange, found, lambda key: AdminKey(**_members(key, users)))

    async def _create(self, exchange: Exchange) -> None:
        body = await read(exchange, AdminKeyBody)
        caller, writing = exchange.caller, self._parts.writing
        self._parts.giving.require_scopes(caller, [Scope.ADMIN], caller.project_id, principal_id=None)
        asked_ms = expiry_ms(body.expires_in_seconds, writing.policy.now_ms())
        subject = Subject(organisation_id=caller.organisation_id, project_id=caller.project_id)
        wanted = NewKey(
            body.name, scopes=[Scope.ADMIN], expires_at_ms=writing.policy.longest_if_none(subject, asked_ms)
        )
        key, secret = await writing.create(act_of(exchange), wanted, Tenant(caller.organisation_id, caller.project_id))
        users = await self._people(caller.organisation_id, [key])
        await show(exchange, NewAdminKey(**_members(key, users), value=secret))

    async def _show(self, exchange: Exchange) -> None:
        query(exchange)
        key = await self._found(exchange)
        await show(exchange, AdminKey(**_members(key, await self._people(key.organisation_id, [key]))))

    async def _revoke(self, exchange: Exchange) -> None:
        query(exchange)
        key = await self._found(exchange)
        await self._parts.writing.revoke(act_of(exchange), key, expected_version=None)
        await show(exchange, Deleted(id=key.id, object="organization.admin_api_key.deleted"))

    async def _found(self, exchange: Exchange) -> Key:
        key = await self._parts.writing.keys.get(exchange.caller.organisation_id, exchange.parameters["admin_key"])
        if Scope.ADMIN not in key.scopes or key.revoked_at_ms is not None:
            raise NotFoundError(f"The key '{key.id}' is revoked or no admin key; it is at /admin/v1/keys.")
        return key

    async def _people(self, organisation_id: str, keys: list[Key]) -> dict[str, User]:
        return await self._parts.users.get_many(organisation_id, [_owner_id(key) for key in keys])


def _owner_id(key: Key) -> str:
    return key.principal_id or key.created_by or ""


def _members(key: Key, users: dict[str, User]) -> "_Members":
    owner_id = _owner_id(key)
    user = users.get(owner_id)
    owner = AdminKeyOwner(id=owner_id or None, type="service_account" if owner_id.startswith("sa_") else "key")
    if user is not None:
        at = seconds(user.created_at_ms)
        owner = AdminKeyOwner(
            id=user.id, type="user", object="organization.user", name=user.name, created_at=at, role="owner"
        )
    return {
        "id": key.id,
        "name": key.name,
        "redacted_value": key.hint,
        "created_at": seconds(key.created_at_ms),
        "expires_at": seconds(key.expires_at_ms),
        "last_used_at": seconds(key.last_used_at_ms),
        "owner": owner,
    }


class _Members(TypedDict):
    id: str
    name: str
    redacted_value: str
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    owner: AdminKeyOwner
