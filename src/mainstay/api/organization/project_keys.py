"""`/v1/organization/projects/{project}/api_keys`: a project's keys, which are made elsewhere."""

from collections.abc import Iterator
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from mainstay.api.admin.requests import Patch, act_of, page_request, query, read
from mainstay.api.admin.responses import Deleted, ListOf, show, show_page
from mainstay.api.admin.times import seconds
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.organization.key_owners import KeyOwner, Owners, owners_of
from mainstay.api.organization.parts import Parts
from mainstay.api.organization.shapes import PAGE, PROJECT, expiry_ms
from mainstay.api.routes import Route
from mainstay.kit.errors import InvalidRequestError, NotFoundError
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.key_rows import Key
from mainstay.platform.identity.key_wishes import KeyChanges
from mainstay.platform.identity.keys import KeyFilter

_PATH = PROJECT + "/api_keys"
_ONE = _PATH + "/{key}"


class KeyPatch(Patch, frozen=True, kw_only=True):
    """For how long from now the key shall be good."""

    expires_in_seconds: int | UnsetType = UNSET


class ProjectKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as OpenAI shows it."""

    id: str
    object: Literal["organization.project.api_key"] = "organization.project.api_key"
    name: str
    redacted_value: str
    created_at: int
    last_used_at: int | None
    expires_at: int | None
    owner: KeyOwner
    owner_project_access: Literal["active", "inactive"]


class ProjectKeyRoutes:
    """A project's keys in OpenAI's shape."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        for method, path, action, handler, summary, request, response in (
            ("GET", _PATH, Action.READ_KEYS, self._list, "The project's keys.", None, ListOf[ProjectKey]),
            ("GET", _ONE, Action.READ_KEYS, self._show, "One key of the project.", None, ProjectKey),
            ("POST", _ONE, Action.WRITE_KEYS, self._update, "Change until when a key is good.", KeyPatch, ProjectKey),
            ("DELETE", _ONE, Action.WRITE_KEYS, self._revoke, "Revoke a key of the project.", None, Deleted),
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
                query=(*PAGE, "owner_project_access") if path == _PATH else (),
            )

    async def _list(self, exchange: Exchange) -> None:
        page, asked = page_request(exchange, "owner_project_access")
        if asked.get("owner_project_access", "any") != "any":
            raise InvalidRequestError(
                "Keys are listed whether or not their owners have access; 'owner_project_access' can only be any.",
                param="owner_project_access",
            )
        organisation_id, project_id = exchange.caller.organisation_id, exchange.parameters["project"]
        await self._parts.projects.get(organisation_id, project_id)
        found = await self._parts.writing.keys.list(
            organisation_id, page, KeyFilter(project_id=project_id, is_revoked=False)
        )
        owners = await owners_of(self._parts, organisation_id, project_id, found.items)
        await show_page(exchange, found, lambda key: _shown(key, owners))

    async def _show(self, exchange: Exchange) -> None:
        query(exchange)
        await self._answer(exchange, await self._found(exchange))

    async def _update(self, exchange: Exchange) -> None:
        body = await read(exchange, KeyPatch)
        key = await self._found(exchange)
        self._parts.giving.require_key(exchange.caller, key)
        if body.expires_in_seconds is not UNSET:
            ends_ms = expiry_ms(body.expires_in_seconds, self._parts.writing.policy.now_ms())
            key = await self._parts.writing.update(
                act_of(exchange), key, KeyChanges(expires_at_ms=ends_ms), expected_version=None
            )
        await self._answer(exchange, key)

    async def _revoke(self, exchange: Exchange) -> None:
        query(exchange)
        key = await self._found(exchange)
        await self._parts.writing.revoke(act_of(exchange), key, expected_version=None)
        await show(exchange, Deleted(id=key.id, object="organization.project.api_key.deleted"))

    async def _answer(self, exchange: Exchange, key: Key) -> None:
        owners = await owners_of(self._parts, key.organisation_id, key.project_id, [key])
        await show(exchange, _shown(key, owners))

    async def _found(self, exchange: Exchange) -> Key:
        """Return the key that is named; one that is revoked is gone, as OpenAI has it."""
        key = await self._parts.writing.keys.get(
            exchange.caller.organisation_id, exchange.parameters["key"], project_id=exchange.parameters["project"]
        )
        if key.revoked_at_ms is not None:
            raise NotFoundError(f"The key '{key.id}' was revoked.")
        return key


def _shown(key: Key, owners: Owners) -> ProjectKey:
    return ProjectKey(
        id=key.id,
        name=key.name,
        redacted_value=key.hint,
        created_at=seconds(key.created_at_ms),
        last_used_at=seconds(key.last_used_at_ms),
        expires_at=seconds(key.expires_at_ms),
        owner=owners.of(key),
        owner_project_access=owners.access(key),
    )
