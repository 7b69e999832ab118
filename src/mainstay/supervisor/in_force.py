"""The settings in force: what workers start with, whatever mainstay.toml has become since.

A worker that dies must be replaced although somebody is editing the file. So workers read a copy of it, taken when
it was last found good: at the start, and at each reload and restart that was not refused.
"""

import os
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

from mainstay.server.local_models import LocalModels
from mainstay.settings import Settings

_COPY = ".mainstay.toml.in-force"

NEEDS_START = (
    "server.host",
    "server.port",
    "server.workers",
    "server.drain_grace_seconds",
    "database.url",
    "models.folder",
    "models.memory_budget_bytes",
    "models.memory_budget_fraction",
    "models.slots",
    "models.threads",
)
"""Keys that the supervisor, or all processes together, read once."""

NEEDS_RESTART = (
    "server.header_timeout_seconds",
    "server.max_body_bytes",
    "server.region",
    "server.public_url",
    "server.trusted_proxies",
    "server.cors_origins",
    "logging.level",
    "logging.format",
    "models.queue_length",
    "models.queue_wait_seconds",
    "sign_in.session_idle_minutes",
    "sign_in.session_max_hours",
    "sign_in.link_minutes",
    "sign_in.attempts_before_lockout",
    "sign_in.lockout_minutes",
    "sign_in.attempts_per_address",
    "outbound.allowed_networks",
    "outbound.name_servers",
)
"""Keys that a worker reads when it starts."""


class SettingsInForce:
    """Takes the settings over, or refuses them whole."""

    def __init__(self, settings: Settings) -> None:
        self._started_with = settings
        self._workers_have = settings
        self.path = settings.home / _COPY
        self._copy(settings.file)

    def take_over(self, *, with_new_workers: bool) -> list[str]:
        """Read mainstay.toml anew for the workers; return what should be looked at.

        Raises SettingsError when the file is wrong; then nothing has changed.
        """
        fresh = Settings.load(self._started_with.home)
        LocalModels.of(fresh).complete(fresh)
        self._copy(fresh.file)
        if with_new_workers:
            self._workers_have = fresh
        return [*map(str, fresh.warnings), *self._not_in_force(fresh)]

    def _not_in_force(self, fresh: Settings) -> Iterator[str]:
        for keys, had, remedy in (
            (NEEDS_START, self._started_with, "stop the server and start it again"),
            (NEEDS_RESTART, self._workers_have, "run `mainstay restart`"),
        ):
            for key in keys:
                if _value(had, key) != _value(fresh, key):
                    yield f"{fresh.origin(key)}: {key} has changed and is not in force yet; {remedy}."

    def _copy(self, file: Path) -> None:
        content = file.read_bytes() if file.exists() else b""
        draft = self.path.with_suffix(".draft")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as copy:
            copy.write(content)
        draft.replace(self.path)


def _value(settings: Settings, key: str) -> object:
    value = attrgetter(key)(settings)
    return value.reveal() if hasattr(value, "reveal") else value
