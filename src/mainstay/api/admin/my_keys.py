"""`/admin/v1/my/keys`: people's own keys, which can do what their owners can. Only who has signed in makes them."""

from collections.abc import Iterator

from mainstay.api.admin.giving import in_project
from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.admin.key_objects import (
    KeyObject,
    NewKeyObject,
    OwnKeyBody,
    RotateBody,
    shown,
    shown_once,
    wish_of,
)
from mainstay.api.admin.key_writing import KeyWriting, subject_of
from mainstay.api.admin.requests import act_of, expected_version, page_request, query, read
from mainstay.api.admin.responses import Deleted, ListOf, show, show_page
from mainstay.api.admin.times import milliseconds
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.routes import Route
from mainstay.kit.errors import NotFoundError, PermissionDeniedError
from mainstay.platform.audit.events import ActorType
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.authorize import Authority
from mainstay.platform.identity.caller import Caller
from mainstay.platform.identity.key_rows import Key
from mainstay.platform.identity.keys import KeyFilter
from mainstay.platform.identity.organisations import Tenant
from mainstay.platform.identity.policies import Subject

_PATH = "/admin/v1/my/keys"
_ONE = _PATH + "/{key}"


class MyKeyRoutes:
    """People and their keys."""

    def __init__(self, writing: KeyWriting, authority: Authority, idempotency: Idempotency) -> None:
        self._writing = writing
        self._keys = writing.keys
        self._authority = authority
        self._idempotency = idempotency

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        yield Route(
            method="GET",
            path=_PATH,
            action=Action.SELF,
            dialect=dialect,
            handler=self._list,
            summary="Your own keys.",
            response=ListOf[KeyObject],
            query=("limit", "after", "order"),
        )
        create, rotate = self._idempotency.of(self._create), self._idempotency.of(self._rotate)
        for method, path, handler, summary, request, response in (
            ("POST", _PATH, create, "Make a key of your own; it is shown this once.", OwnKeyBody, NewKeyObject),
            ("POST", _ONE + "/rotate", rotate, "Replace a key of your own.", RotateBody, NewKeyObject),
            ("GET", _ONE, self._show, "One of your own keys.", None, KeyObject),
            ("DELETE", _ONE, self._revoke, "Revoke a key of your own, for good.", None, Deleted),
        ):
            yield Route(
                method=method,
                path=path,
                action=Action.SELF,
                dialect=dialect,
                handler=handler,
                summary=summary,
                request=request,
                response=response,
                status=201 if method == "POST" else 200,
            )

    async def _list(self, exchange: Exchange) -> None:
        page, _ = page_request(exchange)
        wanted = KeyFilter(principal_id=_person(exchange.caller))
        await show_page(exchange, await self._keys.list(exchange.caller.organisation_id, page, wanted), shown)

    async def _create(self, exchange: Exchange) -> None:
        body = await read(exchange, OwnKeyBody)
        caller = exchange.caller
        owner_id = _signed_in(caller)
        project_id = body.project_id or caller.project_id
        _require_own_scopes(caller, body.scopes)
        self._authority.authorize(caller, Action.CALL_MODEL, in_project(project_id))
        self._writing.policy.require_personal(
            Subject(organisation_id=caller.organisation_id, principal_id=owner_id, project_id=project_id)
        )
        key, secret = await self._writing.create(
            act_of(exchange), wish_of(body, owner_id), Tenant(caller.organisation_id, project_id)
        )
        await show(exchange, shown_once(key, secret), version=key.version, status=201)

    async def _show(self, exchange: Exchange) -> None:
        query(exchange)
        key = await self._found(exchange)
        await show(exchange, shown(key), version=key.version)

    async def _rotate(self, exchange: Exchange) -> None:
        body = await read(exchange, RotateBody)
        _signed_in(exchange.caller)
        key = await self._found(exchange)
        _require_own_scopes(exchange.caller, key.scopes)
        self._writing.policy.require_personal(subject_of(key))
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
        key = await self._found(exchange)
        await self._writing.revoke(act_of(exchange), key, expected_version=expected_version(exchange))
        await show(exchange, Deleted(id=key.id, object="key"))

    async def _found(self, exchange: Exchange) -> Key:
        named = exchange.parameters["key"]
        key = await self._keys.get(exchange.caller.organisation_id, named)
        if key.principal_id != _person(exchange.caller):
            raise NotFoundError(f"You have no key '{named[:80]}'.")
        return key


def _person(caller: Caller) -> str:
    """Return the id of the person who asks. Raises PermissionDeniedError if it is none."""
    if caller.actor_type is not ActorType.USER or caller.principal_id is None:
        raise PermissionDeniedError("Only people have keys of their own; administrators' keys are at /admin/v1/keys.")
    return caller.principal_id


def _signed_in(caller: Caller) -> str:
    """Return the id of the person, who has signed in: from a key that leaked, no other key can be made."""
    if caller.key_id.startswith("key_"):
        raise PermissionDeniedError("A key cannot make keys; sign in to make one.")
    return _person(caller)


def _require_own_scopes(caller: Caller, scopes: tuple[str, ...]) -> None:
    missing = sorted(set(scopes) - caller.scopes)
    if missing:
        raise PermissionDeniedError(f"Your sign-in does not have the scope '{missing[0][:40]}', so your key cannot.")
