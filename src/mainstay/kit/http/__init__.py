"""An HTTP/1.1 client made for model calls: pooled, bounded in time and memory, cheap for open streams."""

from mainstay.kit.http.addresses import AddressGuard, Network, Resolve, is_public
from mainstay.kit.http.errors import (
    ConnectionReset,
    ConnectRefused,
    ConnectTimeout,
    DeadlineExceeded,
    DnsFailure,
    FirstByteTimeout,
    ForbiddenAddressError,
    IdleTimeout,
    MalformedResponse,
    Phase,
    PoolExhausted,
    TlsFailure,
    TransportError,
    Truncated,
    UnsafeHeader,
)
from mainstay.kit.http.events import EventParser
from mainstay.kit.http.head import Headers, RequestHead
from mainstay.kit.http.limits import PoolLimits, Timeouts
from mainstay.kit.http.origin import Origin, Proxy
from mainstay.kit.http.outbound import Fetched, Outbound
from mainstay.kit.http.pool import Pool
from mainstay.kit.http.response import Response
from mainstay.kit.http.tls import client_context
from mainstay.kit.http.url import Url

__all__ = [
    "AddressGuard",
    "ConnectRefused",
    "ConnectTimeout",
    "ConnectionReset",
    "DeadlineExceeded",
    "DnsFailure",
    "EventParser",
    "Fetched",
    "FirstByteTimeout",
    "ForbiddenAddressError",
    "Headers",
    "IdleTimeout",
    "MalformedResponse",
    "Network",
    "Origin",
    "Outbound",
    "Phase",
    "Pool",
    "PoolExhausted",
    "PoolLimits",
    "Proxy",
    "RequestHead",
    "Resolve",
    "Response",
    "Timeouts",
    "TlsFailure",
    "TransportError",
    "Truncated",
    "UnsafeHeader",
    "Url",
    "client_context",
    "is_public",
]
