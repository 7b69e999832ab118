"""Who is who, in memory: organisations, projects, principals, groups, role bindings, grants and policies.

What decisions are made from, so that none waits for a database. Equal values are kept once: 100,000 users cost tens
of megabytes. Changes are read first and then taken over in one go, so that nobody sees half of them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from sys import intern
from typing import Any

import msgspec

from mainstay.kit.database import Database, Row
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.change_feed import Changed, ChangeKind
from mainstay.platform.identity.directory_reading import SOURCES, read_all, read_some
from mainstay.platform.identity.roles import BUILT_IN, GIVABLE

ACTIVE = "active"
EVERYONE = ""
"""The principal of a grant that is for everyone in the organisation."""
GROUP = "group"
_CLOSURES_MAX = 50_000


@dataclass(frozen=True, slots=True)
class Principal:
    """A user, group or service account, as far as decisions need to know it."""

    organisation_id: str
    type: str
    is_active: bool


@dataclass(frozen=True, slots=True)
class Role:
    """A role, built in or the organisation's own."""

    id: str
    name: str
    actions: frozenset[Action]


_BUILT_IN = {role.id: Role(role.id, role.name, role.actions) for role in BUILT_IN.values()}


@dataclass(frozen=True, slots=True)
class Binding:
    """A role of someone: in one project, or in the whole organisation when `project_id` is None."""

    role_id: str
    project_id: str | None
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class Grant:
    """What someone, or everyone, may do with one resource: viewer, editor or owner."""

    organisation_id: str
    principal_id: str
    level: str
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class Setting:
    """A policy that is set somewhere."""

    organisation_id: str
    key: str
    value: Any  # JSON of the type that the policy's definition names
    is_locked: bool


@dataclass(slots=True)
class _Memory:
    """Everything, by id. Grants by `type:id` of the resource, policies by `type:id` of the scope."""

    organisations: dict[str, bool] = field(default_factory=dict)
    projects: dict[str, dict[str, bool]] = field(default_factory=dict)  # id -> organisation -> is open
    principals: dict[str, Principal] = field(default_factory=dict)
    roles: dict[str, tuple[str, Role]] = field(default_factory=dict)  # id -> organisation, role
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)  # member -> groups that name it
    bindings: dict[str, tuple[Binding, ...]] = field(default_factory=dict)  # principal -> its bindings
    grants: dict[str, tuple[Grant, ...]] = field(default_factory=dict)
    granted: dict[str, set[str]] = field(default_factory=dict)  # principal -> names of resources
    policies: dict[str, tuple[Setting, ...]] = field(default_factory=dict)
    # One copy of each value that is the same for many.
    shared: dict[Any, Any] = field(default_factory=dict)  # any hashable value -> itself


class Directory:
    """A view of the change feed. Empty, so that nobody may do anything, until it is loaded."""

    kinds = frozenset(SOURCES)

    def __init__(self, database: Database) -> None:
        self._database = database
        self._memory = _Memory()
        self._closures: dict[str, tuple[str, ...]] = {}
        self.generation = 0
        """Raised by every change: what is derived from the directory is good for one generation."""

    async def reload(self) -> None:
        """Read everything anew."""
        memory = _Memory()
        for kind in SOURCES:
            async for rows in read_all(self._database, kind):
                _ADD[kind](memory, rows)
        self._memory = memory
        self._closures.clear()
        self.generation += 1

    async def apply(self, changed: Changed) -> None:
        """Read again what has changed."""
        read = [(kind, ids, await read_some(self._database, kind, ids)) for kind, ids in changed.items()]
        self._forget_closures(changed)
        for kind, ids, rows in read:
            _forget(self._memory, kind, ids)
            _ADD[kind](self._memory, rows)
        self._forget_closures(changed)
        self.generation += 1

    def _forget_closures(self, changed: Changed) -> None:
        """Forget who is in which groups: of those that changed, and of everyone when one of them is a group."""
        for id_ in changed.get(ChangeKind.MEMBERS, frozenset()) | changed.get(ChangeKind.PRINCIPAL, frozenset()):
            known = self._memory.principals.get(id_)
            if known is not None and known.type == GROUP:
                self._closures.clear()
                return
            self._closures.pop(id_, None)

    def organisation_is_active(self, organisation_id: str) -> bool:
        """Whether the organisation exists and is not suspended."""
        return self._memory.organisations.get(organisation_id, False)

    def project_is_open(self, organisation_id: str, project_id: str) -> bool | None:
        """Whether the project is not archived; None if the organisation has no such project."""
        return self._memory.projects.get(project_id, {}).get(organisation_id)

    def project_is_foreign(self, organisation_id: str, project_id: str) -> bool:
        """Whether only other organisations have a project of this id."""
        organisations = self._memory.projects.get(project_id)
        return organisations is not None and organisation_id not in organisations

    def principal(self, principal_id: str) -> Principal | None:
        """Return the principal, whichever organisation it is in."""
        return self._memory.principals.get(principal_id)

    def groups_of(self, principal_id: str) -> tuple[str, ...]:
        """Return all groups that the principal is in, nested ones included."""
        known = self._closures.get(principal_id)
        if known is None:
            if len(self._closures) >= _CLOSURES_MAX:
                self._closures.clear()
            known = self._closures[principal_id] = tuple(self._climb(principal_id))
        return known

    def direct_groups_of(self, principal_id: str) -> tuple[str, ...]:
        """Return the groups that name the principal as a member."""
        return self._memory.groups.get(principal_id, ())

    def bindings_of(self, principal_id: str) -> tuple[Binding, ...]:
        """Return the roles that were bound to just this principal, expired ones too."""
        return self._memory.bindings.get(principal_id, ())

    def role(self, organisation_id: str, role_id: str) -> Role | None:
        """Return a role that the organisation has."""
        built_in = _BUILT_IN.get(role_id)
        if built_in is not None:
            return built_in
        organisation, role = self._memory.roles.get(role_id, (None, None))
        return role if organisation == organisation_id else None

    def grants_on(self, resource: str) -> tuple[Grant, ...]:
        """Return what is granted on `type:id`, by any organisation, expired ones too."""
        return self._memory.grants.get(resource, ())

    def granted_to(self, principal_id: str) -> frozenset[str]:
        """Return the resources, as `type:id`, on which something is granted to just this principal."""
        return frozenset(self._memory.granted.get(principal_id, ()))

    def policy(self, organisation_id: str, scope_type: str, scope_id: str, key: str) -> Setting | None:
        """Return what is set there, if anything is."""
        for one in self._memory.policies.get(f"{scope_type}:{scope_id}", ()):
            if one.key == key and one.organisation_id == organisation_id:
                return one
        return None

    def _climb(self, principal_id: str) -> dict[str, None]:
        principals, above = self._memory.principals, self._memory.groups
        start = principals.get(principal_id)
        if start is None:
            return {}
        found: dict[str, None] = {}
        waiting = list(reversed(above.get(principal_id, ())))
        while waiting:
            group_id = waiting.pop()
            group = principals.get(group_id)
            if group_id in found or group is None or not group.is_active:
                continue
            if group.organisation_id != start.organisation_id:
                continue
            found[group_id] = None
            # What is above a group is worked out once for all of its members.
            known = self._closures.get(group_id) if start.type == GROUP else self.groups_of(group_id)
            if known is None:
                waiting += above.get(group_id, ())
            else:
                found.update(dict.fromkeys(known))
        found.pop(principal_id, None)
        return found


