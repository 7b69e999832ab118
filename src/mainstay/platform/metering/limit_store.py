"""Limits that administrators set: requests and tokens per minute, for all that a scope does together."""

from typing import Final

import msgspec

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Row, Transaction, Value
from mainstay.kit.errors import ConflictError, InvalidRequestError, NotFoundError
from mainstay.kit.ids import new_sortable_id
from mainstay.kit.pages import Page, PageRequest
from mainstay.platform.audit.events import Act, Event, Target
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.change_feed import ChangeKind
from mainstay.platform.identity.principals import require_version
from mainstay.platform.metering.scope_refs import ScopeRef, ScopeType, require_scope, scope_filter

PER_MINUTE_MAX: Final = 10**12

_COLUMNS = "id, scope_type, scope_id, requests_per_minute, tokens_per_minute, created_at_ms, version"
_SELECT = f"SELECT {_COLUMNS} FROM limits WHERE organisation_id = :organisation_id"  # noqa: S608 - constants only
_INSERT = (
    f"INSERT INTO limits (organisation_id, {_COLUMNS}) VALUES (:organisation_id, :id, :scope_type, :scope_id, "  # noqa: S608 - constants only
    ":requests_per_minute, :tokens_per_minute, :created_at_ms, 1) "
    "ON CONFLICT (organisation_id, scope_type, scope_id) DO NOTHING RETURNING id"
)
# Raising the version locks the row until the commit: what is read then is what is changed.
_TAKE = (
    "UPDATE limits SET version = version + 1 WHERE organisation_id = :organisation_id AND id = :id "  # noqa: S608 - constants only
    f"RETURNING {_COLUMNS}"
)
_UPDATE = (
    "UPDATE limits SET requests_per_minute = :requests_per_minute, tokens_per_minute = :tokens_per_minute "
    "WHERE organisation_id = :organisation_id AND id = :id"
)
_DELETE = "DELETE FROM limits WHERE organisation_id = :organisation_id AND id = :id"


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """What one scope may do in a minute; None is no limit, 0 lets nothing pass."""

    id: str
    scope: ScopeRef
    requests_per_minute: int | None
    tokens_per_minute: int | None
    created_at_ms: int
    version: int


