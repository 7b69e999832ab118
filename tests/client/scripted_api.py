"""An API on loopback that answers what a test wrote down, and remembers what it was asked."""

import asyncio
import contextlib
import json
import socket
from collections import deque
from collections.abc import AsyncIterator

import uvicorn


def chunk(text=None, *, reason=None, **delta):
    said = delta if text is None else {"content": text, **delta}
    body = {"id": "c1", "model": "scripted", "choices": [{"index": 0, "delta": said, "finish_reason": reason}]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


USAGE = b"data: " + json.dumps({
    "choices": [],
    "usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13,
              "prompt_tokens_details": {"cached_tokens": 4}},
}).encode() + b"\n\n"  # fmt: skip
DONE = b"data: [DONE]\n\n"


def whole(*texts, reason="stop"):
    """A well-formed stream."""
    return [chunk(""), *map(chunk, texts), chunk(reason=reason), USAGE, DONE]


class Hold:
    """In a script: go on sending nothing until the client leaves."""


class Drop:
    """In a script: break the connection without ending the body."""


class ScriptedApi:
    """An ASGI app. `scripts` holds one list of pieces per question; the last one is used again and again.

    An `asyncio.Event` among the pieces is waited for.
    """

    def __init__(
        self, *scripts, models=("scripted", "other"), status=200, headers=(), content_type="text/event-stream"
    ):
        self.scripts = deque(scripts)
        self.models = models
        self.status = status
        self.headers = list(headers)
        self.content_type = content_type
        self.asked = []
        self.authorizations = []
        self.holding = asyncio.Event()
        self.client_left = asyncio.Event()

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        self.authorizations.append(headers.get(b"authorization"))
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if scope["path"].endswith("/models"):
            if isinstance(self.models, Hold):
                await self._hold(receive)
                return
            cards = [{"id": name, "capabilities": {"chat_completion": name != "embedder"}} for name in self.models]
            await self._start(send, 200, "application/json")
            await send({"type": "http.response.body", "body": json.dumps({"data": cards}).encode()})
            return
        self.asked.append(json.loads(body))
        script = self.scripts.popleft() if len(self.scripts) > 1 else self.scripts[0]
        await self._start(send, self.status, self.content_type)
        for piece in script:
            if isinstance(piece, Hold):
                await self._hold(receive)
                return
            if isinstance(piece, asyncio.Event):
                await piece.wait()
                continue
            if isinstance(piece, Drop):
                raise ConnectionAbortedError("scripted")
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})

    async def _hold(self, receive):
        self.holding.set()
        assert (await receive())["type"] == "http.disconnect"
        self.client_left.set()

    async def _start(self, send, status, content_type):
        headers = [(b"content-type", content_type.encode()), *self.headers]
        await send({"type": "http.response.start", "status": status, "headers": headers})


@contextlib.asynccontextmanager
async def serving(app) -> AsyncIterator[str]:
    """Serve an app on a free port of the loopback interface; gives its base URL."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1))
    server.install_signal_handlers = lambda: None
    server.capture_signals = contextlib.nullcontext
    running = asyncio.create_task(server.serve([listener]))
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running
