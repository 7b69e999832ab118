"""The vendor's server: requests in, scripted playbacks out."""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from typing import Self, cast
from urllib.parse import unquote

import httptools
import msgspec

from mainstay.testing.vendor import bodies
from mainstay.testing.vendor.playback import Playback, Player, compose, one_shot
from mainstay.testing.vendor.script import Received, Reply

Script = Reply | Iterable[Reply] | Callable[[Received], Reply]

OPERATIONS = ("/chat/completions", "/completions", "/embeddings")
MAX_RECORDED = 10_000


class _Call(msgspec.Struct):
    model: str = ""
    stream: bool | None = None
    stream_options: dict[str, object] | None = None
    n: int | None = None
    input: msgspec.Raw = msgspec.Raw(b"null")


class Vendor:
    """An OpenAI and Azure OpenAI look-alike on loopback: `async with Vendor(script) as vendor: vendor.url`.

    The script is one reply for all calls, replies to be used up one by one (then the default), or a function.
    Faults come from the reply, the header `x-fault: reset@120`, or a model named `fault:reset@120`.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        api_key: str | None = None,
        tls: ssl.SSLContext | None = None,
        socket_path: str | None = None,
        models: Iterable[str] = ("scripted-model",),
        is_recording: bool = True,
    ) -> None:
        self.requests: deque[Received] = deque(maxlen=MAX_RECORDED)
        self.accepted_connections = 0
        self.port = 0
        self._script = script if isinstance(script, Reply) or callable(script) else iter(script or ())
        self._api_key = api_key
        self._tls = tls
        self._socket_path = socket_path
        self._models = list(models)
        self._is_recording = is_recording
        self._sessions: set[Session] = set()
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Event()
        self._playbacks: dict[tuple[object, ...], Playback] = {}

    @property
    def url(self) -> str:
        """The base URL of the OpenAI API."""
        return f"{self.root_url}/v1"

    @property
    def root_url(self) -> str:
        """The base URL of the Azure API."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        """Connections that callers hold open."""
        return len(self._sessions)

    async def start(self, port: int = 0) -> None:
        """Listen on loopback, or on the unix socket."""
        loop = asyncio.get_running_loop()
        if self._socket_path is not None:
            self._server = await loop.create_unix_server(lambda: Session(self), self._socket_path)
            return
        self._server = await loop.create_server(lambda: Session(self), "127.0.0.1", port, ssl=self._tls, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
            self.cut_connections()
            await self._server.wait_closed()

    def cut_connections(self, *, only_idle: bool = False) -> None:
        """Close connections, as a server does that restarts, or that is tired of idle ones."""
        for session in tuple(self._sessions):
            session.cut(only_idle=only_idle)

    async def wait_until(self, condition: Callable[[Self], bool], timeout_seconds: float = 5.0) -> None:
        """Return once the condition holds; it is looked at when a request, a connection or an end of one comes."""
        async with asyncio.timeout(timeout_seconds):
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    # For the sessions

    def opened(self, session: "Session") -> None:
        """Note a connection."""
        self.accepted_connections += 1
        self._sessions.add(session)
        self._changed.set()

    def closed(self, session: "Session") -> None:
        """Note the end of a connection."""
        self._sessions.discard(session)
        self._changed.set()

    def respond(self, received: Received) -> Playback:
        """Return what is played in answer to a request."""
        if self._is_recording:
            self.requests.append(received)
            self._changed.set()
        path = received.path.partition("?")[0]
        is_azure = "/deployments/" in path
        if self._api_key is not None and not self._is_authorized(received):
            return Playback(one_shot(bodies.error(401, is_azure=is_azure), status=401))
        if path.endswith("/models"):
            return Playback(one_shot(bodies.models(self._models)))
        if not path.endswith(OPERATIONS):
            return Playback(one_shot(bodies.error(404, message="No such path.", is_azure=is_azure), status=404))
        try:
            _read_call(received, path)
        except msgspec.MsgspecError as error:
            return Playback(one_shot(bodies.error(400, message=str(error)), status=400))
        reply = self._next_reply(received)
        return self._playback(received, reply, is_azure=is_azure)

    def _playback(self, received: Received, reply: Reply, *, is_azure: bool) -> Playback:
        """Compose once for all calls that are alike: a load test should measure its subject, not its vendor."""
        path = received.path
        fault = received.fault() or reply.fault
        key = (path, received.model, received.is_stream, received.include_usage, received.choices, reply, fault)
        playback = self._playbacks.get(key)
        if playback is None:
            if len(self._playbacks) > 100:
                self._playbacks.clear()
            playback = self._playbacks[key] = compose(received, reply, fault, is_azure=is_azure)
        return playback

    def _next_reply(self, received: Received) -> Reply:
        if isinstance(self._script, Reply):
            return self._script
        if callable(self._script):
            return self._script(received)
        return next(self._script, DEFAULT_REPLY)

    def _is_authorized(self, received: Received) -> bool:
        given = (received.headers.get("api-key"), received.headers.get("authorization"))
        return given[0] == self._api_key or given[1] == f"Bearer {self._api_key}"


DEFAULT_REPLY = Reply()


def _read_call(received: Received, path: str) -> None:
    call = msgspec.json.decode(received.body, type=_Call)
    in_path = path.partition("/deployments/")[2].partition("/")[0]
    received.model = unquote(in_path) or call.model
    received.is_stream = bool(call.stream)
    received.include_usage = bool((call.stream_options or {}).get("include_usage"))
    received.choices = call.n or 1
    if path.endswith("/embeddings") and bytes(call.input)[:1] == b"[":
        inputs = msgspec.json.decode(call.input, type=list[object])
        received.choices = 1 if inputs and isinstance(inputs[0], int) else len(inputs)


class Session(asyncio.Protocol):
    """One connection of a caller; requests that come while one is answered wait their turn."""

    __slots__ = ("_body", "_headers", "_parser", "_path", "_player", "_received", "_transport", "_vendor", "_waiting")

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self._parser: httptools.HttpRequestParser | None = None
        self._transport: asyncio.Transport | None = None
        self._player: Player | None = None
        self._received: Received | None = None
        self._waiting: deque[Received] = deque()
        self._path = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []

    def cut(self, *, only_idle: bool) -> None:
        """Close the connection."""
        if self._transport is not None and not (only_idle and self._player is not None):
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)  # the event loop types it as the base of all kinds
        self._parser = httptools.HttpRequestParser(self)
        self._vendor.opened(self)

    def data_received(self, data: bytes) -> None:
        """Parse; what is no HTTP ends the connection."""
        try:
            if self._parser is not None:
                self._parser.feed_data(data)
        except httptools.HttpParserError:
            if self._transport is not None:
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Stop playing; an answer that was not finished counts as cancelled by the caller."""
        if self._player is not None:
            self._player.stop()
            if self._received is not None:
                self._received.is_disconnected = True
        self._parser = self._transport = None
        self._vendor.closed(self)

    # For the parser

    def on_url(self, url: bytes) -> None:
        """Take a part of the request target."""
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        """Take a part of the body."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """Answer, or queue."""
        method = self._parser.get_method().decode() if self._parser is not None else ""
        received = Received(method, self._path.decode("latin-1"), self._headers, b"".join(self._body))
        self._path, self._headers, self._body = b"", {}, []
        if self._player is None:
            self._play(received)
        else:
            self._waiting.append(received)

    def _play(self, received: Received) -> None:
        if self._transport is None:
            return
        self._received = received
        self._player = Player(self._transport, self._vendor.respond(received), self._played)
        self._player.start()

    def _played(self) -> None:
        self._player = None
        if self._waiting:
            self._play(self._waiting.popleft())
