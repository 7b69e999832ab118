"""What organisations have made, in the memory of a worker: rows and credentials, and the deployments made of them."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mainstay.inference import Answer, Failure, InferenceError, Model, Request, Stream
from mainstay.kit.database import Database, DatabaseError, Row, Value
from mainstay.kit.errors import MainstayError
from mainstay.kit.http import Outbound, Pool, PoolLimits, Timeouts
from mainstay.kit.sealing import Sealer
from mainstay.platform.gateway.dialects.choose import open_model
from mainstay.platform.gateway.provider import Provider, open_pool
from mainstay.platform.gateway.router import Deployment, Router, Target
from mainstay.platform.gateway.stored.deployments import deployment_of
from mainstay.platform.gateway.stored.providers import open_credentials, provider_of
from mainstay.platform.gateway.stored.records import (
    Credentials,
    PriceSpec,
    StoredDeployment,
    StoredProvider,
    TargetSpec,
)
from mainstay.platform.identity.change_feed import Changed, ChangeKind
from mainstay.platform.identity.organisations import DEFAULT_ORGANISATION_ID
from mainstay.platform.metering.prices import Price

_LOG = logging.getLogger(__name__)
_IDS_AT_ONCE = 500
_PROVIDERS = (
    "SELECT id, organisation_id, name, kind, base_url, settings, is_enabled, created_at_ms, updated_at_ms, version, "
    "credentials FROM providers"
)
_DEPLOYMENTS = (
    "SELECT id, organisation_id, name, description, targets, prices, is_enabled, created_at_ms, updated_at_ms, version "
    "FROM deployments"
)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A provider that can be called, or why it cannot."""

    stored: StoredProvider
    pool: Pool | None = None
    provider: Provider | None = None
    fault: str = ""
    models: dict[str, Model] = field(default_factory=dict)
    """By their names, those that deployments lead to: made once, since an organisation may have thousands."""

    def model(self, name: str) -> Model:
        """Return one of its models, or what says why there is none."""
        found = self.models.get(name)
        if found is None:
            if self.provider is None or self.pool is None:
                found = UnusableModel(self.stored.name, self.fault)
            else:
                found = open_model(self.provider, name, self.pool)
            self.models[name] = found
        return found


class OrganisationTables:
    """Keeps the router's table of every organisation up to date."""

    kinds = frozenset({ChangeKind.PROVIDER, ChangeKind.DEPLOYMENT})

    def __init__(self, database: Database, sealer: Sealer, router: Router, outbound: Outbound) -> None:
        self._database = database
        self._sealer = sealer
        self._router = router
        self._outbound = outbound
        self._providers: dict[str, _Opened] = {}
        self._deployments: dict[str, StoredDeployment] = {}

    async def reload(self) -> None:
        """Read everything anew. Raises DatabaseError."""
        rows = await self._database.fetch(_PROVIDERS)
        providers = {str(row[0]): await self._open(row) for row in rows}
        deployments = {one.id: one for one in map(deployment_of, await self._database.fetch(_DEPLOYMENTS))}
        self._retire(self._providers, providers)
        self._providers, self._deployments = providers, deployments
        self.rebuild()

    async def apply(self, changed: Changed) -> None:
        """Read again what has changed. Raises DatabaseError."""
        provider_ids = changed.get(ChangeKind.PROVIDER, frozenset())
        deployment_ids = changed.get(ChangeKind.DEPLOYMENT, frozenset())
        providers = {str(row[0]): await self._open(row) for row in await self._rows(_PROVIDERS, provider_ids)}
        deployments = {one.id: one for one in map(deployment_of, await self._rows(_DEPLOYMENTS, deployment_ids))}
        touched = {one.stored.organisation_id for one in providers.values()}
        touched |= {one.organisation_id for one in deployments.values()}
        touched |= {self._providers[id_].stored.organisation_id for id_ in provider_ids if id_ in self._providers}
        touched |= {self._deployments[id_].organisation_id for id_ in deployment_ids if id_ in self._deployments}
        replaced = {id_: self._providers[id_] for id_ in provider_ids if id_ in self._providers}
        self._retire(replaced, providers)
        self._providers = {id_: one for id_, one in self._providers.items() if id_ not in replaced} | providers
        self._deployments = {
            id_: one for id_, one in self._deployments.items() if id_ not in deployment_ids
        } | deployments
        self._build(touched)

    def rebuild(self) -> None:
        """Make every deployment anew, after the installation's own providers or models have changed."""
        organisations = {one.organisation_id for one in self._deployments.values()}
        self._build(organisations | self._router.organisations())

    async def aclose(self) -> None:
        """Close every connection now; open answers break."""
        for one in self._providers.values():
            if one.pool is not None:
                await one.pool.aclose()

    async def _rows(self, statement: str, ids: frozenset[str]) -> list[Row]:
        found: list[Row] = []
        wanted = sorted(ids)
        for start in range(0, len(wanted), _IDS_AT_ONCE):
            values: dict[str, Value] = {
                f"id_{number}": id_ for number, id_ in enumerate(wanted[start : start + _IDS_AT_ONCE])
            }
            names = ", ".join(f":{name}" for name in values)
            found += await self._database.fetch(f"{statement} WHERE id IN ({names})", values)
        return found

    async def _open(self, row: Row) -> _Opened:
        """Open the credentials of a provider; what does not open makes that provider unusable, and nothing else."""
        stored = provider_of(row)
        if not stored.is_enabled:
            return _Opened(stored, fault="is switched off; an administrator of your organisation can switch it on")
        try:
            provider = callable_provider(stored, await open_credentials(self._sealer, stored, row[10]))
            known = self._providers.get(stored.id)
            if known is not None and known.provider == provider:
                return _Opened(stored, known.pool, provider)
            return _Opened(stored, open_guarded_pool(provider, self._outbound), provider)
        except DatabaseError:
            raise
        except MainstayError as error:
            _LOG.error("gateway: Provider '%s' (%s) cannot be used: %s", stored.name, stored.id, error.message)
            return _Opened(stored, fault="cannot be used: its credentials cannot be read; enter them again")

    def _retire(self, old: Mapping[str, _Opened], new: Mapping[str, _Opened]) -> None:
        """Let the open answers of what is replaced end, and keep no connection after them."""
        kept = {id(one.pool) for one in new.values()}
        for one in old.values():
            if one.pool is not None and id(one.pool) not in kept:
                one.pool.retire()

    def _build(self, organisations: Iterable[str]) -> None:
        """Make the tables of some organisations, and swap them in at once."""
        wanted = set(organisations)
        if not wanted:
            return
        providers: dict[str, dict[str, _Opened]] = {}
        for opened in self._providers.values():
            if opened.stored.organisation_id in wanted:
                providers.setdefault(opened.stored.organisation_id, {})[opened.stored.name] = opened
        tables = {id_: self._router.own(id_) for id_ in self._router.organisations() - wanted}
        made: dict[str, dict[str, Deployment]] = {}
        for stored in self._deployments.values():
            if stored.organisation_id in wanted and stored.is_enabled:
                deployment = self._deployment(stored, providers.get(stored.organisation_id, {}))
                made.setdefault(stored.organisation_id, {})[stored.name] = deployment
        self._router.replace_own(tables | made)
        for organisation_id, of_organisation in providers.items():
            _forget_unused(of_organisation.values(), made.get(organisation_id, {}).values())

    def _deployment(self, stored: StoredDeployment, providers: Mapping[str, _Opened]) -> Deployment:
        targets = [self._target(stored, spec, providers) for spec in sorted(stored.targets, key=lambda t: t.priority)]
        usable = [one for one in targets if not isinstance(one.model, UnusableModel)]
        return Deployment(
            stored.name, tuple(usable or targets), price=_price(stored.prices), description=stored.description
        )

    def _target(self, stored: StoredDeployment, spec: TargetSpec, providers: Mapping[str, _Opened]) -> Target:
        opened = providers.get(spec.provider)
        model: Model
        if opened is not None:
            model = opened.model(spec.model)
        elif stored.organisation_id == DEFAULT_ORGANISATION_ID:
            try:
                model = self._router.installed_target(spec.provider, spec.model).model
            except MainstayError as error:
                model = UnusableModel(spec.provider, f"does not have the model '{spec.model}': {error.message}")
        else:
            model = UnusableModel(spec.provider, "does not exist any more; give the deployment another target")
        return Target(spec.provider, spec.model, model, weight=spec.weight, priority=spec.priority)


