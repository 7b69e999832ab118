"""Can this worker answer calls now?"""

import asyncio
import logging

from mainstay.kit.errors import MainstayError
from mainstay.platform.engine.control_endpoints import ControlEndpoints

_LOG = logging.getLogger("mainstay.server")
_RETRY_SECONDS = 10.0


class Readiness:
    """Ready means: the models that calls should not wait for have been loaded once, and none of them is broken.

    A model that makes room for another while nobody uses it leaves the worker ready: the next call loads it again.
    """

    def __init__(self, endpoints: ControlEndpoints, models: tuple[str, ...]) -> None:
        self.is_leaving = False
        self._models = models
        self._endpoints = endpoints
        self._loaded: set[str] = set()
        self._changed = asyncio.Event()

    def replace(self, models: tuple[str, ...]) -> None:
        """Take other models to be those that calls should not wait for."""
        self._models = models
        self._changed.set()

    def waiting_for(self) -> list[str]:
        """What is not there yet; empty when the worker is ready."""
        if self.is_leaving:
            return ["this worker is leaving"]
        return [f"model {model}" for model in self._models if self._is_missing(model)]

    async def run(self) -> None:
        """Have the models loaded; try again those that cannot be, until cancelled."""
        while True:
            for model in self._models:
                if model not in self._loaded:
                    await self._load(model)
            try:
                async with asyncio.timeout(None if self._loaded.issuperset(self._models) else _RETRY_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                continue
            self._changed.clear()

    async def _load(self, model: str) -> None:
        try:
            await self._endpoints.ensure(model)
        except MainstayError as error:
            _LOG.warning("%s", error.message)
        else:
            self._loaded.add(model)

    def _is_missing(self, model: str) -> bool:
        if self._endpoints.is_broken(model):
            return True
        return model not in self._loaded and not self._endpoints.is_ready(model)
