"""Role bindings: who has which role, in the whole organisation or in one project, and until when."""

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Row, Transaction, Value
from mainstay.kit.errors import ConflictError, InvalidRequestError, NotFoundError
from mainstay.kit.ids import new_sortable_id
from mainstay.kit.pages import Page, PageRequest
from mainstay.platform.audit.events import Act, Event, Target
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.change_feed import ChangeKind
from mainstay.platform.identity.names import clean_id
from mainstay.platform.identity.owners import keeping_an_owner, lock_organisation
from mainstay.platform.identity.principals import require_version
from mainstay.platform.identity.role_store import lock_role

_COLUMNS = (
    "id, organisation_id, principal_id, role_id, scope_type, scope_id, expires_at_ms, created_by, created_at_ms, "
    "version"
)
_SELECT = f"SELECT {_COLUMNS} FROM role_bindings WHERE organisation_id = :organisation_id"  # noqa: S608 - constants only
# One that has expired makes room for a new one.
_INSERT = (
    f"INSERT INTO role_bindings ({_COLUMNS}) "  # noqa: S608 - constants only
    "VALUES (:id, :organisation_id, :principal_id, :role_id, :scope_type, :scope_id, :expires_at_ms, :created_by, "
    ":created_at_ms, :version) ON CONFLICT (principal_id, role_id, scope_type, scope_id) DO UPDATE SET "
    "id = excluded.id, expires_at_ms = excluded.expires_at_ms, created_by = excluded.created_by, "
    "created_at_ms = excluded.created_at_ms, version = excluded.version "
    "WHERE role_bindings.expires_at_ms <= excluded.created_at_ms RETURNING id"
)


class BindingScope(StrEnum):
    """Where a role holds; the values are stored."""

    ORGANISATION = "organisation"
    PROJECT = "project"


class StoredBinding(msgspec.Struct, frozen=True, kw_only=True):
    """A role of someone. Times are Unix milliseconds."""

    id: str
    organisation_id: str
    principal_id: str
    role_id: str
    scope_type: BindingScope
    scope_id: str
    expires_at_ms: int | None
    created_by: str
    created_at_ms: int
    version: int

    @property
    def project_id(self) -> str | None:
        """The project that it holds in; None if it holds everywhere."""
        return self.scope_id if self.scope_type is BindingScope.PROJECT else None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBinding:
    """What shall be bound."""

    principal_id: str
    role_id: str
    project_id: str | None = None
    expires_at_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingFilter:
    """Which bindings."""

    principal_id: str | None = None
    role_id: str | None = None
    project_id: str | None = None

    def clause(self) -> str:
        """Return the conditions; `values` belongs to it."""
        conditions = {
            "principal_id": " AND principal_id = :principal_id",
            "role_id": " AND role_id = :role_id",
            "project_id": " AND scope_type = 'project' AND scope_id = :project_id",
        }
        return "".join(text for name, text in conditions.items() if getattr(self, name) is not None)

    def values(self) -> dict[str, Value]:
        """Return the values of the clause's placeholders."""
        wanted = {"principal_id": self.principal_id, "role_id": self.role_id, "project_id": self.project_id}
        return {name: clean_id(value) for name, value in wanted.items() if value is not None}


EVERY_BINDING = BindingFilter()