def _forget(memory: _Memory, kind: ChangeKind, ids: Iterable[str]) -> None:
    kept: Mapping[ChangeKind, dict[str, Any]] = {  # Any: they differ in what they hold
        ChangeKind.ORGANISATION: memory.organisations,
        ChangeKind.PROJECT: memory.projects,
        ChangeKind.PRINCIPAL: memory.principals,
        ChangeKind.ROLE: memory.roles,
        ChangeKind.MEMBERS: memory.groups,
        ChangeKind.BINDINGS: memory.bindings,
        ChangeKind.GRANTS: memory.grants,
        ChangeKind.POLICY: memory.policies,
    }
    for id_ in ids:
        gone = kept[kind].pop(id_, ())
        if kind is ChangeKind.GRANTS:
            for grant in gone:
                memory.granted.get(grant.principal_id, set()).discard(id_)


def _add_organisations(memory: _Memory, rows: Iterable[Row]) -> None:
    for id_, status in rows:
        memory.organisations[id_] = status == ACTIVE


def _add_projects(memory: _Memory, rows: Iterable[Row]) -> None:
    for organisation_id, id_, archived_at_ms in rows:
        memory.projects.setdefault(id_, {})[organisation_id] = archived_at_ms is None


def _add_principals(memory: _Memory, rows: Iterable[Row]) -> None:
    for id_, organisation_id, type_, status in rows:
        memory.principals[intern(id_)] = _one(memory, Principal(organisation_id, type_, status == ACTIVE))


def _add_roles(memory: _Memory, rows: Iterable[Row]) -> None:
    for id_, organisation_id, name, actions in rows:
        named = msgspec.json.decode(actions, type=list[str])
        # What a later version wrote and this one does not know, it cannot give.
        known = frozenset(action for action in GIVABLE if action.value in named)
        memory.roles[id_] = (organisation_id, Role(id_, name, known))


def _add_members(memory: _Memory, rows: Iterable[Row]) -> None:
    groups = memory.groups
    for group_id, member_id in rows:
        groups[intern(member_id)] = _one(memory, (*groups.get(member_id, ()), intern(group_id)))


def _add_bindings(memory: _Memory, rows: Iterable[Row]) -> None:
    for _, principal_id, role_id, scope_type, scope_id, expires_at_ms in rows:
        project_id = intern(scope_id) if scope_type == "project" else None
        binding = _one(memory, Binding(role_id, project_id, _seconds(expires_at_ms)))
        memory.bindings[intern(principal_id)] = _one(memory, (*memory.bindings.get(principal_id, ()), binding))


def _add_grants(memory: _Memory, rows: Iterable[Row]) -> None:
    for _, organisation_id, type_, id_, principal_id, level, expires_at_ms in rows:
        name = f"{type_}:{id_}"
        grant = Grant(organisation_id, intern(principal_id), level, _seconds(expires_at_ms))
        memory.grants[name] = (*memory.grants.get(name, ()), grant)
        memory.granted.setdefault(grant.principal_id, set()).add(name)


def _add_policies(memory: _Memory, rows: Iterable[Row]) -> None:
    for _, organisation_id, scope_type, scope_id, key, value, is_locked in rows:
        setting = Setting(organisation_id, key, msgspec.json.decode(value), bool(is_locked))
        name = f"{scope_type}:{scope_id}"
        memory.policies[name] = (*memory.policies.get(name, ()), setting)


_ADD = {
    ChangeKind.ORGANISATION: _add_organisations,
    ChangeKind.PROJECT: _add_projects,
    ChangeKind.PRINCIPAL: _add_principals,
    ChangeKind.ROLE: _add_roles,
    ChangeKind.MEMBERS: _add_members,
    ChangeKind.BINDINGS: _add_bindings,
    ChangeKind.GRANTS: _add_grants,
    ChangeKind.POLICY: _add_policies,
}


def _one(memory: _Memory, value: Any) -> Any:  # any hashable value, returned as it is
    return memory.shared.setdefault(value, value)


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
