"""`GET /models`: the deployments that the caller may use, as models."""

from collections.abc import Callable, Iterator

import msgspec

from mainstay.api.exchange import Exchange
from mainstay.api.model_calls import require_api_version
from mainstay.platform.gateway.router import Router, Target, unknown_deployment
from mainstay.protocol.models import Capabilities, Model, ModelList

Abilities = Callable[[Target], Capabilities | None]
"""What a target can be asked for; None where only the vendor knows."""


class ModelLists:
    """Lists deployments and aliases; a key that is limited to some sees only those."""

    def __init__(self, router: Router, abilities: Abilities, *, created: int) -> None:
        self._router = router
        self._abilities = abilities
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
        allowed = exchange.caller.deployments
        organisation_id = exchange.caller.organisation_id
        for name in self._router.names(organisation_id):
            if allowed is None or name in allowed:
                yield self._model(name, self._router.resolve(name, organisation_id).target)

    def _model(self, name: str, target: Target) -> Model:
        return Model(
            id=name,
            created=self._created,
            owned_by=target.provider,
            model=target.model_name,
            capabilities=self._abilities(target) or msgspec.UNSET,
        )
