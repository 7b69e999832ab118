"""Request heads as bytes: checked once, rendered once, sent many times."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from mainstay.kit.http.errors import UnsafeHeader
from mainstay.kit.http.origin import Origin, Proxy

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
"""HEAD is not among them: an answer without the body that its own head announces needs a parser that is told."""

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIELD_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_TARGET = re.compile(r"/[\x21-\x7e]*")
_OURS = frozenset({b"content-length", b"transfer-encoding", b"connection", b"accept-encoding", b"expect"})

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A checked request head, ready to be sent any number of times with bodies of any length."""

    prefix: bytes

    @classmethod
    def render(cls, method: str, path: str, headers: Headers, *, origin: Origin, proxy: Proxy | None = None) -> Self:
        """Check and render; raises UnsafeHeader if a value could end its line or change how the body is framed."""
        if method not in METHODS:
            raise UnsafeHeader(f"Method '{method}' is not one of {', '.join(sorted(METHODS))}.")
        if not _TARGET.fullmatch(path):
            raise UnsafeHeader(f"Path {path!r} must start with '/' and hold only visible ASCII characters; quote it.")
        is_forwarded = proxy is not None and not origin.is_tls
        target = f"http://{origin.authority}{path}" if is_forwarded else path
        lines = [f"{method} {target} HTTP/1.1".encode()]
        if not any(name.lower() == b"host" for name, _ in headers):
            lines.append(b"host: " + origin.authority.encode())
        lines.append(b"accept-encoding: identity")
        if is_forwarded and proxy is not None and proxy.authorization is not None:
            lines.append(b"proxy-authorization: " + proxy.authorization.encode())
        lines += [_checked(name, value) for name, value in headers]
        return cls(prefix=b"\r\n".join(lines) + b"\r\n")

    def with_length(self, size_bytes: int) -> bytes:
        """Return the whole head of a request with a body of that size."""
        return b"%bcontent-length: %d\r\n\r\n" % (self.prefix, size_bytes)


def _checked(name: bytes, value: bytes) -> bytes:
    if not _TOKEN.fullmatch(name):
        raise UnsafeHeader(f"Header name {name!r} holds characters that a name may not have.")
    if name.lower() in _OURS:
        raise UnsafeHeader(f"Header '{name.decode()}' is set by the connection itself; remove it.")
    if not _FIELD_VALUE.fullmatch(value):
        raise UnsafeHeader(f"The value of header '{name.decode()}' holds a line break or control character.")
    return name + b": " + value
