"""Which addresses may be connected to on behalf of someone who is not the operator: the public ones, and no others.

A name is looked up once, every address that it has is checked, and the connection goes to an address that was checked:
a second answer of the name server, or another reading of the same text, changes nothing.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from mainstay.kit.http.errors import DnsFailure, ForbiddenAddressError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""Returns the addresses of a host's name. Raises OSError (socket.gaierror) when it has none."""

_LOOKUPS_AT_ONCE = 32

# IANA's special-purpose address registries (RFC 6890, as of 2025-10), and what clouds serve secrets from.
_RESERVED_4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's wire server: public by its number only
        "169.254.0.0/16",  # link-local, with the metadata services
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_GLOBAL_6 = ipaddress.IPv6Network("2000::/3")
_RESERVED_6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",
        "2002::/16",  # 6to4: holds an IPv4 address
        "3fff::/20",
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class AddressGuard:
    """Finds the addresses of a host and refuses those that nobody but the operator may have connected to."""

    def __init__(self, allowed: Sequence[Network] = (), *, resolve: Resolve | None = None) -> None:
        """`allowed` are networks that the operator has opened; `resolve` replaces the system's look-up."""
        self._allowed = tuple(allowed)
        self._resolve = resolve or SystemResolver()

    async def addresses(self, host: str) -> list[str]:
        """Return the addresses to connect to, in the order of preference.

        Raises ForbiddenAddressError if any of them may not be connected to, and DnsFailure if there is none.
        """
        literal = _literal(host)
        if literal is not None:
            found = [literal]
        else:
            try:
                texts = await self._resolve(host)
            except OSError as error:
                raise DnsFailure(f"The name '{host}' cannot be looked up: {error.strerror or error}.") from error
            found = list(dict.fromkeys(_unmapped(ipaddress.ip_address(text)) for text in texts))
        if not found:
            raise DnsFailure(f"The name '{host}' has no address.")
        if not all(self.allows(address) for address in found):
            # Not which address: that would tell what the names of the inside stand for.
            raise ForbiddenAddressError(
                f"'{host}' leads to a private or reserved address, where Mainstay does not connect to; "
                "whoever runs this server can allow its network with [outbound] allowed_networks in mainstay.toml."
            )
        return [str(address) for address in found]

    def allows(self, address: Address) -> bool:
        """Say whether an address may be connected to."""
        address = _unmapped(address)
        return is_public(address) or any(address in network for network in self._allowed)


def is_public(address: Address) -> bool:
    """Say whether an address belongs to the public internet; what embeds an IPv4 address is as public as that."""
    address = _unmapped(address)
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _RESERVED_4)
    if address.scope_id is not None:
        return False
    if address in _NAT64:
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in _GLOBAL_6 and not any(address in network for network in _RESERVED_6)


class SystemResolver:
    """Looks names up as the system does, in threads of its own: a slow name server holds up nothing else.

    A name is looked up once for all who ask meanwhile, so that the same one cannot take every thread.
    """

    def __init__(self, look_up: Callable[[str], Sequence[str]] | None = None) -> None:
        self._look_up = look_up or _look_up
        self._executor = ThreadPoolExecutor(_LOOKUPS_AT_ONCE, thread_name_prefix="outbound-dns")
        self._asked: dict[str, asyncio.Future[Sequence[str]]] = {}

    async def __call__(self, host: str) -> Sequence[str]:
        """Return the addresses of `host`. Raises socket.gaierror."""
        answer = self._asked.get(host)
        if answer is None:
            answer = asyncio.get_running_loop().run_in_executor(self._executor, self._look_up, host)
            self._asked[host] = answer
            answer.add_done_callback(lambda ended: self._ended(host, ended))
        return await asyncio.shield(answer)  # whoever loses patience does not take it from the others

    def _ended(self, host: str, answer: asyncio.Future[Sequence[str]]) -> None:
        self._asked.pop(host, None)
        if not answer.cancelled():
            answer.exception()  # seen, though nobody may wait for it any more


def _look_up(host: str) -> Sequence[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _literal(host: str) -> Address | None:
    try:
        return _unmapped(ipaddress.ip_address(host))
    except ValueError:
        return None


def _unmapped(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for, as the kernel would connect to it."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped
