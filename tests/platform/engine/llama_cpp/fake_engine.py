"""An engine on a Unix socket that says what a test wants, and remembers what it was asked."""

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from mainstay.inference import Operation, Request
from mainstay.kit.http.limits import PoolLimits
from mainstay.kit.http.origin import Origin
from mainstay.kit.http.pool import Pool
from mainstay.platform.catalog.weights import (
    Ability,
    Embedding,
    Engine,
    FillInTheMiddle,
    ModelFile,
    Profile,
    ToolCallStyle,
    Weights,
)
from mainstay.platform.engine.admission import Admission, AdmissionLimits
from mainstay.platform.engine.endpoint import Endpoint, EngineKind
from mainstay.platform.engine.llama_cpp import Limits, LlamaCppModel

Script = Callable[["Turn"], Awaitable[None]]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@dataclass
class Turn:
    """One request that the engine works on."""

    path: str
    body: dict[str, Any]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def refuse(self, status: int, error: object) -> None:
        """Answer with an error."""
        await self.reply(status, json.dumps({"error": error}).encode())

    async def reply(self, status: int, content: bytes) -> None:
        """Answer with a whole body."""
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        self.writer.write(head.encode() + content)
        await self.writer.drain()

    async def begin(self) -> None:
        """Send the head of a stream, and the first word of progress, as llama.cpp does."""
        self.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        progress = {"total": 9, "cache": 0, "processed": 0, "time_ms": 0}
        await self.send({"choices": [choice(0, role="assistant")], "prompt_progress": progress})

    async def send(self, *events: object) -> None:
        """Send events together."""
        data = b"".join(b"data: " + _bytes(event) + b"\n\n" for event in events)
        self.writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self.writer.drain()

    async def end(self) -> None:
        """Send the end of the stream."""
        await self.send(b"[DONE]")
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def say(self, *texts: str, reason: str = "stop", index: int = 0) -> None:
        """Send a whole chat choice in pieces, with its usage."""
        await self.send({"choices": [choice(index, role="assistant")]})
        for text in texts:
            await self.send({"choices": [choice(index, content=text)]})
        await self.send({"choices": [choice(index, reason=reason)]})
        await self.send({"choices": [], "usage": usage(completion=len(texts)), "timings": {"prompt_n": 1}})


def _bytes(event: object) -> bytes:
    return event if isinstance(event, bytes) else json.dumps(event).encode()


def choice(index: int, *, reason: str | None = None, logprobs: object = None, **delta: object) -> dict[str, object]:
    """A choice of a chat chunk."""
    made: dict[str, object] = {"finish_reason": reason, "index": index, "delta": delta}
    return made if logprobs is None else made | {"logprobs": logprobs}


def text_choice(index: int, text: str, *, reason: str | None = None, logprobs: object = None) -> dict[str, object]:
    """A choice of a text completion chunk."""
    return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": reason}


