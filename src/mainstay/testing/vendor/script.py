"""What the vendor answers, and how it fails: plain values, made in a test or read from a model's name."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self

FAULT_PREFIX = "fault:"


class FaultKind(StrEnum):
    """The ways to fail; `@N` means what is said here."""

    REFUSE = "refuse"
    """Reset the connection instead of answering."""
    SILENT = "silent"
    """Never answer."""
    RESET = "reset"
    """Reset the connection after N bytes of the response, head included."""
    CLOSE = "close"
    """Close the connection in good order after N bytes of the response, head included."""
    STALL = "stall"
    """Stop after N events (of a one-shot answer: after the head) and keep the connection open."""
    MALFORMED = "malformed"
    """Send broken JSON as event N, or as the body of a one-shot answer."""
    ERROR_EVENT = "error_event"
    """Send an error object as event N, or with status 200."""
    NO_DONE = "no_done"
    """End the stream in good order without `[DONE]`."""
    UNFINISHED = "unfinished"
    """End the stream in good order with neither a finish reason nor `[DONE]`."""
    WRONG_TYPE = "wrong_type"
    """Call the body text/plain."""
    HTML = "html"
    """Send a web page with status 200."""
    JSON = "json"
    """Send a whole answer though a stream was asked for."""
    STATUS = "status"
    """Answer with status N and an error body."""
    WRONG_JSON = "wrong_json"
    """Send JSON that is no object of the API."""
    EMPTY = "empty"
    """Send status 200 without a body."""
    DRIP = "drip"
    """Send the response in slices of N bytes, one per turn of the loop (default 1)."""
    GZIP = "gzip"
    """Compress the body, asked or not."""
    LONG_LINE = "long_line"
    """Make event 0 hold a text of N bytes."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to fail. `status`, `headers` and `body` serve FaultKind.STATUS."""

    kind: FaultKind
    at: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `reset@120`, or `silent`. Raises ValueError."""
        kind, _, at = text.partition("@")
        return cls(kind=FaultKind(kind), at=int(at or 0))


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model wants called."""

    name: str
    arguments: str
    id: str = "call_scripted"


@dataclass(frozen=True, slots=True)
class Reply:
    """One scripted answer."""

    text: str = "Hello from the scripted vendor."
    chunks: int = 6
    """Pieces that a stream cuts the text into."""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    """None: what fits (`stop` or `tool_calls`)."""
    first_delay_seconds: float = 0.0
    delay_seconds: float = 0.0
    """Between the events of a stream."""
    prompt_tokens: int = 9
    completion_tokens: int | None = None
    """None: one for each chunk."""
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    has_usage_beside_choices: bool = False
    """Send the usage in the last chunk that has choices, as some vendors do."""
    model: str | None = None
    """The model that claims to have answered; None: the one that was asked for."""
    fault: Fault | None = None

    def failing(self, fault: Fault | str) -> "Reply":
        """Return this reply with a fault."""
        return replace(self, fault=Fault.parse(fault) if isinstance(fault, str) else fault)


@dataclass(slots=True)
class Received:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    is_disconnected: bool = False
    """The caller closed the connection before the answer had been sent."""
    model: str = field(default="")
    is_stream: bool = field(default=False)
    include_usage: bool = field(default=False)
    choices: int = 1

    def fault(self) -> Fault | None:
        """Return the fault that the request itself asks for, by header or by the name of the model."""
        named = self.headers.get("x-fault")
        if named is None and self.model.startswith(FAULT_PREFIX):
            named = self.model.removeprefix(FAULT_PREFIX)
        try:
            return Fault.parse(named) if named else None
        except ValueError:
            return None
