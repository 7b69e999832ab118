"""How an HTTP exchange fails before or beneath the status code: one class for each cause."""
# ruff: noqa: N818 - the names are the field's own words for these faults; the suffix would say nothing

from enum import StrEnum

from mainstay.kit.errors import ConfigurationError, MainstayError


class Phase(StrEnum):
    """How far an exchange had come; what was sent before `CONNECTED` cannot have been acted upon."""

    CONNECTING = "connecting"
    WAITING = "waiting"
    READING = "reading"


class UnsafeHeader(ConfigurationError):
    """A request head would not be one request any more: a line break in a header, a space in a path."""


class TransportError(MainstayError):
    """The other side could not be reached, or its answer did not arrive whole."""

    status = 502
    code = "transport_error"
    can_retry = True
    phase = Phase.CONNECTING


class ForbiddenAddressError(TransportError):
    """The name or address leads to a network that is not for those who entered it."""

    status = 400
    code = "forbidden_address"
    type = "invalid_request_error"
    can_retry = False


class ConnectRefused(TransportError):
    """Nothing listens there, the network is unreachable, or the proxy would not let us through."""


class DnsFailure(TransportError):
    """The host name has no address."""


class TlsFailure(TransportError):
    """The certificate is not trusted, or the two sides do not agree on a protocol."""


class ConnectTimeout(TransportError):
    """No connection within `Timeouts.connect_seconds`, name look-up and TLS included."""


class PoolExhausted(TransportError):
    """All connections are taken, and the queue for them is full or too slow."""


class FirstByteTimeout(TransportError):
    """Connected and asked, but no byte of a body came within `Timeouts.first_byte_seconds`."""

    phase = Phase.WAITING


class ConnectionReset(TransportError):
    """The connection broke: before the answer (`Phase.WAITING`) or in the middle of it (`Phase.READING`).

    `is_stale` says that it had been idle in the pool and broke at once, unanswered, when it was used again:
    almost certainly the server had hung up before it saw the request, which may be sent once more.
    """

    phase = Phase.WAITING

    def __init__(self, message: str, *, phase: Phase = Phase.WAITING, is_stale: bool = False) -> None:
        super().__init__(message)
        self.phase = phase
        self.is_stale = is_stale


class IdleTimeout(TransportError):
    """The transfer stopped for longer than `Timeouts.idle_seconds`, in either direction."""

    phase = Phase.READING


class DeadlineExceeded(TransportError):
    """The whole exchange took longer than its caller allows."""

    phase = Phase.READING


class Truncated(TransportError):
    """The connection was closed in good order, but before the end of the answer."""

    phase = Phase.READING


class MalformedResponse(TransportError):
    """What arrived is not HTTP, not in the encoding that was asked for, or larger than it may be."""

    phase = Phase.READING
