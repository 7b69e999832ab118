"""Is it alive, is it ready, what does it count."""

from collections.abc import Callable

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from mainstay.api.exchange import Exchange


class Readiness(msgspec.Struct):
    """Whether the service can answer now, and if not, what it waits for."""

    ready: bool
    waiting_for: list[str]


class Health:
    """The operational routes. `waiting_for` names what is not ready yet; empty means ready."""

    def __init__(self, waiting_for: Callable[[], list[str]], registry: CollectorRegistry) -> None:
        self._waiting_for = waiting_for
        self._registry = registry

    async def live(self, exchange: Exchange) -> None:
        """200 while the process runs."""
        await exchange.respond(200, b'{"status":"ok"}')

    async def ready(self, exchange: Exchange) -> None:
        """200 when calls can be answered, 503 with the reasons otherwise."""
        reasons = self._waiting_for()
        body = msgspec.json.encode(Readiness(not reasons, reasons))
        await exchange.respond(503 if reasons else 200, body)

    async def metrics(self, exchange: Exchange) -> None:
        """Prometheus text."""
        kind = (b"content-type", CONTENT_TYPE_LATEST.encode())
        await exchange.respond(200, generate_latest(self._registry), kind=kind)
