"""What carries a request to the API and its answer back: a pool of HTTP connections, or an app in this process."""

from collections.abc import Mapping, Sequence
from typing import Protocol

Headers = Sequence[tuple[bytes, bytes]]


class Reply(Protocol):
    """An answer whose head has arrived and whose body may still be on its way."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        """Header values by lowercase name."""
        ...

    async def read_chunk(self) -> bytes:
        """Return what has arrived, at least one byte; `b""` at a clean end. Raises if the body was cut off."""
        ...

    async def aclose(self) -> None:
        """Release the connection; before the end of the body this tells the server to stop. Safe to call twice."""
        ...


class Transport(Protocol):
    """Sends one request at a time or many at once; `mainstay.kit.http.Pool` is one."""

    async def send(self, method: str, path: str, headers: Headers, body: bytes) -> Reply:
        """Send a request and return once the head of its answer has arrived."""
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...
