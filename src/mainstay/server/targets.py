"""From settings to the gateway's table: providers to pools, deployments to targets that can be called."""

from collections.abc import Callable, Mapping

from mainstay.inference import Model
from mainstay.kit.http import Pool, PoolLimits, Timeouts
from mainstay.platform.gateway import (
    LOCAL,
    Deployment,
    Provider,
    ProviderKind,
    Table,
    Target,
    open_model,
    open_pools,
)
from mainstay.platform.metering.prices import Price
from mainstay.settings import Prices as PriceSettings
from mainstay.settings import Provider as ProviderSettings
from mainstay.settings import Settings
from mainstay.settings import Target as TargetSettings

LocalModel = Callable[[str], Model]


def build_table(settings: Settings, *, kept: Mapping[Provider, Pool], local: LocalModel) -> Table:
    """Return the table. Pools of providers that have not changed are kept, with their connections.

    Raises ConfigurationError for a provider whose URL or certificates cannot be used.
    """
    providers = {one.name: _provider(one) for one in settings.providers}
    pools = open_pools(list(providers.values()), kept=kept)

    def target(declared: TargetSettings) -> Target:
        if declared.provider == LOCAL:
            model = local(declared.model)
        else:
            provider = providers[declared.provider]
            model = open_model(provider, declared.model, pools[provider])
        return Target(declared.provider, declared.model, model, weight=declared.weight, priority=declared.priority)

    deployments = {
        one.name: Deployment(
            one.name,
            tuple(target(each) for each in sorted(one.targets, key=lambda t: t.priority)),
            price=price_of(one.prices),
            description=one.description,
        )
        for one in settings.deployments
    }
    # The router takes one step; an alias may lead to another.
    aliases = {alias: found.name for alias in settings.aliases if (found := settings.find_deployment(alias))}
    return Table(deployments=deployments, aliases=aliases, pools=pools, local=local)


def price_of(declared: PriceSettings | None) -> Price | None:
    """Return the price that was declared, if there is one."""
    if declared is None:
        return None
    return Price(
        input_per_million=declared.input_per_million,
        output_per_million=declared.output_per_million,
        cached_input_per_million=declared.cached_input_per_million,
        currency=declared.currency,
    )


def _provider(declared: ProviderSettings) -> Provider:
    timeouts = declared.timeouts
    return Provider(
        name=declared.name,
        kind=ProviderKind(declared.kind),
        base_url=declared.base_url,
        api_key=declared.api_key.reveal() if declared.api_key else None,
        api_version=declared.api_version,
        headers=tuple((name, value.reveal()) for name, value in sorted(declared.headers.items())),
        proxy=declared.proxy.reveal() if declared.proxy else None,
        ca_file=declared.ca_file,
        total_seconds=timeouts.total_seconds,
        timeouts=Timeouts(
            connect_seconds=timeouts.connect_seconds,
            first_byte_seconds=timeouts.first_byte_seconds,
            idle_seconds=timeouts.idle_seconds,
        ),
        limits=PoolLimits(max_connections=declared.max_connections),
    )
