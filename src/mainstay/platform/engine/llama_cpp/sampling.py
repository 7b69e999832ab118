"""The parameters that chat and completions share: how tokens are drawn, and when to stop."""

from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.engine.llama_cpp.limits import MAX_TOKENS_BOUND, Limits
from mainstay.platform.engine.llama_cpp.parameters import (
    Fields,
    JsonObject,
    read_integer,
    read_logit_bias,
    read_number,
    read_stop,
)

_SEED_BOUND = 2**63 - 1
_ENGINE_SEEDS = 2**32 - 1
"""llama.cpp takes 32 bits; the highest of them means a random seed."""


def read_sampling(fields: Fields, limits: Limits) -> JsonObject:
    """Return the parameters in the engine's names. What the caller leaves out is the engine's default."""
    sampling: JsonObject = {}
    for name, low, high in (
        ("temperature", 0.0, 2.0),
        ("top_p", 0.0, 1.0),
        ("frequency_penalty", -2.0, 2.0),
        ("presence_penalty", -2.0, 2.0),
    ):
        number = read_number(fields, name, low, high)
        if number is not None:
            sampling[name] = number
    stop = read_stop(fields, max_count=limits.stop_sequences, max_length=limits.stop_length)
    if stop:
        sampling["stop"] = stop
    bias = read_logit_bias(fields, max_count=limits.logit_biases, highest_id=limits.highest_token_id)
    if bias is not None:
        sampling["logit_bias"] = bias
    return sampling


def read_seed(fields: Fields) -> int | None:
    """Return the seed of the first choice; each further choice counts on from it."""
    seed = read_integer(fields, "seed", -_SEED_BOUND - 1, _SEED_BOUND)
    return None if seed is None else seed % _ENGINE_SEEDS


def read_count(fields: Fields, name: str, limit: int) -> int:
    """Return how many choices are asked for, 1 if nothing is said."""
    return read_integer(fields, name, 1, limit) or 1


def read_max_tokens(fields: Fields, *names: str) -> int | None:
    """Return the most tokens to generate, from the first of `names` that is there."""
    for name in names:
        tokens = read_integer(fields, name, 1, MAX_TOKENS_BOUND)
        if tokens is not None:
            return tokens
    return None


def refuse_best_of(best_of: int, count: int, *, is_stream: bool) -> None:
    """Refuse what `best_of` cannot mean."""
    if best_of < count:
        raise InvalidRequestError(
            f"'best_of' is {best_of}; it must be at least 'n', {count}.",
            param="best_of",
            code="integer_below_min_value",
        )
    if is_stream and best_of > count:
        raise InvalidRequestError(
            "'best_of' greater than 'n' cannot be streamed: the best is known only at the end.",
            param="best_of",
            code="invalid_value",
        )
