"""From settings to objects to one ASGI application: the only place where the parts of a worker meet."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, multiprocess

from mainstay import __version__
from mainstay.api.app import App
from mainstay.api.dialects import AzureDialect, Dialect
from mainstay.api.exchange import Exchange
from mainstay.api.health import Health
from mainstay.api.model_calls import ModelCalls
from mainstay.api.model_list import ModelLists
from mainstay.api.openapi import OpenApi
from mainstay.api.routes import Router as Routes
from mainstay.api.table import Handlers, build_routes
from mainstay.api.usage import UsageReports
from mainstay.kit.database import open_database
from mainstay.migrations import ensure_current
from mainstay.platform.engine.control_endpoints import ControlEndpoints
from mainstay.platform.gateway import Router
from mainstay.platform.gateway.stored.view import OrganisationTables
from mainstay.platform.identity.change_feed import ChangeFeed, View
from mainstay.platform.identity.key_use import KeyUse
from mainstay.platform.identity.keyring import Keyring
from mainstay.platform.metering.journal import Journal
from mainstay.server.administration import Surroundings, build_administration, build_safeguards
from mainstay.server.auditing import build_auditing
from mainstay.server.edge import Ground, build_doors, build_edge, build_ground, with_local_key
from mainstay.server.engines import LocalEngines
from mainstay.server.identity_providers import build_provider_doors
from mainstay.server.local_models import LocalModels
from mainstay.server.metering import Metering, build_metering, open_books
from mainstay.server.readiness import Readiness
from mainstay.server.settling import Settle
from mainstay.server.targets import build_table
from mainstay.serving.account import Accounts
from mainstay.serving.calls import Calls
from mainstay.serving.measures import Measures
from mainstay.settings import Settings

_LOG = logging.getLogger("mainstay.server")
_DRAIN_SECONDS = 10.0
_RESTART_SECONDS = 1.0
_ACCESS = logging.getLogger("mainstay.access")


@dataclass(slots=True)
class Parts:
    """What the worker's loop needs of all that was composed."""

    app: App
    router: Router
    engines: LocalEngines
    readiness: Readiness
    calls: Calls
    metering: Metering
    organisation_tables: OrganisationTables
    settle: Settle

    def reload(self, settings: Settings) -> Settings:
        """Put new deployments, aliases and providers in force; open streams end on the old ones.

        Raises ConfigurationError, with nothing changed.
        """
        self.engines.local = LocalModels.of(settings)  # models may have been pulled or added since
        settings = self.engines.local.complete(settings)
        self.router.replace(build_table(settings, kept=self.router.pools, local=self.engines.model))
        self.organisation_tables.rebuild()  # their deployments may lead to what the file has changed
        self.metering.reload(settings)
        self.calls.log_prompts = settings.logging.log_prompts
        self.readiness.replace(self.engines.local.to_preload(settings))
        return settings


