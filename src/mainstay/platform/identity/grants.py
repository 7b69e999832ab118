"""Grants: who is viewer, editor or owner of one resource, and until when."""

from dataclasses import dataclass

import msgspec

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Row, Transaction, Value
from mainstay.kit.errors import ConflictError, InvalidRequestError, NotFoundError
from mainstay.kit.ids import new_sortable_id
from mainstay.kit.pages import Page, PageRequest
from mainstay.platform.audit.events import Act, Event, Target
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.bindings import require_future, require_principal, require_project
from mainstay.platform.identity.change_feed import Change, ChangeKind
from mainstay.platform.identity.directory import EVERYONE
from mainstay.platform.identity.grant_levels import LEVELS, Level
from mainstay.platform.identity.names import NAME_LENGTH_MAX, clean_id, is_printable
from mainstay.platform.identity.principals import require_version

_COLUMNS = (
    "id, organisation_id, resource_type, resource_id, principal_id, level, expires_at_ms, created_by, created_at_ms, "
    "version"
)
_SELECT = f"SELECT {_COLUMNS} FROM grants WHERE organisation_id = :organisation_id"  # noqa: S608 - constants only
# One that has expired makes room for a new one.
_INSERT = (
    f"INSERT INTO grants ({_COLUMNS}) "  # noqa: S608 - constants only
    "VALUES (:id, :organisation_id, :resource_type, :resource_id, :principal_id, :level, :expires_at_ms, :created_by, "
    ":created_at_ms, :version) ON CONFLICT (organisation_id, resource_type, resource_id, principal_id) DO UPDATE SET "
    "id = excluded.id, level = excluded.level, expires_at_ms = excluded.expires_at_ms, "
    "created_by = excluded.created_by, created_at_ms = excluded.created_at_ms, version = excluded.version "
    "WHERE grants.expires_at_ms <= excluded.created_at_ms RETURNING id"
)


class StoredGrant(msgspec.Struct, frozen=True, kw_only=True):
    """What someone may do with one resource. Times are Unix milliseconds; an empty principal is everyone."""

    id: str
    organisation_id: str
    resource_type: str
    resource_id: str
    principal_id: str
    level: Level
    expires_at_ms: int | None
    created_by: str
    created_at_ms: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewGrant:
    """What shall be granted, to a principal or to EVERYONE."""

    resource_type: str
    resource_id: str
    principal_id: str
    level: Level
    expires_at_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantFilter:
    """Which grants."""

    resource_type: str | None = None
    resource_id: str | None = None
    principal_id: str | None = None

    def clause(self) -> str:
        """Return the conditions; `values` belongs to it."""
        names = ("resource_type", "resource_id", "principal_id")
        return "".join(f" AND {name} = :{name}" for name in names if getattr(self, name) is not None)

    def values(self) -> dict[str, Value]:
        """Return the values of the clause's placeholders."""
        wanted = {
            "resource_type": self.resource_type,
            "resource_id": self.resource_id,
            "principal_id": self.principal_id,
        }
        return {name: clean_id(value) for name, value in wanted.items() if value is not None}


EVERY_GRANT = GrantFilter()