class UnusableModel:
    """Stands where a target cannot be called, and says why."""

    def __init__(self, provider_name: str, why: str) -> None:
        self._message = f"Provider '{provider_name}' {why}."

    async def answer(self, request: Request) -> Answer:  # noqa: ARG002 - the signature of Model
        """Raise InferenceError."""
        raise self._error()

    async def stream(self, request: Request) -> Stream:  # noqa: ARG002 - the signature of Model
        """Raise InferenceError."""
        raise self._error()

    def _error(self) -> InferenceError:
        return InferenceError(self._message, failure=Failure.MISCONFIGURED, status=503, code="deployment_unavailable")


def _forget_unused(providers: Iterable[_Opened], deployments: Iterable[Deployment]) -> None:
    """Forget the models that no deployment leads to any more."""
    used = {id(target.model) for deployment in deployments for target in deployment.targets}
    for opened in providers:
        for name in [name for name, model in opened.models.items() if id(model) not in used]:
            del opened.models[name]


def callable_provider(stored: StoredProvider, credentials: Credentials) -> Provider:
    """Return the provider as it is called."""
    options = stored.options
    timeouts = options.timeouts
    return Provider(
        name=stored.name,
        kind=stored.kind,
        base_url=stored.base_url,
        api_key=credentials.api_key,
        api_version=options.api_version,
        headers=tuple(sorted(credentials.headers.items())),
        total_seconds=timeouts.total_seconds,
        timeouts=Timeouts(
            connect_seconds=timeouts.connect_seconds,
            first_byte_seconds=timeouts.first_byte_seconds,
            idle_seconds=timeouts.idle_seconds,
        ),
        limits=PoolLimits(max_connections=options.max_connections),
    )


def open_guarded_pool(provider: Provider, outbound: Outbound) -> Pool:
    """Return connections to a provider that are opened only to addresses which may be connected to."""
    return open_pool(
        provider, tls=outbound.tls if provider.base_url.startswith("https:") else None, guard=outbound.guard
    )


def _price(spec: PriceSpec | None) -> Price | None:
    if spec is None:
        return None
    return Price(
        input_per_million=spec.input_per_million,
        output_per_million=spec.output_per_million,
        cached_input_per_million=spec.cached_input_per_million,
        currency=spec.currency,
    )
