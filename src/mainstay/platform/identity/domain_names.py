"""Names of mail domains, and the proof that they are one's own, in the DNS."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from mainstay.kit.errors import InvalidRequestError, UnavailableError

if TYPE_CHECKING:
    from dns.nameserver import Do53Nameserver

RECORD_LABEL = "_mainstay-challenge"
_LOOKUP_SECONDS = 5.0
_RECORDS_MAX = 100
_is_domain = re.compile(
    r"(?=.{4,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
).fullmatch


class TextRecords(Protocol):
    """Asks the DNS."""

    async def texts(self, name: str) -> Sequence[str]:
        """Return the TXT records of a name; none if there is no such name. Raises UnavailableError."""
        ...


class NameServers:
    """Asks the system's name servers, or others."""

    def __init__(self, addresses: Sequence[str] = ()) -> None:
        """`addresses` are name servers by their IP addresses, with a port as in `10.0.0.2:5353` if it is not 53."""
        self._addresses = tuple(addresses)

    async def texts(self, name: str) -> Sequence[str]:
        """Return the TXT records of a name; none if there is no such name. Raises UnavailableError."""
        import dns.asyncresolver
        import dns.exception
        import dns.rdatatype
        import dns.resolver

        try:
            resolver = dns.asyncresolver.Resolver(configure=not self._addresses)
            if self._addresses:
                resolver.nameservers = [_name_server(address) for address in self._addresses]
            answer = await resolver.resolve(name, dns.rdatatype.TXT, search=False, lifetime=_LOOKUP_SECONDS)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return ()
        except (dns.exception.DNSException, OSError) as error:
            raise UnavailableError(f"The name servers do not answer for '{name}': {error}.") from error
        records = list(answer)[:_RECORDS_MAX]
        return [b"".join(record.strings).decode("utf-8", "replace") for record in records]


def clean_domain(text: str) -> str:
    """Return a domain as it is compared. Raises InvalidRequestError for what is none."""
    name = text.strip().lower().removesuffix(".")
    if not _is_domain(name):
        raise InvalidRequestError(
            f"{text[:80]!r} is no domain such as example.com; write other letters as xn--...", param="name"
        )
    return name


def record_name(domain: str) -> str:
    """Return where the proof is looked for."""
    return f"{RECORD_LABEL}.{domain}"


def _name_server(address: str) -> "Do53Nameserver":
    from dns.nameserver import Do53Nameserver

    host, _, port = address.partition(":") if address.count(":") == 1 else (address, "", "")
    return Do53Nameserver(host, int(port or 53))
