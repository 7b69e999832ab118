"""The store of deployments: an organisation's own names for models at its providers."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Row, Transaction, Value
from mainstay.kit.errors import ConflictError, InvalidRequestError, MainstayError, NotFoundError, VersionMismatchError
from mainstay.kit.ids import new_sortable_id
from mainstay.kit.pages import Page, PageRequest
from mainstay.platform.audit.events import Act, Event, Target
from mainstay.platform.gateway import router
from mainstay.platform.gateway.stored.records import (
    DeploymentChanges,
    NewDeployment,
    PriceSpec,
    StoredDeployment,
    TargetSpec,
    wanted_of,
)
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.change_feed import Change, ChangeKind
from mainstay.platform.identity.grants import forget_resource
from mainstay.platform.identity.names import clean_id
from mainstay.platform.identity.organisations import DEFAULT_ORGANISATION_ID

DEPLOYMENTS_MAX = 5000
"""Of one organisation: every worker keeps all of them in memory."""

InstalledTarget = Callable[[str, str], router.Target]
"""Returns a model that runs here or at a provider of mainstay.toml. Raises MainstayError if there is none."""

_COLUMNS = "id, organisation_id, name, description, targets, prices, is_enabled, created_at_ms, updated_at_ms, version"
_OF = "organisation_id = :organisation_id"
_SELECT = f"SELECT {_COLUMNS} FROM deployments WHERE {_OF}"  # noqa: S608 - constants only
_INSERT = (
    f"INSERT INTO deployments ({_COLUMNS}) "  # noqa: S608 - constants only
    "VALUES (:id, :organisation_id, :name, :description, :targets, :prices, :is_enabled, :created_at_ms, "
    ":updated_at_ms, :version) ON CONFLICT (organisation_id, name) DO NOTHING RETURNING id"
)
_UPDATE = (
    "UPDATE deployments SET description = :description, targets = :targets, prices = :prices, "  # noqa: S608 - constants only
    "is_enabled = :is_enabled, updated_at_ms = :updated_at_ms, version = :version "
    f"WHERE {_OF} AND id = :id AND version = :before"
)


class Deployments:
    """The deployments of every organisation; each method keeps to one.

    What runs on this machine, and the providers of mainstay.toml, belong to the organisation that the installation
    began with: no other may make deployments of them, since their cost is not its own.
    """

    def __init__(self, database: Database, acts: Acts, clock: Clock, *, installed_target: InstalledTarget) -> None:
        self._database = database
        self._acts = acts
        self._clock = clock
        self._installed_target = installed_target

    async def create(self, act: Act, organisation_id: str, wanted: NewDeployment) -> StoredDeployment:
        """Make a deployment.

        Raises InvalidRequestError for a target that is not there, or ConflictError: the name is taken, or there are
        too many.
        """
        now_ms = self._now_ms()
        deployment = StoredDeployment(
            id=new_sortable_id("dep_"),
            organisation_id=organisation_id,
            name=wanted.name,
            description=wanted.description,
            targets=wanted.targets,
            prices=wanted.prices,
            is_enabled=wanted.is_enabled,
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
            version=1,
        )
        async with self._database.transaction() as transaction:
            await self._check_targets(transaction, organisation_id, wanted.targets)
            await _require_room(transaction, organisation_id)
            if not await transaction.fetch(_INSERT, _values(deployment)):
                raise ConflictError(f"There is a deployment '{deployment.name}' already; choose another name.")
            details = {"targets": msgspec.to_builtins(deployment.targets)}
            await self._record(transaction, act, deployment, Event(action="deployment.created", details=details))
        return deployment

    async def get(self, organisation_id: str, deployment_id: str) -> StoredDeployment:
        """Return one deployment. Raises NotFoundError, also for another organisation's."""
        rows = await self._database.fetch(f"{_SELECT} AND id = :id", _named(organisation_id, deployment_id))
        if not rows:
            raise no_deployment(deployment_id)
        return deployment_of(rows[0])

    async def list(self, organisation_id: str, page: PageRequest, *, name: str | None = None) -> Page[StoredDeployment]:
        """Return a page of the deployments."""
        values: dict[str, Value] = {"organisation_id": organisation_id, **page.values()}
        condition = ""
        if name is not None:
            condition, values["name"] = " AND name = :name", clean_id(name)
        return page.cut(await self._database.fetch(_SELECT + condition + page.clause(), values), deployment_of)

    async def update(
        self,
        act: Act,
        organisation_id: str,
        deployment_id: str,
        changes: DeploymentChanges,
        *,
        expected_version: int | None = None,
    ) -> StoredDeployment:
        """Change a deployment. Raises as `create` does, or NotFoundError, VersionMismatchError."""
        wanted = wanted_of(changes)
        while True:
            before = await self.get(organisation_id, deployment_id)
            if expected_version not in (None, before.version):
                raise _changed_meanwhile(before)
            changed = {name: value for name, value in wanted.items() if getattr(before, name) != value}
            if not changed:
                return before
            after = msgspec.structs.replace(before, **changed, updated_at_ms=self._now_ms(), version=before.version + 1)
            if await self._write(act, before, after):
                return after

    async def delete(
        self, act: Act, organisation_id: str, deployment_id: str, *, expected_version: int | None = None
    ) -> None:
        """Delete a deployment. Raises NotFoundError and VersionMismatchError."""
        async with self._database.transaction() as transaction:
            named = _named(organisation_id, deployment_id)
            rows = await transaction.fetch(f"{_SELECT} AND id = :id", named)
            if not rows:
                raise no_deployment(deployment_id)
            deployment = deployment_of(rows[0])
            if expected_version not in (None, deployment.version):
                raise _changed_meanwhile(deployment)
            await transaction.execute(f"DELETE FROM deployments WHERE {_OF} AND id = :id", named)  # noqa: S608 - constants only
            changes = await forget_resource(transaction, organisation_id, "deployment", deployment.name)
            await self._record(transaction, act, deployment, Event(action="deployment.deleted"), changes=changes)

    async def _write(self, act: Act, before: StoredDeployment, after: StoredDeployment) -> bool:
        """Say whether the deployment was still what it was `before`, and is `after` now."""
        async with self._database.transaction() as transaction:
            if after.targets != before.targets:
                await self._check_targets(transaction, after.organisation_id, after.targets)
            if not await transaction.execute(_UPDATE, _values(after) | {"before": before.version}):
                return False
            old, new = msgspec.to_builtins(before), msgspec.to_builtins(after)
            shown = {name: [old[name], new[name]] for name in DeploymentChanges.__struct_fields__}
            changed = {name: pair for name, pair in shown.items() if pair[0] != pair[1]}
            await self._record(transaction, act, after, Event(action="deployment.updated", changed=changed))
        return True

    async def _check_targets(
        self, transaction: Transaction, organisation_id: str, targets: tuple[TargetSpec, ...]
    ) -> None:
        rows = await transaction.fetch(
            f"SELECT name FROM providers WHERE {_OF}",  # noqa: S608 - constants only
            {"organisation_id": organisation_id},
        )
        own = {str(name) for (name,) in rows}
        for number, target in enumerate(targets):
            if target.provider in own:
                continue
            param = f"targets[{number}].provider"
            if organisation_id != DEFAULT_ORGANISATION_ID:
                known = ", ".join(sorted(own)[:10]) or "none yet"
                message = f"Your organisation has no provider '{target.provider}'; it has: {known}."
                raise InvalidRequestError(message, param=param)
            try:
                self._installed_target(target.provider, target.model)
            except MainstayError as error:
                message = f"Target {number + 1} cannot be used: {error.message}"
                raise InvalidRequestError(message, param=param) from error

    async def _record(
        self,
        transaction: Transaction,
        act: Act,
        deployment: StoredDeployment,
        event: Event,
        *,
        changes: Iterable[Change] = (),
    ) -> None:
        target = Target(type="deployment", id=deployment.id, name=deployment.name)
        await self._acts.record(
            transaction,
            act,
            deployment.organisation_id,
            events=[msgspec.structs.replace(event, target=target)],
            changes=[(ChangeKind.DEPLOYMENT, deployment.id), *changes],
        )

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)


