"""What is written down of a call: a record when it starts and one when it ends."""

from enum import StrEnum

import msgspec


class Outcome(StrEnum):
    """How a call ended. The values are stable: they are in usage records."""

    OK = "ok"
    ERROR = "error"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """The server died while the call was open."""


class CallStart(
    msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, tag="start", tag_field="record"
):
    """Written before the target is asked. `started_at` is Unix time in seconds."""

    call_id: str
    request_id: str
    organisation_id: str
    project_id: str
    key_id: str
    operation: str
    deployment: str
    provider: str
    model: str
    """The target's own name for it."""
    is_stream: bool
    started_at: float
    principal_id: str | None = None
    """The user or service account whose key or session it is."""
    group_ids: tuple[str, ...] = ()
    """The groups that the principal is in at the time."""


class CallEnd(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, tag="end", tag_field="record"):
    """Written before the caller's last byte. Milliseconds are counted from the start."""

    call_id: str
    ended_at: float
    status: int
    """As the caller saw it."""
    outcome: Outcome
    failure: str | None = None
    duration_ms: float | None = None
    first_token_ms: float | None = None
    last_token_ms: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    tokens_are_estimated: bool = False
    cost_nano: int | None = None
    """At the price of the moment, in billionths of a unit of `currency`."""
    currency: str | None = None
    """Empty if no price is known; None if nobody looked, as in journals of earlier versions."""
    provider: str | None = None
    """Who has answered in the end, if it was not the one that the start names; so with `model`."""
    model: str | None = None
