"""Reads a completion request: prompts as text or cl100k tokens, and `suffix` as fill-in-the-middle."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from mainstay.inference import Request
from mainstay.kit.tokens import TokenReader
from mainstay.platform.catalog.weights import FillInTheMiddle, Weights
from mainstay.platform.engine.llama_cpp.jobs import Plan
from mainstay.platform.engine.llama_cpp.limits import Limits
from mainstay.platform.engine.llama_cpp.parameters import (
    Fields,
    JsonObject,
    list_at,
    missing,
    read,
    read_boolean,
    read_integer,
    string_at,
    unsupported,
    wrong_type,
)
from mainstay.platform.engine.llama_cpp.sampling import (
    read_count,
    read_max_tokens,
    read_sampling,
    read_seed,
    refuse_best_of,
)

_DEFAULT_MAX_TOKENS = 16
_MOST_LOGPROBS = 5
_MOST_PROMPT_TOKENS = 262_144


@dataclass(frozen=True, slots=True)
class CompletionCall:
    """A completion request that is understood.

    `plan.choices` are generated of each prompt and `count` of them returned. `echoes` are the texts to repeat before
    the answer to each prompt, if any.
    """

    plan: Plan
    count: int
    echoes: Sequence[str]
    top_logprobs: int | None


def read_completion(request: Request, weights: Weights, limits: Limits, tokens: TokenReader) -> CompletionCall:
    """Check a request. Raises InvalidRequestError with the path of what is wrong."""
    fields = request.fields
    texts = read_prompts(fields, limits, tokens)
    count = read_count(fields, "n", limits.choices)
    best_of = read_integer(fields, "best_of", 1, limits.choices) or count
    refuse_best_of(best_of, count, is_stream=request.is_stream)
    top_logprobs = read_integer(fields, "logprobs", 0, _MOST_LOGPROBS)
    is_echo = read_boolean(fields, "echo") or False
    if is_echo and top_logprobs is not None:
        raise unsupported("logprobs", "This model cannot tell the log probabilities of an echoed prompt.")
    parameters = read_sampling(fields, limits)
    if top_logprobs is not None or best_of > count:
        parameters["logprobs"] = max(top_logprobs or 0, 1)
    prompts = _with_suffix(texts, fields, weights, parameters)
    plan = Plan(
        route="/v1/completions",
        prompts=prompts,
        choices=best_of,
        parameters=parameters,
        max_tokens=read_max_tokens(fields, "max_tokens") or _DEFAULT_MAX_TOKENS,
        seed=read_seed(fields),
    )
    return CompletionCall(plan, count, texts if is_echo else [""] * len(texts), top_logprobs)


def read_prompts(fields: Fields, limits: Limits, tokens: TokenReader) -> list[str]:
    """Return the prompts: one text or token array, or a list of either."""
    value = read(fields, "prompt")
    if value is None:
        raise missing("prompt")
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise wrong_type("prompt", "a string, an array of strings, or an array of token ids", value)
    if not value or not _is_token(value[0]):
        items = list_at(value, "prompt", max_count=limits.prompts)
        return [_prompt(item, f"prompt[{place}]", tokens) for place, item in enumerate(items)]
    return [_prompt(value, "prompt", tokens)]


def _prompt(item: object, path: str, tokens: TokenReader) -> str:
    if isinstance(item, str):
        return item
    ids = list_at(item, path, max_count=_MOST_PROMPT_TOKENS)
    for place, token in enumerate(ids):
        if not _is_token(token):
            raise wrong_type(f"{path}[{place}]", "a token id", token)
    return tokens.text(cast("list[int]", ids), path)  # each was just seen to be an int


def _is_token(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _with_suffix(texts: list[str], fields: Fields, weights: Weights, parameters: JsonObject) -> list[JsonObject]:
    """Put prefix and suffix between the model's own tokens; its stop tokens join the caller's."""
    value = read(fields, "suffix")
    suffix = "" if value is None else string_at(value, "suffix")
    if not suffix:
        return [{"prompt": text} for text in texts]
    fim = weights.profile.fim
    if fim is None:
        raise unsupported("suffix", f"Model '{weights.id}' was not taught to fill in the middle; leave 'suffix' out.")
    stop = parameters.get("stop", [])
    parameters["stop"] = [*(stop if isinstance(stop, list) else []), *fim.stop]
    return [{"prompt": _between(fim, text, suffix)} for text in texts]


def _between(fim: FillInTheMiddle, prefix: str, suffix: str) -> str:
    return f"{fim.prefix}{prefix}{fim.suffix}{suffix}{fim.middle}"
