"""Can this worker answer calls now?"""

from mainstay.platform.engine.control_endpoints import ControlEndpoints


class Readiness:
    """`models` are those whose engines must be ready before the worker is."""

    def __init__(self, endpoints: ControlEndpoints, models: tuple[str, ...]) -> None:
        self.models = models
        self.is_leaving = False
        self._endpoints = endpoints

    def waiting_for(self) -> list[str]:
        """What is not there yet; empty when the worker is ready."""
        if self.is_leaving:
            return ["this worker is leaving"]
        return [f"model {model}" for model in self.models if not self._endpoints.is_ready(model)]
