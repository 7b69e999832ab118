"""The engine's share of a call: one HTTP request for as many choices of one prompt as it has slots.

The engine reads a prompt once for all choices that it is asked for together (`n`), and once for each separate
request: four choices of a 550-token prompt took 3.4 s together and 7.5 s as separate requests, on 2 cores with a 0.5B
model. What does not fit into the slots follows in further requests.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from mainstay.platform.engine.endpoint import Endpoint
from mainstay.platform.engine.llama_cpp.parameters import JsonObject

Route = Literal["/v1/chat/completions", "/v1/completions"]


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked call: what goes to the engine for each prompt, and how many choices of it are wanted.

    Choices are numbered through: those of the first prompt, then those of the second. `max_tokens` of None means as
    many as the context holds.
    """

    route: Route
    prompts: Sequence[JsonObject]
    choices: int
    parameters: JsonObject
    max_tokens: int | None
    seed: int | None


@dataclass(frozen=True, slots=True)
class Job:
    """One request to the engine. Its choice number 0 is choice `first_choice` of the call."""

    route: Route
    body: bytes
    prompt: int
    first_choice: int
    choices: int


def jobs(plan: Plan, endpoint: Endpoint) -> Iterator[Job]:
    """Return the requests of a call, in the order of its choices."""
    size = max(1, min(plan.choices, endpoint.slots))
    for number, prompt in enumerate(plan.prompts):
        for start in range(0, plan.choices, size):
            count = min(size, plan.choices - start)
            yield Job(
                route=plan.route,
                body=_body(plan, prompt, endpoint, start=start, count=count),
                prompt=number,
                first_choice=number * plan.choices + start,
                choices=count,
            )


def _body(plan: Plan, prompt: JsonObject, endpoint: Endpoint, *, start: int, count: int) -> bytes:
    body: JsonObject = {
        **prompt,
        **plan.parameters,
        "stream": True,
        "stream_options": {"include_usage": True},
        # Without word of its progress the engine would not notice, while it reads a prompt, that nobody waits any more.
        "return_progress": True,
        "cache_prompt": True,
    }
    if plan.max_tokens is not None:
        body["max_tokens"] = min(plan.max_tokens, endpoint.context_tokens)
    if plan.seed is not None:
        body["seed"] = (plan.seed + start) % (2**32 - 1)
    if count > 1:
        body["n"] = count
    return msgspec.json.encode(body)
