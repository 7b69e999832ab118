"""A GGUF model that runs here, as `inference.Model`: what its engine says, in OpenAI's shapes."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol, Self

from mainstay.inference import Answer, Model, Operation, Request, Stream, Usage
from mainstay.kit.clock import Clock, SystemClock
from mainstay.kit.errors import InvalidRequestError
from mainstay.kit.ids import new_id
from mainstay.kit.tokens import TokenReader
from mainstay.platform.catalog.weights import Ability, Weights
from mainstay.platform.engine.admission import Admission
from mainstay.platform.engine.endpoint import Endpoint, Endpoints
from mainstay.platform.engine.llama_cpp.chat import read_chat
from mainstay.platform.engine.llama_cpp.chat_answer import ChatChunks, ChatCollector
from mainstay.platform.engine.llama_cpp.completion_answer import CompletionChunks, CompletionCollector
from mainstay.platform.engine.llama_cpp.completions import read_completion
from mainstay.platform.engine.llama_cpp.events import EngineChoice, UsageCounter
from mainstay.platform.engine.llama_cpp.exchange import EnginePools, EngineStream, Errand, Exchange, PoolFactory
from mainstay.platform.engine.llama_cpp.identity import Identity
from mainstay.platform.engine.llama_cpp.jobs import Job, Plan, jobs
from mainstay.platform.engine.llama_cpp.limits import Limits

_PARAMS = {Operation.CHAT: "messages", Operation.COMPLETIONS: "prompt"}
_ID_PREFIXES = {Operation.CHAT: "chatcmpl-", Operation.COMPLETIONS: "cmpl-"}


class _Chunks(Protocol):
    def feed(self, number: int, fragment: EngineChoice) -> list[bytes]: ...

    def end(self, usage: Usage) -> list[bytes]: ...


class _Collector(Protocol):
    def feed(self, number: int, fragment: EngineChoice) -> None: ...

    def body(self, usage: Usage) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _Call:
    """A checked request, and where its answer goes."""

    plan: Plan
    chunks: _Chunks
    collector: _Collector
    errand: Errand


class LlamaCppModel(Model):
    """Answers chat and text completions. One for each worker; it holds the connections to its engine."""

    def __init__(
        self,
        weights: Weights,
        *,
        endpoints: Endpoints,
        pools: PoolFactory,
        admission: Admission,
        limits: Limits | None = None,
        tokens: TokenReader | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`admission` belongs to this model alone; `tokens` and `clock` may be shared by all."""
        self._weights = weights
        self._limits = limits or Limits()
        self._tokens = tokens or TokenReader()
        self._clock = clock or SystemClock()
        self._pools = EnginePools(pools)
        self._exchange = Exchange(weights.id, endpoints, self._pools, admission, limits=self._limits)
        self.admission = admission

    async def answer(self, request: Request) -> Answer:
        """Answer in one piece. Raises InvalidRequestError and InferenceError."""
        call = await self._read(request)
        counter = UsageCounter()
        endpoint = await self._exchange.ready(request.deadline_seconds)
        errand = call.errand
        for job in jobs(call.plan, endpoint):
            stream = await self._exchange.open(job, errand)
            try:
                async for number, fragment in _fragments(stream, job, counter):
                    call.collector.feed(number, fragment)
            finally:
                await stream.aclose()
            errand = Errand(errand.param, errand.deadline, is_continuation=True)
        usage = counter.total()
        return Answer(body=call.collector.body(usage), usage=usage, model=self._weights.id)

    async def stream(self, request: Request) -> Stream:
        """Return once the engine has read the prompt. Raises InvalidRequestError and InferenceError."""
        call = await self._read(request)
        endpoint = await self._exchange.ready(request.deadline_seconds)
        stream = _ModelStream(call, self._exchange, endpoint, model=self._weights.id)
        await stream.begin()
        return stream

    async def aclose(self) -> None:
        """Close the connections to the engine."""
        await self._pools.aclose()

    async def _read(self, request: Request) -> _Call:
        if request.operation is Operation.EMBEDDINGS or Ability.CHAT not in self._weights.abilities:
            raise _not_supported(self._weights, request.operation)
        identity = Identity(
            id=new_id(_ID_PREFIXES[request.operation]),
            created=int(self._clock.wall()),
            model=self._weights.id,
            fingerprint="fp_" + self._weights.sha256[:10],
        )
        errand = Errand(_PARAMS[request.operation], request.deadline_seconds)
        wants_usage = request.wants_usage
        if request.operation is Operation.CHAT:
            chat = read_chat(request, self._weights, self._limits)
            chunks = ChatChunks(chat, identity, wants_usage=wants_usage)
            return _Call(chat.plan, chunks, ChatCollector(chat, identity), errand)
        await self._tokens.prepare(bytes(request.fields.get("prompt", b"")))
        completion = read_completion(request, self._weights, self._limits, self._tokens)
        text_chunks = CompletionChunks(completion, identity, wants_usage=wants_usage)
        return _Call(completion.plan, text_chunks, CompletionCollector(completion, identity), errand)


class _ModelStream:
    """An answer as it comes: the choices of the first request to the engine, then those of the next."""

    def __init__(self, call: _Call, exchange: Exchange, endpoint: Endpoint, *, model: str) -> None:
        self.usage: Usage | None = None
        self.model: str | None = model
        self._call = call
        self._exchange = exchange
        self._jobs = jobs(call.plan, endpoint)
        self._job: Job | None = None
        self._engine: EngineStream | None = None
        self._is_closed = False

    async def begin(self) -> None:
        """Open the first request."""
        self._job = next(self._jobs)
        self._engine = await self._exchange.open(self._job, self._call.errand)

    async def __aiter__(self) -> AsyncIterator[list[bytes]]:
        """Yield batches of chunks. Raises InferenceError."""
        counter = UsageCounter()
        chunks = self._call.chunks
        while self._job is not None and self._engine is not None:
            first = self._job.first_choice
            async for batch in self._engine.batches():
                rendered: list[bytes] = []
                for chunk in batch:
                    if chunk.usage is not None:
                        counter.add(chunk.usage, self._job.prompt)
                    for fragment in chunk.choices:
                        rendered += chunks.feed(first + fragment.index, fragment)
                if rendered:
                    yield rendered
            await self._engine.aclose()
            await self._next()
        self.usage = counter.total()
        last = chunks.end(self.usage)
        if last:
            yield last

    async def aclose(self) -> None:
        """Close the connection to the engine at once; safe to call twice."""
        self._is_closed = True
        if self._engine is not None:
            await self._engine.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def _next(self) -> None:
        self._engine = None
        self._job = next(self._jobs, None)
        if self._job is None:
            return
        errand = self._call.errand
        engine = await self._exchange.open(self._job, Errand(errand.param, errand.deadline, is_continuation=True))
        self._engine = engine
        if self._is_closed:
            await engine.aclose()
            raise asyncio.CancelledError


async def _fragments(stream: EngineStream, job: Job, counter: UsageCounter) -> AsyncIterator[tuple[int, EngineChoice]]:
    async for batch in stream.batches():
        for chunk in batch:
            if chunk.usage is not None:
                counter.add(chunk.usage, job.prompt)
            for fragment in chunk.choices:
                yield job.first_choice + fragment.index, fragment


def _not_supported(weights: Weights, operation: Operation) -> InvalidRequestError:
    return InvalidRequestError(
        f"Model '{weights.id}' does not support {operation.value}; choose a model that does.",
        param="model",
        code="operation_not_supported",
    )
