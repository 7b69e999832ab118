"""`Administration`: the admin API, one JSON document in and out.

async with Administration("http://127.0.0.1:8080", key) as administration:
    page = await administration.call("GET", "/admin/v1/users", query={"limit": "100"})
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from mainstay.client.errors import UnexpectedAnswerError, refusal
from mainstay.client.transport import Transport
from mainstay.kit.errors import InvalidRequestError
from mainstay.kit.http import Origin, Pool

_ANSWER_BYTES_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Document:
    """What was answered. `version` is the ETag, to send back as If-Match."""

    value: dict[str, Any]  # a JSON object, whose members the route's type describes
    version: str | None = None


class Administration:
    """Asks the admin API at `base_url`. `organisation` is another than the key's own: for the operator only."""

    def __init__(
        self, base_url: str, api_key: str, *, organisation: str | None = None, transport: Transport | None = None
    ) -> None:
        self.base_url = base_url
        self._prefix = urlsplit(base_url).path.rstrip("/").removesuffix("/v1")
        self._headers = [(b"accept", b"application/json"), (b"authorization", b"Bearer " + _ascii(api_key, "API key"))]
        if organisation is not None:
            self._headers.append((b"x-mainstay-organisation", _ascii(organisation, "id of the organisation")))
        self._transport = transport or Pool(Origin.split(base_url)[0])

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Document:
        """Send a request and return its answer. Raises the server's error as a MainstayError."""
        content = b"" if body is None else msgspec.json.encode(body)
        sent = [*self._headers, *((name.encode(), _ascii(value, name)) for name, value in (headers or {}).items())]
        if body is not None:
            sent.append((b"content-type", b"application/json"))
        target = self._prefix + path + (f"?{urlencode(query)}" if query else "")
        reply = await self._transport.send(method, target, sent, content)
        try:
            received = bytearray()
            while chunk := await reply.read_chunk():
                received += chunk
                if len(received) > _ANSWER_BYTES_MAX:
                    raise UnexpectedAnswerError(f"The answer of {self.base_url} is over {_ANSWER_BYTES_MAX} bytes.")
        finally:
            await reply.aclose()
        if not 200 <= reply.status < 300:
            raise refusal(reply.status, reply.headers, bytes(received))
        try:
            value = msgspec.json.decode(bytes(received), type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UnexpectedAnswerError(f"What {self.base_url} answered is no JSON object: {error}.") from error
        etag = reply.headers.get(b"etag")
        return Document(value, None if etag is None else etag.decode("latin-1"))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()


def filled(path: str, parameters: Mapping[str, str]) -> str:
    """Return a path with its `{parameters}` filled in, each as one segment."""
    return path.format(**{name: quote(value, safe="") for name, value in parameters.items()})


def _ascii(text: str, what: str) -> bytes:
    if not (text.isascii() and text.isprintable()):
        raise InvalidRequestError(f"The {what} has characters that cannot be sent.")
    return text.strip().encode("ascii")
