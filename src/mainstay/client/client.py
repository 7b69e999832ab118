"""`Client`: ask models through the platform's HTTP API.

async with Client("http://127.0.0.1:8080", key) as client:
    async with aclosing(client.chat([Message("user", "Hello")], "gpt-4o")) as events:
        async for event in events:
            ...
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

import msgspec

from mainstay.client import question
from mainstay.client.answer import AnswerReader
from mainstay.client.errors import AnswerCutOffError, UnexpectedAnswerError, refusal
from mainstay.client.events import Event
from mainstay.client.question import Message, Options
from mainstay.client.transport import Headers, Reply, Transport
from mainstay.kit.errors import InvalidRequestError, MainstayError, UnavailableError
from mainstay.kit.http import EventParser, Origin, Pool, Timeouts
from mainstay.protocol.answers import ModelCard, ModelList

_ANSWER_LIMIT_BYTES = 32 * 2**20
_DRAIN_SECONDS = 1.0
_EVENT_STREAM = b"text/event-stream"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for an answer to begin (a model may have to load first), and between two pieces of it."""

    begin_seconds: float = 600.0
    piece_seconds: float = 120.0


class Client:
    """Asks the API at `base_url`, with or without `/v1` at its end. Safe for many calls at once."""

    def __init__(
        self, base_url: str, api_key: str, *, transport: Transport | None = None, patience: Patience | None = None
    ) -> None:
        self.base_url = base_url
        self._prefix = _prefix(base_url)
        self._authorization = [(b"authorization", b"Bearer " + _header_value(api_key))] if api_key else []
        self._patience = patience or Patience()
        self._transport = transport or _connect(base_url, self._patience)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    async def models(self) -> list[ModelCard]:
        """Return the models that this key may use."""
        async with self._ask("GET", "/models", b"") as reply:
            body = await self._read(reply)
        try:
            return msgspec.json.decode(body, type=ModelList).data
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UnexpectedAnswerError(f"What {self.base_url} answered is no list of models: {error}.") from error

    async def chat(
        self, messages: Sequence[Message], model: str, *, stream: bool = True, options: Options | None = None
    ) -> AsyncGenerator[Event, None]:
        """Yield the events of one answer; use it inside `aclosing()`: closing early stops the model.

        Raises the server's error as a MainstayError: before the first event if the call was refused, later if
        the answer broke off (AnswerCutOffError, or TransportError with the connection).
        """
        body = question.body(messages, model, stream=stream, options=options or Options())
        async with self._ask("POST", "/chat/completions", body) as reply:
            reader = AnswerReader()
            if _is_stream(reply):
                parser = EventParser()
                seconds = self._patience.begin_seconds
                while not reader.is_done and (arrived := await self._read_chunk(reply, seconds)):
                    seconds = self._patience.piece_seconds
                    for data in parser.feed(arrived):
                        for event in reader.chunk(data):
                            yield event
            else:
                for event in reader.whole(await self._read(reply)):
                    yield event
            yield reader.finish()
            await self._drain(reply)

    @asynccontextmanager
    async def _ask(self, method: str, path: str, body: bytes) -> AsyncIterator[Reply]:
        """Send a request and hand over its reply if the server accepted it; close it whatever happens."""
        headers: Headers = [
            *self._authorization,
            (b"accept", b"application/json, text/event-stream"),
            *([(b"content-type", b"application/json")] if body else []),
        ]
        try:
            async with asyncio.timeout(self._patience.begin_seconds):
                reply = await self._transport.send(method, self._prefix + path, headers, body)
        except TimeoutError:
            raise UnavailableError(
                f"No answer from {self.base_url} began within {self._patience.begin_seconds:.0f} s."
            ) from None
        try:
            if reply.status != 200:
                raise refusal(reply.status, reply.headers, await self._read(reply))
            yield reply
        finally:
            await reply.aclose()

    async def _read(self, reply: Reply) -> bytes:
        """Read a whole body, within the limit."""
        body = bytearray()
        while chunk := await self._read_chunk(reply, self._patience.begin_seconds):
            body += chunk
            if len(body) > _ANSWER_LIMIT_BYTES:
                raise UnexpectedAnswerError(f"The answer of {self.base_url} is over {_ANSWER_LIMIT_BYTES} bytes.")
        return bytes(body)

    @staticmethod
    async def _read_chunk(reply: Reply, seconds: float) -> bytes:
        try:
            async with asyncio.timeout(seconds):
                return await reply.read_chunk()
        except TimeoutError:
            raise AnswerCutOffError(f"Nothing more of the answer came within {seconds:.0f} s.") from None

    async def _drain(self, reply: Reply) -> None:
        """Read the end of a stream whose last event has come, so that its connection can be used again."""
        with contextlib.suppress(MainstayError, TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while await reply.read_chunk():
                    pass


def _connect(base_url: str, patience: Patience) -> Transport:
    timeouts = Timeouts(first_byte_seconds=patience.begin_seconds, idle_seconds=patience.piece_seconds)
    return Pool(Origin.split(base_url)[0], timeouts=timeouts)


def _is_stream(reply: Reply) -> bool:
    return reply.headers.get(b"content-type", b"").startswith(_EVENT_STREAM)


def _prefix(base_url: str) -> str:
    """Return the path before every route: that of the URL, with `/v1` at its end."""
    path = urlsplit(base_url).path.rstrip("/")
    return path if path.endswith("/v1") else path + "/v1"


def _header_value(api_key: str) -> bytes:
    if not (api_key.isascii() and api_key.isprintable()):
        raise InvalidRequestError("The API key has characters that no key has; copy it again.", code="invalid_api_key")
    return api_key.strip().encode("ascii")