class Limits:
    """The limits of one database."""

    def __init__(self, database: Database, acts: Acts, clock: Clock) -> None:
        self._database = database
        self._acts = acts
        self._clock = clock

    async def create(
        self,
        act: Act,
        organisation_id: str,
        scope: ScopeRef,
        *,
        requests_per_minute: int | None,
        tokens_per_minute: int | None,
    ) -> Limit:
        """Limit a scope. Raises NotFoundError, InvalidRequestError, or ConflictError if it has a limit."""
        limit = Limit(
            id=new_sortable_id("limit_"),
            scope=scope,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            created_at_ms=int(self._clock.wall() * 1000),
            version=1,
        )
        _check(limit)
        async with self._database.transaction() as transaction:
            await require_scope(transaction, organisation_id, scope)
            if not await transaction.fetch(_INSERT, _values(limit, organisation_id)):
                raise ConflictError(f"The {scope.type.value} '{scope.id}' has a limit already; change that one.")
            await self._record(transaction, act, organisation_id, _set_event(None, limit))
        return limit

    async def list(
        self,
        organisation_id: str,
        page: PageRequest,
        *,
        scope_type: ScopeType | None = None,
        scope_id: str | None = None,
    ) -> Page[Limit]:
        """Return a page of the limits, of one type or one scope only if that is asked for."""
        where, values = scope_filter(scope_type, scope_id)
        rows = await self._database.fetch(
            _SELECT + where + page.clause(), {"organisation_id": organisation_id, **values, **page.values()}
        )
        return page.cut(rows, _limit)

    async def get(self, organisation_id: str, limit_id: str) -> Limit:
        """Return one limit. Raises NotFoundError."""
        rows = await self._database.fetch(f"{_SELECT} AND id = :id", _named(organisation_id, limit_id))
        return _only(rows, limit_id)

    async def update(
        self,
        act: Act,
        organisation_id: str,
        limit_id: str,
        *,
        requests_per_minute: int | msgspec.UnsetType | None = msgspec.UNSET,
        tokens_per_minute: int | msgspec.UnsetType | None = msgspec.UNSET,
        expected_version: int | None = None,
    ) -> Limit:
        """Change what is given. Raises NotFoundError, InvalidRequestError or VersionMismatchError."""
        async with self._database.transaction() as transaction:
            before = await self._take(transaction, organisation_id, limit_id, expected_version)
            given = {"requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute}
            known = {name: value for name, value in given.items() if value is not msgspec.UNSET}
            after = msgspec.structs.replace(before, **known, version=before.version + 1)
            _check(after)
            await transaction.execute(_UPDATE, _values(after, organisation_id))
            await self._record(transaction, act, organisation_id, _set_event(before, after))
        return after

    async def delete(
        self, act: Act, organisation_id: str, limit_id: str, *, expected_version: int | None = None
    ) -> Limit:
        """Lift a limit. Raises NotFoundError or VersionMismatchError."""
        async with self._database.transaction() as transaction:
            limit = await self._take(transaction, organisation_id, limit_id, expected_version)
            await transaction.execute(_DELETE, _named(organisation_id, limit_id))
            event = Event(
                action="limit.removed", target=_target(limit), details={"scope": msgspec.to_builtins(limit.scope)}
            )
            await self._record(transaction, act, organisation_id, event)
        return limit

    async def _take(
        self, transaction: Transaction, organisation_id: str, limit_id: str, expected_version: int | None
    ) -> Limit:
        """Return a limit as it was, with its row locked and its version raised."""
        limit = _only(await transaction.fetch(_TAKE, _named(organisation_id, limit_id)), limit_id)
        limit = msgspec.structs.replace(limit, version=limit.version - 1)
        require_version(limit.version, expected_version, f"The limit '{limit.id}'")
        return limit

    async def _record(self, transaction: Transaction, act: Act, organisation_id: str, event: Event) -> None:
        target = event.target
        changes = [] if target is None else [(ChangeKind.LIMIT, target.id)]
        await self._acts.record(transaction, act, organisation_id, events=[event], changes=changes)


def _check(limit: Limit) -> None:
    if limit.requests_per_minute is None and limit.tokens_per_minute is None:
        raise InvalidRequestError("A limit needs 'requests_per_minute', 'tokens_per_minute' or both.")
    for name in ("requests_per_minute", "tokens_per_minute"):
        value = getattr(limit, name)
        if value is not None and not 0 <= value <= PER_MINUTE_MAX:
            raise InvalidRequestError(f"'{name}' must be between 0 and {PER_MINUTE_MAX}.", param=name)


def _set_event(before: Limit | None, after: Limit) -> Event:
    changed = {
        name: [None if before is None else getattr(before, name), getattr(after, name)]
        for name in ("requests_per_minute", "tokens_per_minute")
        if before is None or getattr(before, name) != getattr(after, name)
    }
    return Event(
        action="limit.set",
        target=_target(after),
        changed=changed,
        details={"scope": msgspec.to_builtins(after.scope)},
    )


def _target(limit: Limit) -> Target:
    return Target(type="limit", id=limit.id)


def _values(limit: Limit, organisation_id: str) -> dict[str, Value]:
    return {
        "organisation_id": organisation_id,
        "id": limit.id,
        "scope_type": limit.scope.type.value,
        "scope_id": limit.scope.id,
        "requests_per_minute": limit.requests_per_minute,
        "tokens_per_minute": limit.tokens_per_minute,
        "created_at_ms": limit.created_at_ms,
    }


def _named(organisation_id: str, limit_id: str) -> dict[str, Value]:
    # PostgreSQL's text cannot hold NUL, so no limit has one in its id.
    return {"organisation_id": organisation_id, "id": limit_id.replace("\x00", "\ufffd")}


def _only(rows: list[Row], limit_id: str) -> Limit:
    if not rows:
        raise NotFoundError(f"There is no limit '{limit_id[:100]}' here; list the limits to see which there are.")
    return _limit(rows[0])


def _limit(row: Row) -> Limit:
    id_, scope_type, scope_id, requests, tokens, created_at_ms, version = row
    return Limit(
        id=id_,
        scope=ScopeRef(type=ScopeType(scope_type), id=scope_id),
        requests_per_minute=requests,
        tokens_per_minute=tokens,
        created_at_ms=created_at_ms,
        version=version,
    )
