"""`/admin/v1/keys`: the keys of the projects where the caller may see them. A person's own are at /admin/v1/my/keys."""

from collections.abc import Iterator

from mainstay.api.admin.giving import Giving, in_project
from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.admin.key_objects import (
    KeyBody,
    KeyObject,
    KeyPatch,
    NewKeyObject,
    RotateBody,
    changes_of,
    shown,
    shown_once,
    wish_of,
)
from mainstay.api.admin.key_writing import KeyWriting
from mainstay.api.admin.projects import flag
from mainstay.api.admin.requests import act_of, expected_version, page_request, query, read
from mainstay.api.admin.responses import Deleted, ListOf, show, show_page
from mainstay.api.admin.times import milliseconds
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.routes import Route
from mainstay.kit.errors import NotFoundError
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.authorize import Authority
from mainstay.platform.identity.caller import Scope
from mainstay.platform.identity.key_rows import Key
from mainstay.platform.identity.keys import KEY_COLUMNS, KeyFilter
from mainstay.platform.identity.organisations import Tenant
from mainstay.platform.identity.visibility import Visibility

_PATH = "/admin/v1/keys"
_ONE = _PATH + "/{key}"
_FILTERS = ("project", "principal", "scope", "revoked")

_OF_ORGANISATION = frozenset({Scope.ADMIN, Scope.SCIM})
"""Scopes of keys that act in the whole organisation, whichever project they are kept in."""


class KeyRoutes:
    """Administration of keys."""

    def __init__(
        self,
        writing: KeyWriting,
        giving: Giving,
        visibility: Visibility,
        *,
        authority: Authority,
        idempotency: Idempotency,
    ) -> None:
        self._writing = writing
        self._keys = writing.keys
        self._giving = giving
        self._visibility = visibility
        self._authority = authority
        self._idempotency = idempotency

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        yield Route(
            method="GET",
            path=_PATH,
            action=Action.READ_KEYS,
            dialect=dialect,
            handler=self._list,
            summary="The keys; with `revoked=false` those that are not revoked.",
            response=ListOf[KeyObject],
            is_narrowed=True,
            query=("limit", "after", "order", *_FILTERS),
        )
        create, rotate = self._idempotency.of(self._create), self._idempotency.of(self._rotate)
        for method, path, action, handler, summary, request, response in (
            ("POST", _PATH, Action.WRITE_KEYS, create, "Make a key; it is shown this once.", KeyBody, NewKeyObject),
            ("GET", _ONE, Action.READ_KEYS, self._show, "One key.", None, KeyObject),
            ("PATCH", _ONE, Action.WRITE_KEYS, self._update, "Change a key.", KeyPatch, KeyObject),
            ("DELETE", _ONE, Action.WRITE_KEYS, self._revoke, "Revoke a key, for good.", None, Deleted),
            (
                "POST",
                _ONE + "/rotate",
                Action.WRITE_KEYS,
                rotate,
                "Make a key that replaces this one, which stays good for a while.",
                RotateBody,
                NewKeyObject,
            ),
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
        page, asked = page_request(exchange, *_FILTERS)
        wanted = KeyFilter(
            project_id=asked.get("project"),
            principal_id=asked.get("principal"),
            scope=asked.get("scope"),
            is_revoked=flag(asked, "revoked") if "revoked" in asked else None,
        )
        visible = self._visibility.condition(exchange.caller, Action.READ_KEYS, KEY_COLUMNS)
        await show_page(
            exchange, await self._keys.list(exchange.caller.organisation_id, page, wanted, visible=visible), shown
        )

    async def _create(self, exchange: Exchange) -> None:
        body = await read(exchange, KeyBody)
        caller = exchange.caller
        project_id = body.project_id or caller.project_id
        self._authority.authorize(caller, Action.WRITE_KEYS, in_project(project_id))
        self._giving.require_scopes(caller, body.scopes, project_id, principal_id=body.principal_id)
        key, secret = await self._writing.create(
            act_of(exchange), wish_of(body, body.principal_id), Tenant(caller.organisation_id, project_id)
        )
        await show(exchange, shown_once(key, secret), version=key.version, status=201)

    async def _show(self, exchange: Exchange) -> None:
        query(exchange)
        key = await self._found(exchange)
        await show(exchange, shown(key), version=key.version)

    async def _update(self, exchange: Exchange) -> None:
        body = await read(exchange, KeyPatch)
        key = await self._writable(exchange)
        self._giving.require_key(exchange.caller, key)
        changed = await self._writing.update(
            act_of(exchange), key, changes_of(body), expected_version=expected_version(exchange)
        )
        await show(exchange, shown(changed), version=changed.version)

    async def _rotate(self, exchange: Exchange) -> None:
        body = await read(exchange, RotateBody)
        key = await self._writable(exchange)
        self._giving.require_key(exchange.caller, key)
        new, secret = await self._writing.rotate(
            act_of(exchange),
            key,
            overlap_seconds=body.overlap_seconds,
            expires_at_ms=milliseconds(body.expires_at),
            expected_version=expected_version(exchange),
        )
        await show(exchange, shown_once(new, secret), version=new.version, status=201)

    async def _revoke(self, exchange: Exchange) -> None:
        query(exchange)
        key = await self._writable(exchange)
        if key.principal_id is None and not _OF_ORGANISATION.isdisjoint(key.scopes):
            self._authority.authorize(exchange.caller, Action.WRITE_KEYS)
        await self._writing.revoke(act_of(exchange), key, expected_version=expected_version(exchange))
        await show(exchange, Deleted(id=key.id, object="key"))

    async def _writable(self, exchange: Exchange) -> Key:
        key = await self._found(exchange)
        self._authority.authorize(exchange.caller, Action.WRITE_KEYS, in_project(key.project_id))
        return key

    async def _found(self, exchange: Exchange) -> Key:
        """Return the key that is named; in a project where the caller may see none, it does not exist for him."""
        named = exchange.parameters["key"]
        key = await self._keys.get(exchange.caller.organisation_id, named)
        if not self._authority.may(exchange.caller, Action.READ_KEYS, in_project(key.project_id)):
            raise NotFoundError(f"There is no key '{named[:80]}'.")
        return key
