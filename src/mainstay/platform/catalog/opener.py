"""The HTTP opener of downloads: http and https only, proxies and certificates of the environment."""

import base64
import http.client
import ssl
import urllib.parse
import urllib.request
from collections.abc import Mapping

from mainstay import __version__

_CONNECT_SECONDS = 5.0
_READ_SECONDS = 60.0


def build_opener() -> urllib.request.OpenerDirector:
    """Build an opener that knows http and https only; the usual one would also read file: and ftp:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        _HttpHandler(),
        _HttpsHandler(context=ssl.create_default_context()),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


class _Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        """Connect soon or not at all, then be patient."""
        self.timeout = _CONNECT_SECONDS
        super().connect()
        self.sock.settimeout(_READ_SECONDS)


class _TlsConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        """Connect soon or not at all, then be patient."""
        self.timeout = _CONNECT_SECONDS
        super().connect()
        self.sock.settimeout(_READ_SECONDS)


class _HttpHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open with the timeouts of this module."""
        return self.do_open(_Connection, req)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def __init__(self, *, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._trust = context

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open with the timeouts of this module."""
        return self.do_open(_TlsConnection, req, context=self._trust)


def build_request(url: str, headers: Mapping[str, str]) -> urllib.request.Request:
    """Build a request; a name and password in the URL become Basic credentials for that host alone."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"only http and https are read, not '{parts.scheme}'")
    credentials, _, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(  # noqa: S310 - the scheme is checked above
        urllib.parse.urlunsplit(parts._replace(netloc=host)),
        headers={"User-Agent": f"mainstay/{__version__}", "Accept-Encoding": "identity", **headers},
    )
    if credentials:
        encoded = base64.b64encode(urllib.parse.unquote(credentials).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {encoded}")
    return request


def without_credentials(url: str) -> str:
    """Return the URL as it may be shown: without credentials and query."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
