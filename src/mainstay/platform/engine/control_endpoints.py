"""A worker's view of the engines, which the supervisor owns: asked for over the control connection, then remembered.

A known endpoint costs a dictionary look-up. The supervisor tells of every change, so what is remembered is true
but for the moment that a notice takes; a request that meets a dead engine in that moment asks again.
"""

import logging
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from mainstay.kit.control import Connection, Params
from mainstay.kit.errors import MainstayError, UnavailableError
from mainstay.platform.engine.endpoint import Endpoint, EngineKind

_LOG = logging.getLogger("mainstay.engine")
CALL_TIMEOUT_SECONDS = 330.0
"""Longer than the supervisor's own limits for loading a model, so that its error arrives and not ours."""


def endpoint_to_wire(endpoint: Endpoint) -> dict[str, object]:
    """The control message of an endpoint."""
    return {
        "socket_path": str(endpoint.socket_path),
        "slots": endpoint.slots,
        "generation": endpoint.generation,
        "context_tokens": endpoint.context_tokens,
        "kind": endpoint.kind.value,
    }


def endpoint_from_wire(message: Params) -> Endpoint:
    """The endpoint of a control message."""
    return Endpoint(
        socket_path=Path(message["socket_path"]),
        slots=message["slots"],
        generation=message["generation"],
        context_tokens=message["context_tokens"],
        kind=EngineKind(message["kind"]),
    )


class ControlEndpoints:
    """`Endpoints` over the control connection."""

    def __init__(self, connection: Callable[[], Connection | None]) -> None:
        self._connection = connection
        self._known: dict[str, Endpoint] = {}
        self._broken: set[str] = set()
        self._busy: dict[str, int] = {}

    async def ensure(self, model_id: str) -> Endpoint:
        """Return the model's endpoint once it is ready. Raises what the supervisor says."""
        known = self._known.get(model_id)
        if known is not None:
            return known
        connection = self._connection()
        if connection is None:
            raise UnavailableError("The supervisor is not connected; local models cannot be reached.")
        try:
            answer = await connection.call("ensure", {"model": model_id}, timeout_seconds=CALL_TIMEOUT_SECONDS)
        except MainstayError as error:
            raise _for_callers(model_id, error) from error
        endpoint = self._known[model_id] = endpoint_from_wire(answer)
        return endpoint

    def report_broken(self, model_id: str, generation: int) -> None:
        """Forget the endpoint and have it checked."""
        known = self._known.get(model_id)
        if known is not None and known.generation == generation:
            del self._known[model_id]
        self._notify("broken", {"model": model_id, "generation": generation})

    def busy(self, model_id: str, delta: int) -> None:
        """Count a request in or out; only idle <-> busy is told."""
        before = self._busy.get(model_id, 0)
        now = self._busy[model_id] = before + delta
        if (before == 0) != (now == 0):
            self._notify("busy", {"model": model_id, "delta": 1 if now else -1})

    def changed(self, model_id: str, endpoint: Endpoint | None, *, is_broken: bool = False) -> None:
        """Take in a notice of the supervisor: the model's endpoint now, None when there is none."""
        if endpoint is None:
            self._known.pop(model_id, None)
        else:
            self._known[model_id] = endpoint
        if is_broken:
            self._broken.add(model_id)
        elif endpoint is not None:
            self._broken.discard(model_id)

    def is_broken(self, model_id: str) -> bool:
        """Whether the model's engine has died or fallen silent and is not back yet."""
        return model_id in self._broken

    def busy_models(self) -> list[str]:
        """The models with requests in, to be told again to a supervisor that is new."""
        return [model_id for model_id, count in self._busy.items() if count]

    def is_ready(self, model_id: str) -> bool:
        """Whether the model's engine is known to be ready."""
        return model_id in self._known

    def _notify(self, method: str, params: Params) -> None:
        connection = self._connection()
        if connection is not None:
            connection.notify(method, params)


def _for_callers(model_id: str, error: MainstayError) -> MainstayError:
    """What a caller may know: why an engine does not load names files of this machine, which only its operator may."""
    _LOG.warning("model '%s' is not to be had: %s", model_id, error.message)
    if error.status == HTTPStatus.NOT_FOUND:
        return error
    return UnavailableError(
        f"The model '{model_id}' cannot be loaded now; the server's log says why.",
        can_retry=error.can_retry,
        retry_after_seconds=error.retry_after_seconds,
    )
