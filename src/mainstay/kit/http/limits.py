"""How long to wait, and how much to hold."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait, by what is waited for. The total of a call is its own deadline, see `Pool.send`."""

    connect_seconds: float = 10.0
    first_byte_seconds: float = 120.0
    """From the last byte of the request to the first byte of the answer's body."""
    idle_seconds: float = 60.0
    """Without any progress in a transfer that has begun."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How many connections to one origin, and how many calls may wait for one."""

    max_connections: int = 1024
    max_waiting: int = 1024
    wait_seconds: float = 10.0
    keep_alive_seconds: float = 55.0
    """How long an idle connection is kept; a little under the 60 s after which common load balancers close."""


MAX_HEAD_BYTES = 64 * 1024
"""Of a response: the head, or anything else that is not body (trailers, chunk extensions)."""

HIGH_WATER_BYTES = 64 * 1024
"""Of a body that nobody has read yet; above it the socket is not read."""

WRITE_SLICE_BYTES = 256 * 1024
"""Of a request body handed to the transport at once."""
