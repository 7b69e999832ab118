"""Where a running engine answers, and the one question a worker asks about it."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class EngineKind(StrEnum):
    """Which program runs the model. Both speak OpenAI HTTP on a Unix socket."""

    LLAMA_CPP = "llama_cpp"
    ONNX = "onnx"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A ready engine child.

    `slots` is how many requests it works on at once. `generation` grows with every restart, so that a report about a
    dead child is not taken for one about its successor. `context_tokens` is the most that one request may use.
    """

    socket_path: Path
    slots: int
    generation: int
    context_tokens: int
    kind: EngineKind


class Endpoints(Protocol):
    """What a worker knows of the engines."""

    async def ensure(self, model_id: str) -> Endpoint:
        """Return the model's endpoint once it is ready to answer, loading it if need be.

        Raises NotFoundError (unknown or not installed), UnavailableError (cannot be loaded now),
        ConfigurationError (its files cannot be used).
        """
        ...

    def report_broken(self, model_id: str, generation: int) -> None:
        """Say that the endpoint of that generation refused or reset a connection; it is then checked at once."""
        ...

    def busy(self, model_id: str, delta: int) -> None:
        """Count a request in (+1) or out (-1); a model with requests in is never evicted."""
        ...


class Phase(StrEnum):
    """What a model's engine is doing. The values are stable: they are shown to operators."""

    LOADING = "loading"
    READY = "ready"
    BROKEN = "broken"
    """Its child died or fell silent; the next one is started after a pause."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class EndpointState:
    """A change of a model's engine, for whoever mirrors it. `endpoint` is set exactly when the phase is READY."""

    model_id: str
    phase: Phase
    generation: int
    endpoint: Endpoint | None
    memory_bytes: int
    reason: str = ""
