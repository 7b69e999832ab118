"""An organisation that a test writes down in a few words: the rows, and the directory that has read them."""

import json
from collections.abc import Iterable
from itertools import count

from mainstay.kit.database import Database, Value
from mainstay.platform.identity.authorize import Authority
from mainstay.platform.identity.caller import Caller, Scope
from mainstay.platform.identity.change_feed import Change, ChangeFeed, ChangeKind, note_changes
from mainstay.platform.identity.directory import Directory
from mainstay.testing.clock import StandingClock

HERE = "org_default"
PROJECT = "proj_default"
EVERYTHING = frozenset({Scope.INFERENCE, Scope.ADMIN})


class Town:
    """Rows are written, and the directory told, by `refresh`."""

    def __init__(self, database: Database, clock: StandingClock) -> None:
        self.database = database
        self.clock = clock
        self.directory = Directory(database)
        self.feed = ChangeFeed(database, [self.directory])
        self.authority = Authority(self.directory, clock)
        self._statements: list[tuple[str, dict[str, Value]]] = []
        self._changes: list[Change] = []
        self._numbers = count(1)

    def run(self, statement: str, values: dict[str, Value], *changes: Change) -> None:
        """Have a statement run at the next refresh."""
        self._statements.append((statement, values))
        self._changes += changes

    def insert(self, table: str, values: dict[str, Value], *changes: Change) -> None:
        names = ", ".join(values)
        places = ", ".join(f":{name}" for name in values)
        self.run(f"INSERT INTO {table} ({names}) VALUES ({places})", values, *changes)

    def organisation(self, id_: str, status: str = "active") -> str:
        values: dict[str, Value] = {"id": id_, "name": id_, "created_at_ms": 0, "status": status}
        self.insert("organisations", values, (ChangeKind.ORGANISATION, id_))
        return id_

    def project(self, id_: str, organisation: str = HERE, *, archived: bool = False) -> str:
        values: dict[str, Value] = {"organisation_id": organisation, "id": id_, "name": id_, "created_at_ms": 0}
        values["archived_at_ms"] = 1 if archived else None
        self.insert("projects", values, (ChangeKind.PROJECT, id_))
        return id_

    def user(self, id_: str, organisation: str = HERE, *, status: str = "active", type: str = "user") -> str:
        values: dict[str, Value] = {"id": id_, "organisation_id": organisation, "type": type, "name": id_}
        values |= {"status": status, "created_at_ms": 0, "updated_at_ms": 0, "version": 1}
        self.insert("principals", values, (ChangeKind.PRINCIPAL, id_))
        return id_

    def group(self, id_: str, *members: str, organisation: str = HERE) -> str:
        self.user(id_, organisation, type="group")
        for member in members:
            self.join(id_, member, organisation)
        return id_

    def join(self, group: str, member: str, organisation: str = HERE) -> None:
        values: dict[str, Value] = {"group_id": group, "member_id": member}
        values |= {"organisation_id": organisation, "source": "local"}
        self.insert("group_members", values, (ChangeKind.MEMBERS, member))

    def role(self, id_: str, actions: Iterable[str], organisation: str = HERE) -> str:
        values: dict[str, Value] = {"id": id_, "organisation_id": organisation, "name": id_, "created_at_ms": 0}
        self.insert("roles", values | {"actions": json.dumps(list(actions)), "version": 1}, (ChangeKind.ROLE, id_))
        return id_

    def bind(
        self,
        principal: str,
        role: str,
        project: str | None = None,
        *,
        expires_at: float | None = None,
        organisation: str = HERE,
    ) -> None:
        values: dict[str, Value] = {
            "id": f"binding_{next(self._numbers)}",
            "organisation_id": organisation,
            "principal_id": principal,
            "role_id": role,
            "scope_type": "organisation" if project is None else "project",
            "scope_id": project or organisation,
            "expires_at_ms": None if expires_at is None else int(expires_at * 1000),
            "created_by": "system",
            "created_at_ms": 0,
        }
        self.insert("role_bindings", values, (ChangeKind.BINDINGS, principal))

    def grant(
        self, resource: str, principal: str, level: str, *, expires_at: float | None = None, organisation: str = HERE
    ) -> None:
        type_, _, id_ = resource.partition(":")
        values: dict[str, Value] = {
            "id": f"grant_{next(self._numbers)}",
            "organisation_id": organisation,
            "resource_type": type_,
            "resource_id": id_,
            "principal_id": principal,
            "level": level,
            "expires_at_ms": None if expires_at is None else int(expires_at * 1000),
            "created_by": "system",
            "created_at_ms": 0,
        }
        self.insert("grants", values, (ChangeKind.GRANTS, resource))

    def policy(self, place: str, key: str, value: object, *, locked: bool = False, organisation: str = HERE) -> None:
        type_, _, id_ = place.partition(":")
        values: dict[str, Value] = {
            "id": f"policy_{next(self._numbers)}",
            "organisation_id": organisation,
            "scope_type": type_,
            "scope_id": id_,
            "key": key,
            "value": json.dumps(value),
            "is_locked": locked,
            "created_at_ms": 0,
            "updated_at_ms": 0,
            "version": 1,
        }
        self.insert("policies", values, (ChangeKind.POLICY, place))

    async def refresh(self) -> None:
        """Write down what has been said since, and let the directory read it."""
        statements, self._statements = self._statements, []
        changes, self._changes = self._changes, []
        async with self.database.transaction() as transaction:
            for statement, values in statements:
                await transaction.execute(statement, values)
            await note_changes(transaction, changes)
        await self.feed.refresh()

    async def reread(self) -> Directory:
        """Return a directory that has read everything anew."""
        directory = Directory(self.database)
        await directory.reload()
        return directory


def caller(
    principal: str | None = None,
    *,
    organisation: str = HERE,
    project: str = PROJECT,
    scopes: Iterable[str] = EVERYTHING,
    deployments: Iterable[str] | None = None,
    expires_at: float | None = None,
) -> Caller:
    """A credential, of a principal or of nobody."""
    return Caller(
        key_id=f"key_{principal or project}",
        organisation_id=organisation,
        project_id=project,
        scopes=frozenset(scopes),
        principal_id=principal,
        deployments=None if deployments is None else frozenset(deployments),
        expires_at=expires_at,
    )
