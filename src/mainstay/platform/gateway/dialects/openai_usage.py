"""The usage object in its two styles: that of chat, and that of the Responses API, which some vendors use for all."""

import msgspec

from mainstay.inference import Usage

_MOST_TOKENS = 1_000_000_000
"""No call takes more; a vendor's nonsense must not fill up sums, limits and the database's integers."""


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class UsageObject(msgspec.Struct):
    """`prompt_tokens` or `input_tokens`, `completion_tokens` or `output_tokens`, and their details."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None

    def read(self) -> Usage:
        """Return the tokens; what the vendor did not say counts as none."""
        prompt_details = self.prompt_tokens_details or self.input_tokens_details
        completion_details = self.completion_tokens_details or self.output_tokens_details
        return Usage(
            prompt_tokens=_bounded(self.prompt_tokens or self.input_tokens),
            completion_tokens=_bounded(self.completion_tokens or self.output_tokens),
            cached_tokens=_bounded(prompt_details.cached_tokens if prompt_details else None),
            reasoning_tokens=_bounded(completion_details.reasoning_tokens if completion_details else None),
        )


def _bounded(tokens: int | None) -> int:
    return min(max(0, tokens or 0), _MOST_TOKENS)
