"""One HTTP request and its response, over plain ASGI."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote

from mainstay.kit.errors import BodyTooLargeError, InvalidRequestError, MainstayError

if TYPE_CHECKING:
    from mainstay.api.dialects import Dialect
    from mainstay.platform.identity.caller import Caller

Message = MutableMapping[str, Any]  # an ASGI message, whose keys differ by type (ASGI 3.0)
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

_PLAIN: Header = (b"content-type", b"text/plain")
_FORM = b"application/x-www-form-urlencoded"
_FORM_BYTES_MAX = 65_536
_FORM_FIELDS_MAX = 20
_JSON: Header = (b"content-type", b"application/json")
_JSON_LINES: Header = (b"content-type", b"application/jsonl")
_EVENT_STREAM: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
_BODY_TIMEOUT_SECONDS = 120.0
"""For a whole body that does not come in one piece; a silent sender is cut off earlier by the connection."""


TASK = "mainstay.task"
"""Member of the scope with the task that answers the request; asking asyncio for it costs microseconds."""


class ClientGoneError(Exception):
    """The caller closed the connection before the request was whole."""


class Exchange:
    """A request that came in and the response that goes out."""

    __slots__ = (
        "_body_limit",
        "_receive",
        "_send",
        "address",
        "before_success",
        "began",
        "caller",
        "deployment",
        "dialect",
        "edge_headers",
        "ending",
        "failure",
        "headers",
        "is_complete",
        "is_started",
        "keeps_response",
        "kept_body",
        "method",
        "parameters",
        "path",
        "query_string",
        "request_id",
        "response",
        "status",
        "streams_lines",
        "task",
    )

    def __init__(self, scope: Mapping[str, Any], receive: Receive, send: Send, *, body_limit: int) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query_string: bytes = scope["query_string"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.address: str = (scope.get("client") or ("",))[0]
        """Where the request came from."""
        self.task: asyncio.Task[Any] | None = scope.get(TASK)  # Any: what it returns is nobody's concern
        self.parameters: Mapping[str, str] = {}
        self.deployment = ""
        """The deployment that is called, by the name that permissions are given for; empty where none is."""
        self.began = time.monotonic()
        self.request_id = ""
        self.status = 0
        self.failure = ""
        """Why the service could not answer; empty where it did, or where the caller is at fault."""
        self.ending: MainstayError | None = None
        """Why the request was cancelled, if it was ended for its caller."""
        self.edge_headers: tuple[Header, ...] = ()
        """What every response says besides its own headers."""
        self.is_started = False
        self.is_complete = False
        self.streams_lines = False
        self.dialect: Dialect
        self.caller: Caller
        self.before_success: Callable[[], Awaitable[None]] | None = None
        """Awaited before a success is told of: what was written is then in force here."""
        self.keeps_response = False
        self.response = b""
        """The body of the response, if it is kept."""
        self.kept_body: bytes | None = None
        self._receive = receive
        self._send = send
        self._body_limit = body_limit

    def query(self) -> dict[str, str]:
        """The query string, last value of each name."""
        if not self.query_string:
            return {}
        try:
            return dict(parse_qsl(self.query_string.decode("ascii"), keep_blank_values=True, max_num_fields=100))
        except ValueError:
            raise InvalidRequestError("The query string cannot be read.", code="invalid_query") from None

    def limit_body(self, size_bytes: int) -> None:
        """Read no more than this of the body."""
        self._body_limit = min(self._body_limit, size_bytes)

    async def read_body(self) -> bytes:
        """The whole body. Raises BodyTooLargeError as soon as it is known to be over the limit."""
        if self.kept_body is not None:
            return self.kept_body
        declared = self.headers.get(b"content-length")
        if declared is not None and int(declared) > self._body_limit:
            raise self._too_large()
        if self.headers.get(b"content-encoding", b"identity") != b"identity":
            raise InvalidRequestError(
                "Compressed request bodies are not read; send the JSON as it is.",
                status=415,
                code="unsupported_content_encoding",
            )
        message = await self._next()
        body: bytes = message["body"]
        if not message["more_body"]:
            return body
        try:
            async with asyncio.timeout(_BODY_TIMEOUT_SECONDS):
                return await self._read_rest(bytearray(body))
        except TimeoutError:
            raise InvalidRequestError(
                f"The body did not arrive within {_BODY_TIMEOUT_SECONDS:.0f} s.", status=408, code="request_timeout"
            ) from None

    async def read_form(self) -> dict[str, str]:
        """The fields of a page's form, last value of each name. Raises InvalidRequestError."""
        body = await self.read_body()
        kind = self.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        try:
            if kind != _FORM or len(body) > _FORM_BYTES_MAX:
                raise ValueError
            text = body.decode("ascii")
            return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_FORM_FIELDS_MAX, errors="strict"))
        except ValueError:
            raise InvalidRequestError("The form cannot be read.", code="invalid_form") from None

    async def keep_body(self) -> bytes:
        """Read the whole body and keep it for whoever reads it next."""
        self.kept_body = await self.read_body()
        return self.kept_body

    async def _read_rest(self, body: bytearray) -> bytes:
        while True:
            if len(body) > self._body_limit:
                raise self._too_large()
            message = await self._next()
            body += message["body"]
            if not message["more_body"] and len(body) <= self._body_limit:
                return bytes(body)

    async def _next(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        return message

    def _too_large(self) -> BodyTooLargeError:
        return BodyTooLargeError(f"The body is over the limit of {self._body_limit} bytes; send less.")

    async def respond(self, status: int, body: bytes, headers: Iterable[Header] = (), *, kind: Header = _JSON) -> None:
        """Send a whole response."""
        if self.keeps_response:
            self.response = body
        if self.before_success is not None and status < HTTPStatus.BAD_REQUEST:
            await self.before_success()
        await self._start(status, [kind, (b"content-length", b"%d" % len(body)), *headers])
        self.is_complete = True
        await self._send({"type": "http.response.body", "body": body})

    async def redirect(self, location: str, headers: Iterable[Header] = ()) -> None:
        """Send the browser to another page of ours, to be asked for with GET."""
        target = quote(location, safe="/?&=%#.~-_:")
        await self.respond(303, b"", [(b"location", target.encode()), *headers], kind=_PLAIN)

    async def start_events(self, headers: Iterable[Header] = ()) -> None:
        """Open a stream of server-sent events."""
        await self._start(200, [*_EVENT_STREAM, *headers])
        self.headers = {}  # a stream may stay open for long

    async def send_events(self, chunks: list[bytes]) -> None:
        """Send each chunk as one `data:` event; LF only, since some clients read nothing else."""
        body = b"data: " + b"\n\ndata: ".join(chunks) + b"\n\n"
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def end_events(self, last: bytes | None) -> None:
        """Send the last event, if any, and end the stream."""
        self.is_complete = True
        body = b"" if last is None else b"data: " + last + b"\n\n"
        await self._send({"type": "http.response.body", "body": body})

    async def start_lines(self, headers: Iterable[Header] = ()) -> None:
        """Open a stream of lines of JSON."""
        self.streams_lines = True
        await self._start(200, [_JSON_LINES, *headers])

    async def send_lines(self, lines: bytes) -> None:
        """Send some lines, each with its end."""
        await self._send({"type": "http.response.body", "body": lines, "more_body": True})

    async def end_lines(self, last: bytes = b"") -> None:
        """Send the last line, if any, and end the stream."""
        self.is_complete = True
        await self._send({"type": "http.response.body", "body": last})

    async def fail(self, error: MainstayError) -> None:
        """Tell the caller of an error, in a body or, once a stream has begun, in an event."""
        if self.is_complete:
            return
        if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self.failure = error.message
        if self.is_started:
            end = self.end_lines if self.streams_lines else self.end_events
            await end(self.dialect.error_body(error))
            return
        headers = self.dialect.error_headers(error)
        await self.respond(error.status, self.dialect.error_body(error), headers, kind=self.dialect.content_type)

    async def _start(self, status: int, headers: list[Header]) -> None:
        self.is_started = True
        self.status = status
        headers += self.edge_headers
        headers += self.dialect.headers(self.request_id, self.headers, self.began)
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
