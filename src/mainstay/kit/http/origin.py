"""Where requests go: an origin (scheme, host, port, or a unix socket), and the proxy in front of it."""

import base64
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import SplitResult, unquote, urlsplit

from mainstay.kit.errors import ConfigurationError

DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """One server: connections to it may be shared by all requests that go there."""

    host: str
    port: int
    is_tls: bool = False
    socket_path: str | None = None

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read `https://host:port`. Raises ConfigurationError for anything more, a path for example."""
        origin, path = cls.split(url)
        if path:
            raise ConfigurationError(f"URL '{url}' has a path where only scheme, host and port may stand.")
        return origin

    @classmethod
    def split(cls, url: str) -> tuple[Self, str]:
        """Read a base URL into its origin and its path without the last slash, e.g. `/v1`."""
        parts = _split_url(url, schemes=("http", "https"))
        if parts.query or parts.fragment or parts.username is not None:
            raise ConfigurationError(f"URL '{_bare(parts)}' may have no query, fragment or credentials.")
        host, port = _host_and_port(parts)
        return cls(host=host, port=port, is_tls=parts.scheme == "https"), parts.path.rstrip("/")

    @classmethod
    def unix(cls, path: str) -> Self:
        """Speak plain HTTP over the unix socket at `path`."""
        return cls(host="localhost", port=0, socket_path=path)

    @property
    def authority(self) -> str:
        """The value of the Host header: the port is left out where it goes without saying."""
        default = DEFAULT_PORTS["https" if self.is_tls else "http"]
        return bracketed(self.host) if self.port in (0, default) else self.host_and_port

    @property
    def host_and_port(self) -> str:
        """The target of a CONNECT request."""
        return f"{bracketed(self.host)}:{self.port}"

    def __str__(self) -> str:
        if self.socket_path is not None:
            return f"unix:{self.socket_path}"
        return f"{'https' if self.is_tls else 'http'}://{self.authority}"


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy: CONNECT for https origins, requests in absolute form for http ones."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)
    """The value of Proxy-Authorization."""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read `http://user:password@host:port`."""
        parts = _split_url(url, schemes=("http",))
        host, port = _host_and_port(parts)
        if parts.username is None:
            return cls(host=host, port=port)
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        return cls(host=host, port=port, authorization="Basic " + base64.b64encode(credentials).decode())

    def __str__(self) -> str:
        return f"http://{bracketed(self.host)}:{self.port}"


def bracketed(host: str) -> str:
    """Return the host as it stands in a URL: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


def _split_url(url: str, *, schemes: tuple[str, ...]) -> SplitResult:
    try:
        parts = urlsplit(url.strip())
        has_host = bool(parts.hostname)
    except ValueError as error:
        raise ConfigurationError(f"A URL is not valid: {error}.") from error
    if parts.scheme not in schemes or not has_host:
        wanted = " or ".join(f"{scheme}://" for scheme in schemes)
        raise ConfigurationError(f"URL '{_bare(parts)}' must start with {wanted} and name a host.")
    return parts


def _host_and_port(parts: SplitResult) -> tuple[str, int]:
    try:
        host = (parts.hostname or "").encode("ascii" if ":" in (parts.hostname or "") else "idna").decode()
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"URL '{_bare(parts)}' is not valid: {error}.") from error
    return host, DEFAULT_PORTS[parts.scheme] if port is None else port


def _bare(parts: SplitResult) -> str:
    """The URL without credentials, fit for a message."""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