class Bindings:
    """The role bindings of every organisation; each method keeps to one.

    Whether the caller may give the role is for the caller of these to ask (`Authority.require_covers`).
    """

    def __init__(self, database: Database, acts: Acts, clock: Clock) -> None:
        self._database = database
        self._acts = acts
        self._clock = clock

    async def create(self, act: Act, organisation_id: str, wanted: NewBinding) -> StoredBinding:
        """Bind a role. Raises InvalidRequestError, NotFoundError, or ConflictError if it is bound already."""
        now_ms = self._now_ms()
        require_future(wanted.expires_at_ms, now_ms)
        is_everywhere = wanted.project_id is None
        binding = StoredBinding(
            id=new_sortable_id("binding_"),
            organisation_id=organisation_id,
            principal_id=clean_id(wanted.principal_id),
            role_id=clean_id(wanted.role_id),
            scope_type=BindingScope.ORGANISATION if is_everywhere else BindingScope.PROJECT,
            scope_id=organisation_id if wanted.project_id is None else clean_id(wanted.project_id),
            expires_at_ms=wanted.expires_at_ms,
            created_by=act.actor.id,
            created_at_ms=now_ms,
            version=1,
        )
        async with self._database.transaction() as transaction:
            await lock_organisation(transaction, organisation_id)
            await require_principal(transaction, organisation_id, binding.principal_id)
            if binding.project_id is not None:
                await require_project(transaction, organisation_id, binding.project_id)
            role = await lock_role(transaction, organisation_id, binding.role_id)
            if not await transaction.fetch(_INSERT, _values(binding)):
                raise ConflictError(
                    f"'{binding.principal_id}' has the role '{role}' there already; change until when instead.",
                    code="already_exists",
                )
            await self._record(transaction, act, binding, Event(action="binding.created", details=_details(binding)))
        return binding

    async def get(self, organisation_id: str, binding_id: str) -> StoredBinding:
        """Return one binding. Raises NotFoundError, also for another organisation's."""
        rows = await self._database.fetch(f"{_SELECT} AND id = :id", _named(organisation_id, binding_id))
        if not rows:
            raise _unknown(binding_id)
        return _binding(rows[0])

    async def list(
        self, organisation_id: str, page: PageRequest, chosen: BindingFilter = EVERY_BINDING
    ) -> Page[StoredBinding]:
        """Return a page of the bindings, expired ones too."""
        rows = await self._database.fetch(
            _SELECT + chosen.clause() + page.clause(),
            {"organisation_id": organisation_id, **chosen.values(), **page.values()},
        )
        return page.cut(rows, _binding)

    async def prolong(
        self,
        act: Act,
        organisation_id: str,
        binding_id: str,
        expires_at_ms: int | None,
        *,
        expected_version: int | None = None,
    ) -> StoredBinding:
        """Let a binding end at another time, or never. Raises as `delete` does, and InvalidRequestError."""
        now_ms = self._now_ms()
        require_future(expires_at_ms, now_ms)
        async with self._database.transaction() as transaction:
            # There must be an owner still when this one has ceased to be one.
            async with keeping_an_owner(transaction, organisation_id, expires_at_ms or now_ms):
                before = await _locked(transaction, organisation_id, binding_id, expected_version)
                after = msgspec.structs.replace(before, expires_at_ms=expires_at_ms, version=before.version + 1)
                await transaction.execute(
                    "UPDATE role_bindings SET expires_at_ms = :expires_at_ms, version = :version WHERE id = :id",
                    {"expires_at_ms": expires_at_ms, "version": after.version, "id": after.id},
                )
            changed = {"expires_at_ms": [before.expires_at_ms, expires_at_ms]}
            event = Event(action="binding.updated", changed=changed, details=_details(after))
            await self._record(transaction, act, after, event)
        return after

    async def delete(
        self, act: Act, organisation_id: str, binding_id: str, *, expected_version: int | None = None
    ) -> None:
        """Take a role away. Raises NotFoundError, VersionMismatchError, or ConflictError for the last owner's."""
        async with self._database.transaction() as transaction:
            async with keeping_an_owner(transaction, organisation_id, self._now_ms()):
                binding = await _locked(transaction, organisation_id, binding_id, expected_version)
                await transaction.execute("DELETE FROM role_bindings WHERE id = :id", {"id": binding.id})
            await self._record(transaction, act, binding, Event(action="binding.deleted", details=_details(binding)))

    async def _record(self, transaction: Transaction, act: Act, binding: StoredBinding, event: Event) -> None:
        event = msgspec.structs.replace(event, target=Target(type="binding", id=binding.id))
        await self._acts.record(
            transaction,
            act,
            binding.organisation_id,
            events=[event],
            changes=[(ChangeKind.BINDINGS, binding.principal_id)],
        )

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)


def require_future(expires_at_ms: int | None, now_ms: int) -> None:
    """Raise InvalidRequestError for a time that is over."""
    if expires_at_ms is not None and expires_at_ms <= now_ms:
        raise InvalidRequestError("This would have expired already; choose a time to come.", param="expires_at")


async def require_principal(transaction: Transaction, organisation_id: str, principal_id: str) -> None:
    """Raise NotFoundError unless the organisation has such a user, group or service account."""
    rows = await transaction.fetch(
        "SELECT 1 FROM principals WHERE organisation_id = :organisation_id AND id = :id",
        _named(organisation_id, principal_id),
    )
    if not rows:
        raise NotFoundError(f"There is no user, group or service account '{principal_id[:80]}'.", param="principal_id")


async def require_project(transaction: Transaction, organisation_id: str, project_id: str) -> None:
    """Raise NotFoundError unless the organisation has such a project."""
    rows = await transaction.fetch(
        "SELECT 1 FROM projects WHERE organisation_id = :organisation_id AND id = :id",
        _named(organisation_id, project_id),
    )
    if not rows:
        raise NotFoundError(f"There is no project '{project_id[:80]}'.", param="project_id")


async def _locked(
    transaction: Transaction, organisation_id: str, binding_id: str, expected_version: int | None
) -> StoredBinding:
    rows = await transaction.fetch(
        "UPDATE role_bindings SET version = version "  # noqa: S608 - constants only
        f"WHERE organisation_id = :organisation_id AND id = :id RETURNING {_COLUMNS}",
        _named(organisation_id, binding_id),
    )
    if not rows:
        raise _unknown(binding_id)
    binding = _binding(rows[0])
    require_version(binding.version, expected_version, f"The binding '{binding.id}'")
    return binding


def _details(binding: StoredBinding) -> dict[str, str | int | None]:
    return {
        "principal_id": binding.principal_id,
        "role_id": binding.role_id,
        "scope_type": binding.scope_type.value,
        "scope_id": binding.scope_id,
        "expires_at_ms": binding.expires_at_ms,
    }


def _values(binding: StoredBinding) -> dict[str, Value]:
    values: dict[str, Value] = msgspec.structs.asdict(binding)
    return values | {"scope_type": binding.scope_type.value}


def _binding(row: Row) -> StoredBinding:
    values = dict(zip(StoredBinding.__struct_fields__, row, strict=True))
    return StoredBinding(**values | {"scope_type": BindingScope(values["scope_type"])})


def _named(organisation_id: str, id_: str) -> dict[str, Value]:
    return {"organisation_id": organisation_id, "id": clean_id(id_)}


def _unknown(binding_id: str) -> NotFoundError:
    return NotFoundError(f"There is no role binding '{binding_id[:80]}'.")
