"""What a call is charged with when its target does not tell."""

from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from mainstay.inference import Answer, Operation, Usage
from mainstay.kit.clock import SystemClock
from mainstay.platform.gateway.router import Deployment, Router, Table, Target
from mainstay.platform.identity.caller import Caller
from mainstay.platform.metering.allotments import Allotment
from mainstay.platform.metering.limiter import Limiter
from mainstay.serving.account import Accounts
from mainstay.serving.calls import Calls, Incoming
from mainstay.serving.measures import Measures

CALLER = Caller(key_id="key_1", organisation_id="org_1", project_id="proj_1", scopes=frozenset())
BODIES = {
    Operation.CHAT: b'{"model":"chat","messages":[{"role":"user","content":"Hello"}]}',
    Operation.EMBEDDINGS: b'{"model":"chat","input":"Hello"}',
}


HIDDEN = {"secret"}


class Model:
    """Answers with what it was given."""

    def __init__(self, answer):
        self._answer = answer

    async def answer(self, request):
        del request
        return self._answer


async def end_of_call(answer, operation=Operation.CHAT):
    clock, ends = SystemClock(), []
    journal = SimpleNamespace(start=lambda record: None, end=ends.append)
    deployment = Deployment("chat", (Target("vendor", "m", Model(answer)),))
    calls = Calls(
        Router(Table(deployments={"chat": deployment})),
        Limiter(clock),
        Accounts(journal, Measures(CollectorRegistry()), clock),
        allotments=SimpleNamespace(of=lambda caller: Allotment()),
        authority=SimpleNamespace(may_use=lambda caller, name: name not in HIDDEN),
    )
    await calls.answer(calls.read(Incoming(operation, CALLER, BODIES[operation], "req_1")))
    (end,) = ends
    return end


async def test_an_answer_without_usage_is_charged_by_its_length():
    end = await end_of_call(Answer(body=b"x" * 4000))
    assert end.tokens_are_estimated
    assert end.completion_tokens == 1000
    assert end.prompt_tokens == pytest.approx(len(BODIES[Operation.CHAT]) / 4, abs=1)


async def test_vectors_without_usage_have_no_completion():
    end = await end_of_call(Answer(body=b"x" * 4000), Operation.EMBEDDINGS)
    assert (end.tokens_are_estimated, end.completion_tokens) == (True, 0)


async def test_usage_that_is_told_is_what_is_charged():
    end = await end_of_call(Answer(body=b"x" * 4000, usage=Usage(prompt_tokens=3, completion_tokens=2)))
    assert (end.tokens_are_estimated, end.prompt_tokens, end.completion_tokens) == (False, 3, 2)