class Grants:
    """The grants of every organisation; each method keeps to one.

    Whether the caller may share the resource is for the caller of these to ask (`Authority.require_covers`), and
    whether there is such a deployment.
    """

    def __init__(self, database: Database, acts: Acts, clock: Clock) -> None:
        self._database = database
        self._acts = acts
        self._clock = clock

    async def create(self, act: Act, organisation_id: str, wanted: NewGrant) -> StoredGrant:
        """Grant. Raises InvalidRequestError, NotFoundError, or ConflictError if there is a grant already."""
        now_ms = self._now_ms()
        require_future(wanted.expires_at_ms, now_ms)
        grant = StoredGrant(
            id=new_sortable_id("grant_"),
            organisation_id=organisation_id,
            resource_type=wanted.resource_type,
            resource_id=_clean_resource(organisation_id, wanted.resource_type, wanted.resource_id),
            principal_id=clean_id(wanted.principal_id),
            level=wanted.level,
            expires_at_ms=wanted.expires_at_ms,
            created_by=act.actor.id,
            created_at_ms=now_ms,
            version=1,
        )
        async with self._database.transaction() as transaction:
            if grant.principal_id != EVERYONE:
                await require_principal(transaction, organisation_id, grant.principal_id)
            if grant.resource_type == "project":
                await require_project(transaction, organisation_id, grant.resource_id)
            if not await transaction.fetch(_INSERT, _values(grant)):
                raise ConflictError(
                    f"Something is granted to '{grant.principal_id or 'everyone'}' on this {grant.resource_type} "
                    "already; change that grant instead.",
                    code="already_exists",
                )
            await self._record(transaction, act, grant, Event(action="grant.created", details=_details(grant)))
        return grant

    async def get(self, organisation_id: str, grant_id: str) -> StoredGrant:
        """Return one grant. Raises NotFoundError, also for another organisation's."""
        rows = await self._database.fetch(f"{_SELECT} AND id = :id", _named(organisation_id, grant_id))
        if not rows:
            raise _unknown(grant_id)
        return _grant(rows[0])

    async def list(
        self, organisation_id: str, page: PageRequest, chosen: GrantFilter = EVERY_GRANT
    ) -> Page[StoredGrant]:
        """Return a page of the grants, expired ones too."""
        rows = await self._database.fetch(
            _SELECT + chosen.clause() + page.clause(),
            {"organisation_id": organisation_id, **chosen.values(), **page.values()},
        )
        return page.cut(rows, _grant)

    async def update(
        self,
        act: Act,
        organisation_id: str,
        grant_id: str,
        *,
        level: Level,
        expires_at_ms: int | None,
        expected_version: int | None = None,
    ) -> StoredGrant:
        """Grant another level, or until another time. Raises NotFoundError or VersionMismatchError."""
        async with self._database.transaction() as transaction:
            before = await _locked(transaction, organisation_id, grant_id, expected_version)
            if before.expires_at_ms != expires_at_ms:
                require_future(expires_at_ms, self._now_ms())
            after = msgspec.structs.replace(
                before, level=level, expires_at_ms=expires_at_ms, version=before.version + 1
            )
            await transaction.execute(
                "UPDATE grants SET level = :level, expires_at_ms = :expires_at_ms, version = :version WHERE id = :id",
                _values(after),
            )
            changed = {
                name: [getattr(before, name), getattr(after, name)]
                for name in ("level", "expires_at_ms")
                if getattr(before, name) != getattr(after, name)
            }
            event = Event(action="grant.updated", changed=changed, details=_details(after))
            await self._record(transaction, act, after, event)
        return after

    async def delete(
        self, act: Act, organisation_id: str, grant_id: str, *, expected_version: int | None = None
    ) -> None:
        """Take a grant back. Raises NotFoundError or VersionMismatchError."""
        async with self._database.transaction() as transaction:
            grant = await _locked(transaction, organisation_id, grant_id, expected_version)
            await transaction.execute("DELETE FROM grants WHERE id = :id", {"id": grant.id})
            await self._record(transaction, act, grant, Event(action="grant.deleted", details=_details(grant)))

    async def _record(self, transaction: Transaction, act: Act, grant: StoredGrant, event: Event) -> None:
        event = msgspec.structs.replace(event, target=Target(type="grant", id=grant.id))
        await self._acts.record(
            transaction,
            act,
            grant.organisation_id,
            events=[event],
            changes=[(ChangeKind.GRANTS, f"{grant.resource_type}:{grant.resource_id}")],
        )

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)


async def forget_resource(
    transaction: Transaction, organisation_id: str, resource_type: str, resource_id: str
) -> list[Change]:
    """Delete what is granted on a resource that ceases to be, so that one that takes its name is not shared with it.

    Return what views must be told.
    """
    gone = await transaction.execute(
        "DELETE FROM grants WHERE organisation_id = :organisation_id AND resource_type = :type AND resource_id = :id",
        {"organisation_id": organisation_id, "type": resource_type, "id": resource_id},
    )
    return [(ChangeKind.GRANTS, f"{resource_type}:{resource_id}")] if gone else []


def require_grantable(resource_type: str) -> None:
    """Raise InvalidRequestError if nothing can be granted on resources of the type."""
    if resource_type not in LEVELS:
        raise InvalidRequestError(
            f"Nothing can be granted on a '{resource_type[:80]}'; it can be on {', '.join(LEVELS)}.",
            param="resource_type",
        )


def _clean_resource(organisation_id: str, type_: str, id_: str) -> str:
    require_grantable(type_)
    if type_ == "organisation" and id_ != organisation_id:
        raise NotFoundError(f"There is no organisation '{id_[:80]}'.", param="resource_id")
    if not 1 <= len(id_) <= NAME_LENGTH_MAX or not is_printable(id_):
        raise InvalidRequestError(
            f"A resource has an id of 1 to {NAME_LENGTH_MAX} printable characters.", param="resource_id"
        )
    return id_


async def _locked(
    transaction: Transaction, organisation_id: str, grant_id: str, expected_version: int | None
) -> StoredGrant:
    rows = await transaction.fetch(
        "UPDATE grants SET version = version "  # noqa: S608 - constants only
        f"WHERE organisation_id = :organisation_id AND id = :id RETURNING {_COLUMNS}",
        _named(organisation_id, grant_id),
    )
    if not rows:
        raise _unknown(grant_id)
    grant = _grant(rows[0])
    require_version(grant.version, expected_version, f"The grant '{grant.id}'")
    return grant


def _details(grant: StoredGrant) -> dict[str, str | int | None]:
    return {
        "resource_type": grant.resource_type,
        "resource_id": grant.resource_id,
        "principal_id": grant.principal_id or "everyone",
        "level": grant.level.value,
        "expires_at_ms": grant.expires_at_ms,
    }


def _values(grant: StoredGrant) -> dict[str, Value]:
    values: dict[str, Value] = msgspec.structs.asdict(grant)
    return values | {"level": grant.level.value}


def _grant(row: Row) -> StoredGrant:
    values = dict(zip(StoredGrant.__struct_fields__, row, strict=True))
    return StoredGrant(**values | {"level": Level(values["level"])})


def _named(organisation_id: str, id_: str) -> dict[str, Value]:
    return {"organisation_id": organisation_id, "id": clean_id(id_)}


def _unknown(grant_id: str) -> NotFoundError:
    return NotFoundError(f"There is no grant '{grant_id[:80]}'.")
