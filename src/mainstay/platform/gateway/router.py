"""Names that callers use, and what answers behind them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mainstay.inference import Answer, Model, Request, Stream
from mainstay.kit.errors import NotFoundError
from mainstay.kit.http import Pool
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


@dataclass(frozen=True, slots=True)
class Deployment:
    """A name with the targets behind it. It is a model itself, and the one place that chooses among them."""

    name: str
    targets: tuple[Target, ...]
    price: Price | None = None
    """What its tokens cost, if that is known."""

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


@dataclass(frozen=True, slots=True)
class Table:
    """Everything that a router knows at one moment; replaced as a whole."""

    deployments: Mapping[str, Deployment] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other names, each for the name of a deployment."""
    pools: Mapping[Provider, Pool] = field(default_factory=dict)


class Router:
    """Finds the deployment that a caller names."""

    def __init__(self, table: Table | None = None) -> None:
        self._table = table or Table()

    @property
    def pools(self) -> Mapping[Provider, Pool]:
        """The pools in use, for the next table to keep."""
        return self._table.pools

    def resolve(self, name: str) -> Deployment:
        """Return the deployment of that name or alias. Raises NotFoundError."""
        table = self._table
        deployment = table.deployments.get(name) or table.deployments.get(table.aliases.get(name, ""))
        if deployment is None:
            raise unknown_deployment(name)
        return deployment

    def names(self) -> list[str]:
        """Return the names of all deployments and aliases, sorted."""
        return sorted({*self._table.deployments, *self._table.aliases})

    def replace(self, table: Table) -> None:
        """Use another table from now on.

        Calls under way end on the old one: pools that the new table does not keep close only after their answers.
        """
        replaced, self._table = self._table, table
        kept = set(table.pools.values())
        for pool in replaced.pools.values():
            if pool not in kept:
                pool.retire()

    async def aclose(self) -> None:
        """Close every pool now; open answers break."""
        for pool in self._table.pools.values():
            await pool.aclose()


def unknown_deployment(name: str) -> NotFoundError:
    """Return the error for a name that no deployment has, or none that the caller may know of."""
    shown = name if len(name) <= 100 else name[:100] + "..."
    message = f"The model `{shown}` does not exist here; run `mainstay deployments list` to see which do."
    return NotFoundError(message, code="model_not_found")
