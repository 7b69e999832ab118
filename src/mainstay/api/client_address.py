"""Where a request came from, when proxies stand in front: believed only from those that the operator trusts."""

import ipaddress
import re
from collections.abc import Iterable, Sequence

from mainstay.platform.identity.caller import Network

_HOPS_MAX = 50
_MAPPED = "::ffff:"
_is_address_with_port = re.compile(
    r"(\d{1,3}(?:\.\d{1,3}){3})(?::\d{1,5})?|\[([0-9A-Fa-f:.]{2,45})\](?::\d{1,5})?"
).fullmatch
_is_ipv6 = re.compile(r"[0-9A-Fa-f:.]{2,45}").fullmatch


class ClientAddresses:
    """Reads X-Forwarded-For, from the right: each trusted proxy vouches for the entry that it has added."""

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self._trusted = tuple(trusted)

    def find(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """Return the address of the client whose connection ends at `peer`."""
        address = _plain(peer)
        if not self._trusted or not self._is_trusted(address):
            return address
        for hop in self._hops(headers):
            nearer = _address(hop)
            if nearer is None:
                break
            address = nearer
            if not self._is_trusted(address):
                break
        return address

    def _hops(self, headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
        lines = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
        return [hop.strip() for hop in ",".join(lines).split(",")][: -_HOPS_MAX - 1 : -1]

    def _is_trusted(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._trusted)


def _address(hop: str) -> str | None:
    """Return the address of an entry, which some proxies write with a port; None for anything else."""
    found = _is_address_with_port(hop)
    text = (found[1] or found[2]) if found is not None else hop if _is_ipv6(hop) else ""
    try:
        return _plain(str(ipaddress.ip_address(text)))
    except ValueError:
        return None


def _plain(address: str) -> str:
    """Return an IPv4 address that came over an IPv6 socket as what it is."""
    if address[:7].lower() != _MAPPED:
        return address
    try:
        mapped = ipaddress.IPv6Address(address).ipv4_mapped
    except ValueError:
        return address
    return address if mapped is None else str(mapped)
