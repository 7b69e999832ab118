"""From settings to a running supervisor."""

import asyncio
import logging
import resource
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from mainstay.kit.telemetry import configure_logging
from mainstay.platform.catalog.machine import this_machine
from mainstay.platform.engine.spec import EngineSettings
from mainstay.server.local_models import LocalModels
from mainstay.settings import Settings
from mainstay.supervisor.home import prepare_home
from mainstay.supervisor.in_force import SettingsInForce
from mainstay.supervisor.listening import listen
from mainstay.supervisor.paths import (
    address_path,
    claim_run_directory,
    control_path,
    prepare_run_directory,
    write_address,
)
from mainstay.supervisor.process import Supervisor, SupervisorSettings
from mainstay.supervisor.specs import Specs

_LOG = logging.getLogger("mainstay.supervisor")
Announce = Callable[[str], Awaitable[None]]
"""Told the URL, while the engines load and before the first worker starts."""


def serve(settings: Settings, *, announce: Announce | None = None) -> None:
    """Serve until told to stop. Blocks. Raises ConfigurationError when that cannot begin."""
    configure_logging(level=settings.logging.level, style=settings.logging.format)
    for warning in settings.warnings:
        _LOG.warning("%s", warning)
    _raise_descriptor_limit()
    prepare_home(settings.home)
    run_directory = prepare_run_directory(settings.home)
    claim_run_directory(run_directory, home=settings.home)  # for as long as this process lives
    _serve(settings, run_directory, announce)


def _serve(settings: Settings, run_directory: Path, announce: Announce | None) -> None:
    shutil.rmtree(run_directory / "metrics", ignore_errors=True)
    in_force = SettingsInForce(settings)
    local = LocalModels.of(settings)
    settings = local.complete(settings)
    if not settings.deployments:
        _LOG.warning("nothing can answer yet: run `mainstay models pull ID`, or declare deployments in mainstay.toml")
    budget = memory_budget_bytes(settings)
    listener = listen(settings.server.host, settings.server.port)
    url = f"http://{_shown_host(settings.server.host)}:{listener.getsockname()[1]}"

    async def before_workers() -> None:
        if announce is not None:
            await announce(url)
        write_address(settings.home, url)
        _LOG.info("listening on %s", url)

    supervisor = Supervisor(
        SupervisorSettings(
            control_path=control_path(settings.home),
            engines=EngineSettings(
                run_directory=run_directory, log_directory=settings.home / "logs", memory_budget_bytes=budget
            ),
            preload=local.to_preload(settings),
            workers=settings.server.workers,
            drain_grace_seconds=settings.server.drain_grace_seconds,
        ),
        listener,
        specs=Specs(settings, budget_bytes=budget),
        in_force=in_force,
        before_workers=before_workers,
    )
    try:
        asyncio.run(supervisor.run())
    finally:
        address_path(settings.home).unlink(missing_ok=True)


def memory_budget_bytes(settings: Settings) -> int:
    """What all engines together may use."""
    models = settings.models
    return models.memory_budget_bytes or int(this_machine().memory_bytes * models.memory_budget_fraction)


def _raise_descriptor_limit() -> None:
    """A proxied stream takes two descriptors; ask for as many as are allowed. Children inherit the limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _shown_host(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
