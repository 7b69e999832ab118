"""Takes a request to the engine and brings its events back: admission, one retry, and the end of every connection."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

from mainstay.inference import Failure
from mainstay.kit.errors import ConfigurationError, NotFoundError, UnavailableError
from mainstay.kit.http.errors import TransportError, Truncated
from mainstay.kit.http.events import EventParser
from mainstay.kit.http.origin import Origin
from mainstay.kit.http.pool import Pool
from mainstay.kit.http.response import Response
from mainstay.platform.engine.admission import Admission
from mainstay.platform.engine.endpoint import Endpoint, Endpoints
from mainstay.platform.engine.llama_cpp import faults
from mainstay.platform.engine.llama_cpp.events import EngineChunk, read_chunk
from mainstay.platform.engine.llama_cpp.jobs import Job
from mainstay.platform.engine.llama_cpp.limits import Limits

PoolFactory = Callable[[Origin], Pool]
"""Makes the pool for an engine's socket. Let idle connections live less than 5 s: then the engine closes them."""

_HEADERS = ((b"content-type", b"application/json"),)
_DONE = b"[DONE]"
_OK = 200
_MAX_ANSWER_BYTES = 64 * 1024 * 1024
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Errand:
    """What an exchange must know of the call that it belongs to. `param` names the prompt in the caller's request."""

    param: str
    deadline: float | None
    is_continuation: bool = False


class EnginePools:
    """One pool for the socket where the model's engine answers now; that of its predecessor is closed."""

    def __init__(self, factory: PoolFactory) -> None:
        self._factory = factory
        self._pool: Pool | None = None
        self._path = ""

    def at(self, endpoint: Endpoint) -> Pool:
        """Return the pool for this endpoint."""
        path = str(endpoint.socket_path)
        if self._pool is None or path != self._path:
            if self._pool is not None:
                self._pool.retire()
            self._pool = self._factory(Origin.unix(path))
            self._path = path
        return self._pool

    async def aclose(self) -> None:
        """Close all connections."""
        if self._pool is not None:
            await self._pool.aclose()


class EngineStream:
    """The events of one request. Own it: closing it closes the connection, which frees the engine's slots."""

    def __init__(
        self, response: Response, errand: Errand, *, model: str, on_broken: Callable[[TransportError], None]
    ) -> None:
        self._response = response
        self._errand = errand
        self._on_broken = on_broken
        self._on_close: Callable[[], None] | None = None
        self._model = model
        self._parser = EventParser()
        self._pending: list[EngineChunk] = []
        self._is_done = False

    async def wait_for_content(self) -> None:
        """Return when the engine has read the prompt. Raises TransportError if it goes away before."""
        while not self._pending and not self._is_done:
            await self._receive()

    async def batches(self) -> AsyncIterator[list[EngineChunk]]:
        """Yield what has arrived together, to the end. Raises InferenceError."""
        while True:
            if self._pending:
                batch, self._pending = self._pending, []
                yield batch
            if self._is_done:
                return
            try:
                await self._receive()
            except TransportError as error:
                self._on_broken(error)
                raise faults.from_transport(error, self._model) from error

    def on_close(self, action: Callable[[], None]) -> None:
        """Have `action` done once when the stream is closed."""
        self._on_close = action

    async def aclose(self) -> None:
        """Close the connection unless the answer has ended, and give the slots back; safe to call twice."""
        if self._is_done:
            self._response.discard()
        else:
            await self._response.aclose()
        action, self._on_close = self._on_close, None
        if action is not None:
            action()

    async def _receive(self) -> None:
        data = await self._response.read_chunk()
        if not data:
            raise Truncated("The stream ended without [DONE].")
        for event in self._parser.feed(data):
            if event == _DONE:
                self._is_done = True
                return
            chunk = read_chunk(event)
            if chunk.error is not None:
                status = chunk.error.code if isinstance(chunk.error.code, int) else 500
                raise faults.from_error(status, chunk.error, model=self._model, param=self._errand.param)
            if chunk.prompt_progress is None:
                self._pending.append(chunk)


