"""Names that callers use, and what answers behind them: an organisation's own, then those of the installation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mainstay.inference import Answer, Model, Request, Stream
from mainstay.kit.errors import NotFoundError
from mainstay.kit.http import Pool
from mainstay.platform.gateway.dialects.choose import open_model
from mainstay.platform.gateway.provider import Provider
from mainstay.platform.metering.prices import Price

LOCAL = "local"
"""The provider of a target that is an engine here."""


@dataclass(frozen=True, slots=True)
class Target:
    """One model at one provider, or in an engine here."""

    provider: str
    model_name: str
    model: Model
    weight: int = 1
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Deployment:
    """A name with the targets behind it. It is a model itself, and the one place that chooses among them."""

    name: str
    targets: tuple[Target, ...]
    price: Price | None = None
    """What its tokens cost, if that is known."""
    description: str = ""

    @property
    def target(self) -> Target:
        """The target that answers."""
        return self.targets[0]

    async def answer(self, request: Request) -> Answer:
        """Answer in one piece. Raises InferenceError."""
        return await self.target.model.answer(request)

    async def stream(self, request: Request) -> Stream:
        """Return once the target has accepted the call. Raises InferenceError."""
        return await self.target.model.stream(request)


def no_local_models(model_id: str) -> Model:
    """Know no model that runs here."""
    raise NotFoundError(f"No model runs here, '{model_id}' neither.")


@dataclass(frozen=True, slots=True)
class Table:
    """Everything that the installation offers at one moment; replaced as a whole."""

    deployments: Mapping[str, Deployment] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other names, each for the name of a deployment."""
    pools: Mapping[Provider, Pool] = field(default_factory=dict)
    local: Callable[[str], Model] = no_local_models
    """Opens a model that runs here. Raises NotFoundError if there is none of that id."""


class Router:
    """Finds the deployment that a caller names; nobody reaches another organisation's."""

    def __init__(self, table: Table | None = None) -> None:
        self._table = table or Table()
        self._own: Mapping[str, Mapping[str, Deployment]] = {}

    @property
    def table(self) -> Table:
        """What the installation offers to everybody."""
        return self._table

    @property
    def pools(self) -> Mapping[Provider, Pool]:
        """The pools in use, for the next table to keep."""
        return self._table.pools

    def resolve(self, name: str, organisation_id: str) -> Deployment:
        """Return the deployment of that name or alias. Raises NotFoundError."""
        own = self._own.get(organisation_id)
        table = self._table
        deployment = (
            (own and own.get(name)) or table.deployments.get(name) or table.deployments.get(table.aliases.get(name, ""))
        )
        if not deployment:
            raise unknown_deployment(name)
        return deployment

    def names(self, organisation_id: str) -> list[str]:
        """Return the names of all deployments and aliases that an organisation has, sorted."""
        own = self._own.get(organisation_id, {})
        return sorted({*own, *self._table.deployments, *self._table.aliases})

    def currencies(self, organisation_id: str) -> list[str]:
        """Return the currencies in which deployments have prices that an organisation can call, sorted."""
        seen = {**self._table.deployments, **self._own.get(organisation_id, {})}
        return sorted({one.price.currency for one in seen.values() if one.price is not None})

    def organisations(self) -> set[str]:
        """Return the organisations that have deployments of their own."""
        return set(self._own)

    def own(self, organisation_id: str) -> Mapping[str, Deployment]:
        """Return the deployments that are an organisation's alone, by name."""
        return self._own.get(organisation_id, {})

    def installed_target(self, provider_name: str, model_name: str) -> Target:
        """Return a model that runs here, or one at a provider of the installation.

        Raises NotFoundError if there is no such thing, and ConfigurationError if it cannot be used.
        """
        if provider_name == LOCAL:
            return Target(LOCAL, model_name, self._table.local(model_name))
        for provider, pool in self._table.pools.items():
            if provider.name == provider_name:
                return Target(provider_name, model_name, open_model(provider, model_name, pool))
        raise NotFoundError(f"There is no provider '{provider_name}' in mainstay.toml.")

    def replace(self, table: Table) -> None:
        """Use another table from now on.

        Calls under way end on the old one: pools that the new table does not keep close only after their answers.
        """
        replaced, self._table = self._table, table
        kept = set(table.pools.values())
        for pool in replaced.pools.values():
            if pool not in kept:
                pool.retire()

    def replace_own(self, deployments: Mapping[str, Mapping[str, Deployment]]) -> None:
        """Use other deployments of organisations from now on: by organisation, then by name."""
        self._own = deployments

    async def aclose(self) -> None:
        """Close every pool now; open answers break."""
        for pool in self._table.pools.values():
            await pool.aclose()


def unknown_deployment(name: str) -> NotFoundError:
    """Return the error for a name that no deployment has, or none that the caller may know of."""
    shown = name if len(name) <= 100 else name[:100] + "..."
    message = f"The model `{shown}` does not exist here; run `mainstay deployments list` to see which do."
    return NotFoundError(message, code="model_not_found")
