"""A provider: a vendor's account or endpoint, with the credentials to use it."""

import math
import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from mainstay.kit.http import AddressGuard, Origin, Pool, PoolLimits, Proxy, Timeouts, client_context

MAX_ANSWER_BYTES = 64 * 1024 * 1024


class ProviderKind(StrEnum):
    """The dialect that a provider speaks."""

    OPENAI = "openai"
    AZURE = "azure"


@dataclass(frozen=True, slots=True)
class Provider:
    """Everything that is needed to call a vendor. Equal providers may share connections."""

    name: str
    kind: ProviderKind
    base_url: str
    """Of OpenAI: up to and with `/v1`. Of Azure: the resource, `https://NAME.openai.azure.com`."""
    api_key: str | None = field(default=None, repr=False)
    api_version: str | None = None
    """Of Azure's classic URLs, e.g. `2024-10-21`; None or `v1` means the v1 API."""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Sent with every call; they may hold credentials."""
    proxy: str | None = field(default=None, repr=False)
    """`http://user:password@host:port`."""
    ca_file: Path | None = None
    """Certificates to trust instead of the system's, in PEM."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    total_seconds: float = math.inf
    """For a whole answer; a call may have a nearer deadline of its own."""
    limits: PoolLimits = field(default_factory=PoolLimits)
    max_answer_bytes: int = MAX_ANSWER_BYTES

    def without_secrets(self, text: str) -> str:
        """Return a vendor's text with our credentials taken out, fit for callers and logs."""
        secrets = [self.api_key, *(value for _, value in self.headers)]
        for secret in secrets:
            if secret and len(secret) >= SHORTEST_SECRET:
                text = text.replace(secret, "[removed]")
        return text


SHORTEST_SECRET = 8
"""Shorter header values are words such as `true`, which may stand in any message."""


def open_pools(
    providers: Collection[Provider], *, kept: Mapping[Provider, Pool], tls: ssl.SSLContext | None = None
) -> Mapping[Provider, Pool]:
    """Return a pool for each provider; those in `kept` whose provider has not changed are used again.

    Raises ConfigurationError for a URL that cannot be used.
    """
    if tls is None and any(provider.base_url.startswith("https:") for provider in providers):
        tls = client_context()  # once: its roots take a megabyte
    return {provider: kept.get(provider) or open_pool(provider, tls=tls) for provider in providers}


def open_pool(provider: Provider, *, tls: ssl.SSLContext | None = None, guard: AddressGuard | None = None) -> Pool:
    """Return a pool for one provider, whose addresses `guard` checks. Raises ConfigurationError."""
    origin, _ = Origin.split(provider.base_url)
    if provider.ca_file is not None:
        tls = client_context(provider.ca_file)
    proxy = Proxy.parse(provider.proxy) if provider.proxy is not None else None
    return Pool(origin, provider.limits, provider.timeouts, tls=tls, proxy=proxy, guard=guard)