async def compose(
    settings: Settings,
    stack: AsyncExitStack,
    *,
    endpoints: ControlEndpoints,
    local_key: str,
    tell_others: Callable[[], Awaitable[None]],
) -> Parts:
    """Build everything; what must be closed is left to `stack`. Raises ConfigurationError and DatabaseError.

    `tell_others` has all workers, this one too, see what was written.
    """
    ground = await _open_ground(settings, stack)
    database = ground.database
    doors = build_doors(settings, ground)
    stack.callback(doors.passwords.close)
    metering = build_metering(settings, ground)
    safeguards = build_safeguards(settings, ground)
    provider_doors = build_provider_doors(settings, ground, doors, safeguards)

    local = LocalModels.of(settings)
    engines = LocalEngines(local, endpoints, settings.models)
    stack.push_async_callback(engines.aclose)
    settings = local.complete(settings)
    router = Router(build_table(settings, kept={}, local=engines.model))
    stack.push_async_callback(router.aclose)
    tables = OrganisationTables(database, safeguards.vault, router, safeguards.outbound)
    stack.push_async_callback(tables.aclose)

    keyring = Keyring(database, ground.pepper, ground.clock)
    # The directory first: a key that is known but whose owner is not would be refused.
    views: list[View] = [ground.authority.directory, metering.allotments, tables, *doors.views, *provider_doors.views]
    settle = provider_doors.tokens.settle = Settle(ChangeFeed(database, views), keyring, tell_others)
    await settle.refresh()
    await metering.spending.refresh()

    auditing = build_auditing(settings, ground, safeguards)
    stack.push_async_callback(auditing.refusals.drain, _DRAIN_SECONDS)
    readiness = Readiness(endpoints, local.to_preload(settings))
    registry = CollectorRegistry()
    accounts = Accounts(_open_journal(settings, ground, metering, stack), Measures(registry), ground.clock)
    calls = Calls(router, metering.limiter, accounts, allotments=metering.allotments, authority=ground.authority)
    calls.log_prompts = settings.logging.log_prompts
    around = Surroundings(
        ground=ground, safeguards=safeguards, doors=doors, metering=metering, keyring=keyring, router=router
    )
    handlers = Handlers(
        model_calls=ModelCalls(calls),
        model_lists=ModelLists(router, engines.capabilities, ground.authority, created=int(time.time())),
        usage=UsageReports(database, ground.clock),
        health=Health(readiness.waiting_for, _shown_metrics(registry)),
        openapi=OpenApi(__version__),
        groups=(*provider_doors.groups, *build_administration(settings, around), *auditing.groups),
        settle=settle,
    )
    callers, note_refusal = with_local_key(keyring, local_key), auditing.refusals.note
    edge = build_edge(settings, ground, doors, callers=callers, tokens=provider_doors.tokens, note_refusal=note_refusal)
    settle.on_change(edge.live_calls.notice)
    app = App(_routes(settings, handlers), edge, body_limit=settings.server.max_body_bytes, on_response=_log_response)
    for work in (
        *settle.duties,
        *auditing.duties,
        KeyUse(keyring, database, ground.clock).run,
        edge.live_calls.run,
        doors.ring.run,
        metering.spending.run,
        readiness.run,
    ):
        _run(work, stack)
    return Parts(app, router, engines, readiness, calls, metering, tables, settle)


async def _open_ground(settings: Settings, stack: AsyncExitStack) -> Ground:
    database = open_database(settings.database_url.reveal())
    stack.push_async_callback(database.aclose)
    await ensure_current(database)
    return build_ground(settings, database)


def _routes(settings: Settings, handlers: Handlers) -> Routes:
    openai, azure = Dialect(settings.server.region), AzureDialect(settings.server.region)
    routes = Routes(build_routes(handlers, openai, azure), openai, azure)
    handlers.openapi.describe(routes.routes)
    return routes


def _shown_metrics(own: CollectorRegistry) -> CollectorRegistry:
    """What /metrics shows: this worker's metrics, or those of all workers when there are several."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return own
    shown = CollectorRegistry()
    multiprocess.MultiProcessCollector(shown)  # type: ignore[no-untyped-call] # prometheus_client 0.25
    return shown


def _open_journal(settings: Settings, ground: Ground, metering: Metering, stack: AsyncExitStack) -> Journal:
    """Open this worker's journal, and adopt those of dead workers.

    When the worker ends, what the journal holds is recorded before it is closed.
    """
    books = open_books(settings, ground, metering)
    stack.push_async_callback(books.recorder.drain, _DRAIN_SECONDS)
    _run(books.recorder.run, stack)
    _run(books.recovery.run, stack)
    return books.journal


def _run(work: Callable[[], Coroutine[None, None, None]], stack: AsyncExitStack) -> None:
    """Keep a background task running until the worker ends; one that fails is logged and begun again."""
    name = work.__qualname__

    async def keep_running() -> None:
        while True:
            try:
                await work()
            except Exception:  # noqa: BLE001 - the boundary of a background task: it must not end in silence
                _LOG.exception("the background task '%s' failed and is begun again", name)
            await asyncio.sleep(_RESTART_SECONDS)

    task = asyncio.get_running_loop().create_task(keep_running(), name=name)

    async def end() -> None:
        task.cancel()
        await asyncio.wait({task})

    stack.push_async_callback(end)


def _log_response(exchange: Exchange) -> None:
    """One line a response: failures of ours or a vendor's always, the rest when debugging."""
    level = logging.WARNING if exchange.failure else logging.DEBUG
    if _ACCESS.isEnabledFor(level):
        _ACCESS.log(
            level,
            "%s %s %d%s",
            exchange.method,
            exchange.path,
            exchange.status,
            exchange.failure and f": {exchange.failure}",
            extra={"request_id": exchange.request_id, "worker": os.getpid()},
        )
