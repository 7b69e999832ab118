"""`/admin/v1/deployments`: the names that callers use as models, and what answers to them."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from mainstay.api.admin.declared import declared_id, declared_name, merged, refuse_change
from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.admin.requests import act_of, expected_version, page_request, query, read
from mainstay.api.admin.responses import Deleted, ListOf, show, show_page
from mainstay.api.admin.times import seconds
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.routes import Route
from mainstay.kit.pages import Page
from mainstay.platform.gateway.router import Deployment, Router
from mainstay.platform.gateway.stored.deployments import Deployments, no_deployment
from mainstay.platform.gateway.stored.records import (
    DeploymentChanges,
    NewDeployment,
    PriceSpec,
    StoredDeployment,
    TargetSpec,
)
from mainstay.platform.identity.actions import Action

_PATH = "/admin/v1/deployments"
_ONE = _PATH + "/{deployment}"


class DeploymentObject(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment. `source` is `file` for what the server itself declares, which is changed there alone."""

    id: str
    object: Literal["deployment"] = "deployment"
    name: str
    description: str
    targets: tuple[TargetSpec, ...]
    prices: PriceSpec | None
    aliases: tuple[str, ...] = ()
    is_enabled: bool
    is_hidden: bool = False
    """Whether calls go to a deployment that the organisation has made under the same name."""
    hides: str | None = None
    """The deployment or alias of the server itself that this one takes the place of, for the organisation."""
    source: Literal["api", "file"]
    created_at: int | None = None
    updated_at: int | None = None
    version: int | None = None


class DeploymentRoutes:
    """Administration of deployments."""

    def __init__(self, deployments: Deployments, router: Router, idempotency: Idempotency) -> None:
        self._deployments = deployments
        self._router = router
        self._idempotency = idempotency

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield every route."""
        yield Route(
            method="GET",
            path=_PATH,
            action=Action.READ_DEPLOYMENTS,
            dialect=dialect,
            handler=self._list,
            summary="The deployments, those of the server itself included.",
            response=ListOf[DeploymentObject],
            query=("limit", "after", "order", "name"),
        )
        yield Route(
            method="POST",
            path=_PATH,
            action=Action.WRITE_DEPLOYMENTS,
            dialect=dialect,
            handler=self._idempotency.of(self._create),
            summary="Make a deployment of models at your providers.",
            request=NewDeployment,
            response=DeploymentObject,
            status=201,
        )
        for method, action, handler, summary, request, response in (
            ("GET", Action.READ_DEPLOYMENTS, self._show, "One deployment.", None, DeploymentObject),
            (
                "PATCH",
                Action.WRITE_DEPLOYMENTS,
                self._update,
                "Change a deployment.",
                DeploymentChanges,
                DeploymentObject,
            ),
            ("DELETE", Action.WRITE_DEPLOYMENTS, self._delete, "Delete a deployment.", None, Deleted),
        ):
            yield Route(
                method=method,
                path=_ONE,
                action=action,
                dialect=dialect,
                handler=handler,
                summary=summary,
                request=request,
                response=response,
            )

    async def _list(self, exchange: Exchange) -> None:
        page, filters = page_request(exchange, "name")
        name = filters.get("name")
        organisation_id = exchange.caller.organisation_id
        found = await self._deployments.list(organisation_id, page, name=name)
        stored = Page([self._shown(one) for one in found.items], found.has_more)
        declared = [
            self._declared(one, organisation_id)
            for one in self._router.table.deployments.values()
            if name in (None, one.name)
        ]
        await show_page(exchange, merged(page, stored, declared), lambda one: one)

    async def _create(self, exchange: Exchange) -> None:
        wanted = await read(exchange, NewDeployment)
        deployment = await self._deployments.create(act_of(exchange), exchange.caller.organisation_id, wanted)
        await show(exchange, self._shown(deployment), version=deployment.version, status=201)

    async def _show(self, exchange: Exchange) -> None:
        query(exchange)
        organisation_id = exchange.caller.organisation_id
        declared = self._declared_one(exchange)
        if declared is not None:
            await show(exchange, self._declared(declared, organisation_id))
            return
        deployment = await self._deployments.get(organisation_id, exchange.parameters["deployment"])
        await show(exchange, self._shown(deployment), version=deployment.version)

    async def _update(self, exchange: Exchange) -> None:
        self._refuse_declared(exchange)
        changes = await read(exchange, DeploymentChanges)
        deployment = await self._deployments.update(
            act_of(exchange),
            exchange.caller.organisation_id,
            exchange.parameters["deployment"],
            changes,
            expected_version=expected_version(exchange),
        )
        await show(exchange, self._shown(deployment), version=deployment.version)

    async def _delete(self, exchange: Exchange) -> None:
        self._refuse_declared(exchange)
        deployment_id = exchange.parameters["deployment"]
        await self._deployments.delete(
            act_of(exchange),
            exchange.caller.organisation_id,
            deployment_id,
            expected_version=expected_version(exchange),
        )
        await show(exchange, Deleted(id=deployment_id, object="deployment"))

    def _declared_one(self, exchange: Exchange) -> Deployment | None:
        """Return the declared deployment that is asked for, None if it is none. Raises NotFoundError."""
        id_ = exchange.parameters["deployment"]
        name = declared_name(id_)
        if name is None:
            return None
        found = self._router.table.deployments.get(name)
        if found is None:
            raise no_deployment(id_)
        return found

    def _refuse_declared(self, exchange: Exchange) -> None:
        declared = self._declared_one(exchange)
        if declared is not None:
            raise refuse_change("Deployment", declared.name)

    def _declared(self, deployment: Deployment, organisation_id: str) -> DeploymentObject:
        price = deployment.price
        return DeploymentObject(
            id=declared_id(deployment.name),
            name=deployment.name,
            description=deployment.description,
            targets=tuple(
                TargetSpec(provider=one.provider, model=one.model_name, weight=one.weight, priority=one.priority)
                for one in deployment.targets
            ),
            prices=None
            if price is None
            else PriceSpec(
                input_per_million=price.input_per_million,
                cached_input_per_million=price.cached_input_per_million,
                output_per_million=price.output_per_million,
                currency=price.currency,
            ),
            aliases=tuple(alias for alias, name in self._router.table.aliases.items() if name == deployment.name),
            is_enabled=True,
            is_hidden=deployment.name in self._router.own(organisation_id),
            source="file",
        )

    def _shown(self, deployment: StoredDeployment) -> DeploymentObject:
        return DeploymentObject(
            id=deployment.id,
            name=deployment.name,
            description=deployment.description,
            targets=deployment.targets,
            prices=deployment.prices,
            is_enabled=deployment.is_enabled,
            hides=declared_id(deployment.name)
            if deployment.is_enabled and self._is_declared(deployment.name)
            else None,
            source="api",
            created_at=seconds(deployment.created_at_ms),
            updated_at=seconds(deployment.updated_at_ms),
            version=deployment.version,
        )

    def _is_declared(self, name: str) -> bool:
        table = self._router.table
        return name in table.deployments or name in table.aliases
