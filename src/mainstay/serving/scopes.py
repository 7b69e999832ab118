"""Which limits a call counts against: a tuple of scopes that grows with the platform, for the one limiter."""

from mainstay.platform.identity.caller import Caller
from mainstay.platform.metering.limiter import Scope


def limited_scopes(caller: Caller) -> tuple[Scope, ...]:
    """The scopes of a caller that have a limit at all."""
    if caller.requests_per_minute is None and caller.tokens_per_minute is None:
        return ()
    return (Scope(f"key {caller.key_id}", caller.requests_per_minute, caller.tokens_per_minute),)
