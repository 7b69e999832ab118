"""URLs that people enter, read once and strictly: what two programs could read differently is refused."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import urljoin

from mainstay.kit.errors import InvalidRequestError
from mainstay.kit.http.origin import DEFAULT_PORTS, Origin

MAX_URL_CHARACTERS = 2048

_UNSAFE = re.compile(r'[^\x21-\x7e]|[\\"<>^`{|}]')
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?(?:#.*)?", re.IGNORECASE
)
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::(?P<port>[0-9]{1,5}))?")
_NAME = re.compile(
    r"(?=.{1,253}\Z)(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.?"
)
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


@dataclass(frozen=True, slots=True)
class Url:
    """An http or https URL without credentials: where to connect to, and what to ask for."""

    origin: Origin
    target: str
    """Path and query, as they are sent."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an absolute URL; its fragment is dropped. Raises InvalidRequestError that says what is wrong with it."""
        if len(text) > MAX_URL_CHARACTERS:
            raise _invalid(text, f"is longer than {MAX_URL_CHARACTERS} characters")
        if unsafe := _UNSAFE.search(text):
            raise _invalid(text, f"holds {unsafe[0]!a}; quote it, and write names as ASCII (xn--...)")
        found = _URL.fullmatch(text)
        if found is None:
            raise _invalid(text, "must be http://host/path or https://host/path")
        if "@" in found["authority"]:
            raise _invalid(text, "holds credentials before the host; leave them out")
        where = _AUTHORITY.fullmatch(found["authority"])
        if where is None:
            raise _invalid(text, "names no host that can be read")
        scheme = found["scheme"].lower()
        port = int(where["port"] or DEFAULT_PORTS[scheme])
        if not 1 <= port <= 65_535:
            raise _invalid(text, f"has the port {port}, which does not exist")
        origin = Origin(host=_host(text, where["host"]), port=port, is_tls=scheme == "https")
        return cls(origin, (found["path"] or "/") + (found["query"] or ""))

    def join(self, location: str) -> Self:
        """Return where a redirect to `location` leads. Raises InvalidRequestError."""
        if len(location) > MAX_URL_CHARACTERS or _UNSAFE.search(location):
            raise _invalid(location, "is too long or holds characters that no URL has")
        try:
            joined = urljoin(str(self), location)
        except ValueError:
            raise _invalid(location, "cannot be read") from None
        return self.parse(joined)

    def __str__(self) -> str:
        return f"{self.origin}{self.target}"


def _host(text: str, host: str) -> str:
    if host.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise _invalid(text, "holds an IPv6 address that is none") from None
    host = host.lower().removesuffix(".")
    if _NUMBER.fullmatch(host.rpartition(".")[2]):  # what ends in a number is an address (WHATWG URL, 3.5)
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise _invalid(text, "holds an address that is not written as four decimal numbers") from None
    if not _NAME.fullmatch(host):
        raise _invalid(text, "names no host that can be read")
    return host


def _invalid(text: str, what: str) -> InvalidRequestError:
    """Return the error; of the URL only as much as cannot hold a credential is shown."""
    shown = ascii(text.partition("?")[0].rpartition("@")[2][:100])
    return InvalidRequestError(f"The URL {shown} {what}.", code="invalid_url")
