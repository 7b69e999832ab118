"""Who is asking."""

import ipaddress
from dataclasses import dataclass
from enum import StrEnum

from mainstay.platform.audit.events import ActorType

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Scope(StrEnum):
    """What a credential may be used for; what its owner may not do, it may not do either."""

    INFERENCE = "inference"
    ADMIN = "admin"
    SCIM = "scim"
    """Provisioning by an identity provider; good for nothing else, and nothing else is good for it."""
    OPERATOR = "operator"
    """The owner of the machine; no stored credential has it."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A known credential and what it may do. None of the limits is a limit when it is None."""

    key_id: str
    """Id of the credential: a key, a session, an identity provider's token."""
    organisation_id: str
    project_id: str
    scopes: frozenset[str]
    deployments: frozenset[str] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    expires_at: float | None = None
    """Unix time in seconds from which the credential is refused."""
    principal_id: str | None = None
    """The user or service account behind it. None: the project's own key, which may do what its scopes say."""
    actor_type: ActorType = ActorType.KEY
    networks: tuple[Network, ...] | None = None
    """Where the credential may be used from."""

    def may_use(self, deployment: str) -> bool:
        """Whether the credential is good for `deployment`."""
        return self.deployments is None or deployment in self.deployments


def is_allowed_from(caller: Caller, address: str) -> bool:
    """Whether the credential may be used from the address; one that cannot be read is outside of every network."""
    if caller.networks is None:
        return True
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in network for network in caller.networks)
