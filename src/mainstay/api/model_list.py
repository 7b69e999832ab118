"""`GET /models`: the deployments that the caller may use, as models."""

from collections.abc import Callable, Iterator

import msgspec

from mainstay.api.exchange import Exchange
from mainstay.api.model_calls import require_api_version
from mainstay.platform.gateway.router import Router, Target, unknown_deployment
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.authorize import Authority
from mainstay.protocol.models import Capabilities, Model, ModelList

Abilities = Callable[[Target], Capabilities | None]
"""What a target can be asked for; None where only the vendor knows."""


class ModelLists:
    """Lists deployments and aliases: those that the caller may call, and to an administrator those that exist."""

    def __init__(self, router: Router, abilities: Abilities, authority: Authority, *, created: int) -> None:
        self._router = router
        self._abilities = abilities
        self._authority = authority
        self._created = created

    async def list(self, exchange: Exchange) -> None:
        """All of them."""
        models = ModelList(data=list(self._visible(exchange)))
        await exchange.respond(200, msgspec.json.encode(models))

    async def list_classic(self, exchange: Exchange) -> None:
        """The same behind Azure's classic URL."""
        require_api_version(exchange)
        await self.list(exchange)

    async def show(self, exchange: Exchange) -> None:
        """One of them."""
        name = exchange.parameters["model"]
        for model in self._visible(exchange):
            if model.id == name:
                await exchange.respond(200, msgspec.json.encode(model))
                return
        raise unknown_deployment(name)

    def _visible(self, exchange: Exchange) -> Iterator[Model]:
        caller = exchange.caller
        may_use = self._authority.may_use
        allowed = self._authority.deployments_allowed(caller)
        is_administrator = Action.READ_DEPLOYMENTS in self._authority.actions_of(caller)
        for name in self._router.names(caller.organisation_id):
            if may_use(caller, name) or (is_administrator and name in allowed):
                yield self._model(name, self._router.resolve(name, caller.organisation_id).target)

    def _model(self, name: str, target: Target) -> Model:
        return Model(
            id=name,
            created=self._created,
            owned_by=target.provider,
            model=target.model_name,
            capabilities=self._abilities(target) or msgspec.UNSET,
        )