class Exchange:
    """The way to one model's engine, from this worker."""

    def __init__(
        self, model: str, endpoints: Endpoints, pools: EnginePools, admission: Admission, *, limits: Limits
    ) -> None:
        self._model = model
        self._endpoints = endpoints
        self._pools = pools
        self._admission = admission
        self._limits = limits

    async def ready(self, deadline: float | None) -> Endpoint:
        """Return where the engine answers, loading the model if need be. Raises InferenceError."""
        try:
            async with asyncio.timeout_at(deadline):
                endpoint = await self._endpoints.ensure(self._model)
        except (UnavailableError, NotFoundError, ConfigurationError) as error:
            raise faults.from_unready(error, self._model) from error
        except TimeoutError as error:
            message = f"Model '{self._model}' was not ready in the time that the call had."
            raise faults.failed(message, Failure.TOTAL_TIMEOUT, 504) from error
        self._admission.resize(endpoint.slots)
        return endpoint

    async def open(self, job: Job, errand: Errand) -> EngineStream:
        """Send the request; return its stream when the engine has read the prompt.

        Raises InferenceError or InvalidRequestError.
        """
        with ExitStack() as undo:
            await self._enter(undo, job.choices, errand)
            stream = await self._attempt(errand, lambda endpoint: self._open(job, errand, endpoint))
            stream.on_close(undo.pop_all().close)
        return stream

    async def fetch(self, path: str, body: bytes, errand: Errand) -> bytes:
        """Send a request and return its whole answer. Raises InferenceError or InvalidRequestError."""
        with ExitStack() as undo:
            await self._enter(undo, 1, errand)
            return await self._attempt(errand, lambda endpoint: self._fetch(path, body, errand, endpoint))

    async def _enter(self, undo: ExitStack, weight: int, errand: Errand) -> None:
        """Keep the model loaded and take slots of it, until `undo` is closed."""
        self._endpoints.busy(self._model, 1)
        undo.callback(self._endpoints.busy, self._model, -1)
        place = await self._admission.admit(weight, deadline=errand.deadline, is_continuation=errand.is_continuation)
        undo.callback(place.release)

    async def _attempt(self, errand: Errand, send: Callable[[Endpoint], Awaitable[_T]]) -> _T:
        """Send once, and once more to the successor of an engine that went away before it gave anything.

        Not more often, since the request may be what killed it.
        """
        endpoint = await self.ready(errand.deadline)
        try:
            return await send(endpoint)
        except TransportError as error:
            self._report(error, endpoint)
            if not faults.is_death(error):
                raise faults.from_transport(error, self._model) from error
        endpoint = await self.ready(errand.deadline)
        try:
            return await send(endpoint)
        except TransportError as error:
            self._report(error, endpoint)
            raise faults.from_transport(error, self._model) from error

    def _report(self, error: TransportError, endpoint: Endpoint) -> None:
        """Have the engine checked, if it may be what failed."""
        if faults.is_engines(error):
            self._endpoints.report_broken(self._model, endpoint.generation)

    async def _open(self, job: Job, errand: Errand, endpoint: Endpoint) -> EngineStream:
        response = await self._send(job.route, job.body, errand, endpoint)
        try:
            stream = EngineStream(
                response, errand, model=self._model, on_broken=lambda error: self._report(error, endpoint)
            )
            await stream.wait_for_content()
        except BaseException:  # cancellation too must free the slot
            await response.aclose()
            raise
        return stream

    async def _fetch(self, path: str, body: bytes, errand: Errand, endpoint: Endpoint) -> bytes:
        async with await self._send(path, body, errand, endpoint) as response:
            return await response.read(_MAX_ANSWER_BYTES)

    async def _send(self, path: str, body: bytes, errand: Errand, endpoint: Endpoint) -> Response:
        """Return the answer, whose head says that the engine has accepted the request."""
        response = await self._pools.at(endpoint).send(
            "POST",
            path,
            _HEADERS,
            body,
            timeouts=self._limits.timeouts,
            deadline=math.inf if errand.deadline is None else errand.deadline,
        )
        if response.status == _OK:
            return response
        async with response:
            refusal = await response.read(self._limits.error_bytes)
        raise faults.from_refusal(response.status, refusal, model=self._model, param=errand.param)