def usage(*, prompt: int = 9, completion: int = 1, cached: int = 4) -> dict[str, object]:
    """The usage of one choice."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


@dataclass
class FakeEngine:
    """The server, and everything around it that a model needs."""

    socket_path: Path
    script: Script
    slots: int = 4
    turns: list[Turn] = field(default_factory=list)
    broken: list[int] = field(default_factory=list)
    in_use: int = 0
    generation: int = 1
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    connections: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    async def ensure(self, model_id: str) -> Endpoint:
        return Endpoint(self.socket_path, self.slots, self.generation, 2048, EngineKind.LLAMA_CPP)

    def report_broken(self, model_id: str, generation: int) -> None:
        self.broken.append(generation)
        self.generation += 1

    def busy(self, model_id: str, delta: int) -> None:
        self.in_use += delta

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections[task] = writer
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(head.lower().partition("content-length:")[2].split()[0])
                turn = Turn(head.split()[1], json.loads(await reader.readexactly(length)), reader, writer)
                self.turns.append(turn)
                await self.script(turn)
        writer.close()

    async def aclose(self) -> None:
        """End what still serves, and see every connection closed."""
        for task in self.connections:
            task.cancel()
        await asyncio.gather(*self.connections, return_exceptions=True)
        for writer in self.connections.values():
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def wait_for_hang_up(self, turn: Turn) -> None:
        """A script that does nothing more until its client closes the connection."""
        await turn.reader.read()
        self.hung_up.set()
        raise ConnectionResetError


@contextlib.asynccontextmanager
async def fake_engine(script: Script, *, slots: int = 4) -> AsyncIterator[FakeEngine]:
    """Serve the script on a socket with a short path."""
    directory = Path(tempfile.mkdtemp(prefix="ms-", dir="/tmp"))
    engine = FakeEngine(directory / "e.sock", script, slots=slots)
    server = await asyncio.start_unix_server(engine.serve, str(engine.socket_path))
    try:
        yield engine
    finally:
        server.close()
        await engine.aclose()
        shutil.rmtree(directory)
        assert engine.in_use == 0


def pool(origin: Origin) -> Pool:
    return Pool(origin, PoolLimits(keep_alive_seconds=4.0))


@contextlib.asynccontextmanager
async def model_of(
    endpoints: Any,
    *,
    weights: Weights | None = None,
    limits: Limits | None = None,
    admission: AdmissionLimits | None = None,
) -> AsyncIterator[LlamaCppModel]:
    """The model under test over these endpoints."""
    model = LlamaCppModel(
        weights or coder_weights(),
        endpoints=endpoints,
        pools=pool,
        admission=Admission(admission),
        limits=limits,
    )
    try:
        yield model
    finally:
        await model.aclose()
        assert model.admission.in_flight == 0
        assert model.admission.queue_depth == 0


def coder_weights(model_id: str = "coder", *, abilities: frozenset[Ability] | None = None) -> Weights:
    return Weights(
        id=model_id,
        family="Test",
        licence="Apache-2.0",
        parameters=1,
        context_tokens=2048,
        abilities=abilities or frozenset({Ability.CHAT, Ability.TOOLS, Ability.FIM}),
        quantisation="Q4",
        engine=Engine.LLAMA_CPP,
        files=(ModelFile(name="model.gguf", size_bytes=1, sha256="0123456789abcdef" * 4),),
        profile=Profile(
            tool_call_style=ToolCallStyle.HERMES_OR_JSON,
            fim=FillInTheMiddle(prefix="<P>", suffix="<S>", middle="<M>", stop=("<pad>", "<eof>")),
        ),
    )


def embedder_weights() -> Weights:
    return Weights(
        id="embedder",
        family="Test",
        licence="Apache-2.0",
        parameters=1,
        context_tokens=16,
        abilities=frozenset({Ability.EMBEDDINGS}),
        quantisation="int8",
        engine=Engine.ONNX,
        files=(ModelFile(name="model.onnx", size_bytes=1, sha256="0123456789abcdef" * 4),),
        profile=Profile(embedding=Embedding(dimensions=4, max_tokens=16)),
    )


def request(
    body: dict[str, Any] | bytes, operation: Operation = Operation.CHAT, *, deadline: float | None = None
) -> Request:
    """The request as serving would hand it over."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    options = body.get("stream_options") if isinstance(body, dict) else None
    return Request(
        operation=operation,
        body=content,
        fields=fields,
        is_stream=isinstance(body, dict) and bool(body.get("stream")),
        request_id="req_test",
        wants_usage=bool(options and options.get("include_usage")),
        deadline_seconds=deadline,
    )


def chat(text: str = "Hello", **more: Any) -> Request:
    """A chat request with one message."""
    deadline = more.pop("deadline", None)
    return request({"messages": [{"role": "user", "content": text}], **more}, deadline=deadline)


async def collect(model: LlamaCppModel, asked: Request) -> list[dict[str, Any]]:
    """Every chunk of a stream."""
    async with await model.stream(asked) as stream:
        return [json.loads(chunk) for batch in [batch async for batch in stream] for chunk in batch]
