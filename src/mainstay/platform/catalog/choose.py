"""Chooses the model that `mainstay run` starts with: the best one that does not keep people waiting."""

from dataclasses import dataclass

from mainstay.kit.errors import NotFoundError
from mainstay.platform.catalog.catalog import Catalog
from mainstay.platform.catalog.weights import Ability, Weights

PROMPT_TOKENS = 500
LIMIT_SECONDS = 5.0

_CONTEXT_TOKENS = 8192
_ENGINE_BYTES = 300 << 20
_MEMORY_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class Choice:
    """A model, and why it was taken, in one sentence."""

    weights: Weights
    reason: str


def choose_default(catalog: Catalog, cores: int, memory_bytes: int) -> Choice:
    """Return the largest chat model that fits in memory and begins to answer a 500-token prompt within 5 s.

    Only models with a measured prefill rate are considered. If none is quick enough the quickest is taken; if none
    fits, the smallest. Raises NotFoundError if the catalog has no chat model.
    """
    cores = max(1, cores)
    measured = [
        w for w in catalog.list() if Ability.CHAT in w.abilities and w.profile.prefill_tokens_per_second_per_core
    ]
    by_size = sorted(measured, key=lambda w: w.parameters, reverse=True)
    if not by_size:
        raise NotFoundError("The catalog has no chat model whose speed is known; choose one with `--model`.")
    fitting = [w for w in by_size if memory_needed_bytes(w) <= memory_bytes * _MEMORY_SHARE]
    if not fitting:
        return Choice(by_size[-1], _too_little_memory(by_size[-1], memory_bytes))
    quick = [w for w in fitting if first_token_seconds(w, cores) <= LIMIT_SECONDS]
    chosen = quick[0] if quick else min(fitting, key=lambda w: first_token_seconds(w, cores))
    return Choice(chosen, _reason(chosen, by_size, fitting, cores))


def first_token_seconds(weights: Weights, cores: int) -> float:
    """Return how long a 500-token prompt is read before the first token of its answer."""
    return PROMPT_TOKENS / (weights.profile.prefill_tokens_per_second_per_core * cores)


def memory_needed_bytes(weights: Weights) -> int:
    """Return what an engine takes with 8,192 tokens of context: weights, keys and values, its own buffers."""
    context_tokens = min(weights.context_tokens, _CONTEXT_TOKENS)
    return weights.size_bytes + weights.profile.kv_bytes_per_token * context_tokens + _ENGINE_BYTES


def _reason(chosen: Weights, by_size: list[Weights], fitting: list[Weights], cores: int) -> str:
    seconds, on = first_token_seconds(chosen, cores), f"on {cores} core{'s' if cores > 1 else ''}"
    if seconds > LIMIT_SECONDS:
        return f"{chosen.id}: the quickest here; a 500-token prompt is answered after about {seconds:.1f} s {on}."
    text = f"{chosen.id}: a 500-token prompt is answered after about {seconds:.1f} s {on}"
    if chosen is by_size[0]:
        return text + "."
    passed_over = by_size[by_size.index(chosen) - 1]
    if passed_over not in fitting:
        return f"{text}; {passed_over.id} needs {memory_needed_bytes(passed_over) / 1e9:.1f} GB of memory."
    slower = first_token_seconds(passed_over, cores)
    return f"{text}; {passed_over.id} would take {slower:.1f} s (limit {LIMIT_SECONDS:.0f} s)."


def _too_little_memory(smallest: Weights, memory_bytes: int) -> str:
    needed = memory_needed_bytes(smallest) / 1e9
    return (
        f"{smallest.id}: the smallest; it wants {needed:.1f} GB of memory, and {memory_bytes / 1e9:.1f} GB is little."
    )
