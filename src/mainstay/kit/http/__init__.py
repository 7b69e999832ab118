"""An HTTP/1.1 client made for model calls: pooled, bounded in time and memory, cheap for open streams."""

from mainstay.kit.http.errors import (
    ConnectionReset,
    ConnectRefused,
    ConnectTimeout,
    DeadlineExceeded,
    DnsFailure,
    FirstByteTimeout,
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
from mainstay.kit.http.pool import Pool
from mainstay.kit.http.response import Response
from mainstay.kit.http.tls import client_context

__all__ = [
    "ConnectRefused",
    "ConnectTimeout",
    "ConnectionReset",
    "DeadlineExceeded",
    "DnsFailure",
    "EventParser",
    "FirstByteTimeout",
    "Headers",
    "IdleTimeout",
    "MalformedResponse",
    "Origin",
    "Phase",
    "Pool",
    "PoolExhausted",
    "PoolLimits",
    "Proxy",
    "RequestHead",
    "Response",
    "Timeouts",
    "TlsFailure",
    "TransportError",
    "Truncated",
    "UnsafeHeader",
    "client_context",
]