def deployment_of(row: Row) -> StoredDeployment:
    """Make a deployment of a row of the columns, in their order."""
    values: dict[str, Any] = dict(zip(StoredDeployment.__struct_fields__, row, strict=True))  # Any: of columns
    values["targets"] = msgspec.json.decode(values["targets"], type=tuple[TargetSpec, ...])
    values["prices"] = values["prices"] and msgspec.json.decode(values["prices"], type=PriceSpec)
    values["is_enabled"] = bool(values["is_enabled"])
    return StoredDeployment(**values)


def no_deployment(deployment_id: str) -> NotFoundError:
    """Return the error for an id that the organisation does not have."""
    return NotFoundError(f"There is no deployment '{deployment_id[:100]}'.")


def _values(deployment: StoredDeployment) -> dict[str, Value]:
    values: dict[str, Any] = msgspec.structs.asdict(deployment)  # Any: values of columns
    prices = None if deployment.prices is None else msgspec.json.encode(deployment.prices).decode()
    return values | {"targets": msgspec.json.encode(deployment.targets).decode(), "prices": prices}


def _named(organisation_id: str, deployment_id: str) -> dict[str, Value]:
    return {"organisation_id": organisation_id, "id": clean_id(deployment_id)}


async def _require_room(transaction: Transaction, organisation_id: str) -> None:
    ((count,),) = await transaction.fetch(
        f"SELECT COUNT(*) FROM deployments WHERE {_OF}",  # noqa: S608 - constants only
        {"organisation_id": organisation_id},
    )
    if count >= DEPLOYMENTS_MAX:
        raise ConflictError(f"There are {count} deployments already, the most of one organisation; delete one first.")


def _changed_meanwhile(deployment: StoredDeployment) -> VersionMismatchError:
    return VersionMismatchError(f"Deployment '{deployment.name}' has changed since you read it; read it again.")
