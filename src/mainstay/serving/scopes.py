"""Which limits a call counts against: a tuple of scopes that grows with the platform, for the one limiter."""

from dataclasses import dataclass

from mainstay.platform.identity.caller import Caller
from mainstay.platform.metering.limiter import Scope


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What a key may use that has no limits of its own; None is no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    def scopes(self, caller: Caller) -> tuple[Scope, ...]:
        """The scopes of a caller that have a limit at all."""
        requests = self.requests_per_minute if caller.requests_per_minute is None else caller.requests_per_minute
        tokens = self.tokens_per_minute if caller.tokens_per_minute is None else caller.tokens_per_minute
        if requests is None and tokens is None:
            return ()
        return (Scope(f"key {caller.key_id}", requests, tokens),)
