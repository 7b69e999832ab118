"""What an API key shall be, and whether that makes sense."""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from msgspec import UNSET, UnsetType

from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.identity.caller import Network, Scope
from mainstay.platform.identity.names import NAME_LENGTH_MAX, is_printable

DEPLOYMENTS_MAX = 1000
NETWORKS_MAX = 100
LIMIT_MAX = 10**12
SCOPES = (Scope.INFERENCE, Scope.ADMIN, Scope.SCIM)
"""What a key may have; the operator's scope is in no stored credential."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a key shall be. None of the limits is a limit when it is None."""

    name: str
    scopes: Sequence[str] = (Scope.INFERENCE,)
    deployments: Sequence[str] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    expires_at_ms: int | None = None
    principal_id: str | None = None
    """Whose it is: a user's or a service account's. None: the project's own."""
    networks: Sequence[str] | None = None
    """Where it may be used from: addresses or networks such as `10.0.0.0/8`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChanges:
    """What of a key shall be otherwise; UNSET stays as it is. What a key is good for can only be made anew."""

    name: str | UnsetType = UNSET
    deployments: Sequence[str] | UnsetType | None = UNSET
    requests_per_minute: int | UnsetType | None = UNSET
    tokens_per_minute: int | UnsetType | None = UNSET
    expires_at_ms: int | UnsetType | None = UNSET
    networks: Sequence[str] | UnsetType | None = UNSET


def check_key(wanted: NewKey, now_ms: int) -> None:
    """Raise InvalidRequestError, naming the member, for what makes no sense."""
    if not 1 <= len(wanted.name) <= NAME_LENGTH_MAX or not is_printable(wanted.name):
        raise InvalidRequestError(f"A key needs a name of 1 to {NAME_LENGTH_MAX} printable characters.", param="name")
    _check_scopes(wanted)
    if wanted.deployments is not None:
        _check_deployments(wanted.deployments)
    for name in ("requests_per_minute", "tokens_per_minute"):
        limit = getattr(wanted, name)
        if limit is not None and not 1 <= limit <= LIMIT_MAX:
            raise InvalidRequestError(f"{name} is {limit}; it must be between 1 and {LIMIT_MAX}.", param=name)
    if wanted.expires_at_ms is not None and wanted.expires_at_ms <= now_ms:
        raise InvalidRequestError("The key would have expired already; choose a time to come.", param="expires_at")
    if wanted.networks is not None:
        parse_networks(wanted.networks)


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return the networks that addresses and networks in CIDR notation say, in order and each once.

    An IPv4 network that is written as IPv6 (`::ffff:10.0.0.0/104`) is the IPv4 network. Raises InvalidRequestError.
    """
    found = {_parse_network(text) for text in texts}
    if not 1 <= len(found) <= NETWORKS_MAX:
        raise InvalidRequestError(
            f"A key may be limited to 1 to {NETWORKS_MAX} networks, not {len(found)}.", param="networks"
        )
    return tuple(
        sorted(found, key=lambda network: (network.version, network.network_address.packed, network.prefixlen))
    )


def _parse_network(text: str) -> Network:
    try:
        if "%" in text:  # a zone means something on one machine only
            raise ValueError
        network = ipaddress.ip_network(text)
    except ValueError:
        raise InvalidRequestError(
            f"{text[:80]!r} is no network; write an address, or a network such as 10.0.0.0/8 or 2001:db8::/32 whose "
            "address has no bits behind the prefix.",
            param="networks",
        ) from None
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= _MAPPED_PREFIX:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED_PREFIX))
    return network


_MAPPED_PREFIX = 96


def _check_scopes(wanted: NewKey) -> None:
    unknown = sorted(set(wanted.scopes) - set(SCOPES))
    if unknown or not wanted.scopes:
        what = f"There is no scope '{unknown[0]}'" if unknown else "A key needs a scope"
        raise InvalidRequestError(f"{what}; the scopes are {', '.join(SCOPES)}.", param="scopes")
    if Scope.SCIM in wanted.scopes and (len(set(wanted.scopes)) > 1 or wanted.principal_id is not None):
        raise InvalidRequestError(
            "A key for SCIM is good for nothing else and is nobody's; make another key for the rest.", param="scopes"
        )


def _check_deployments(deployments: Sequence[str]) -> None:
    if not 1 <= len(deployments) <= DEPLOYMENTS_MAX:
        raise InvalidRequestError(
            f"A key may be limited to 1 to {DEPLOYMENTS_MAX} deployments, not {len(deployments)}.", param="deployments"
        )
    for name in deployments:
        if not 1 <= len(name) <= NAME_LENGTH_MAX or not is_printable(name):
            raise InvalidRequestError(f"{name[:80]!r} cannot be the name of a deployment.", param="deployments")
