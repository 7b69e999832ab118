"""What tokens cost. Amounts are counted in billionths of a currency's unit, so that sums are exact."""

from collections.abc import Callable
from dataclasses import dataclass

NANO = 1_000_000_000
_NANO_PER_MILLION = 1000


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens cost, in units of `currency` (ISO 4217)."""

    input_per_million: float
    output_per_million: float = 0.0
    cached_input_per_million: float | None = None
    """None: as other input."""
    currency: str = "USD"

    def cost_nano(self, *, prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> int:
        """Return the cost of a call; `cached_tokens` are part of `prompt_tokens`."""
        cached = min(cached_tokens, prompt_tokens)
        cached_price = (
            self.input_per_million if self.cached_input_per_million is None else self.cached_input_per_million
        )
        per_million = (
            (prompt_tokens - cached) * self.input_per_million
            + cached * cached_price
            + completion_tokens * self.output_per_million
        )
        return round(per_million * _NANO_PER_MILLION)


PriceOf = Callable[[str], Price | None]
"""Finds the price of a deployment, as it is now."""


def no_price(deployment: str) -> Price | None:  # noqa: ARG001 - the signature of PriceOf
    """Know no price at all."""
    return None
