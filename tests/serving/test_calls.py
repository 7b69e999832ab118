"""What a call may use, what it is charged with, and that nothing is asked of a target for a call that is refused."""

import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from mainstay.inference import Answer, Operation, Usage
from mainstay.kit.clock import SystemClock
from mainstay.kit.errors import NotFoundError, UnavailableError
from mainstay.platform.gateway.router import Deployment, Router, Table, Target
from mainstay.platform.identity.caller import Caller
from mainstay.platform.metering.allotments import Allotment
from mainstay.platform.metering.budget_counters import Budget, BudgetReachedError
from mainstay.platform.metering.limiter import Limiter, Scope
from mainstay.platform.metering.periods import Period
from mainstay.platform.metering.prices import Price
from mainstay.serving.account import Accounts
from mainstay.serving.calls import Calls, Incoming
from mainstay.serving.measures import Measures

NOTHING = Allotment()
BUDGET = Budget("budget_1", "project proj_1", Period.MONTH, tokens=1000, cost_nano=1_000_000, currency="EUR")
PRICE = Price(1.0, 2.0, currency="EUR")
BUDGETED = Allotment((Scope("project proj_1", budgets=(BUDGET,)),), ("group_1",))
USED = Answer(body=b"x", usage=Usage(prompt_tokens=300, completion_tokens=200))
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
        self.asked = 0

    async def answer(self, request):
        del request
        self.asked += 1
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


class Serving:
    """Calls of one caller, whose allotment is given."""

    def __init__(self, answer, *, allotment=NOTHING, price=None, log_prompts=False, may_log_prompts=True):
        clock = SystemClock()
        self.starts, self.ends, self.model, self.limiter = [], [], Model(answer), Limiter(clock)
        journal = SimpleNamespace(start=self.starts.append, end=self.ends.append)
        targets = (Target("vendor", "m", self.model),)
        deployments = {name: Deployment(name, targets, price=price) for name in ("chat", "secret")}
        self._calls = Calls(
            Router(Table(deployments=deployments)),
            self.limiter,
            Accounts(journal, Measures(CollectorRegistry()), clock),
            allotments=SimpleNamespace(of=lambda caller: allotment),
            authority=SimpleNamespace(
                may_use=lambda caller, name: name not in HIDDEN,
                may_log_prompts=lambda caller: may_log_prompts,
            ),
        )
        self._calls.log_prompts = log_prompts

    async def call(self, operation=Operation.CHAT, *, body=None, caller=CALLER):
        body = BODIES[operation] if body is None else body
        return await self._calls.answer(self._calls.read(Incoming(operation, caller, body, "req_1")))


async def end_of_call(answer, operation=Operation.CHAT):
    serving = Serving(answer)
    await serving.call(operation)
    (end,) = serving.ends
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


async def test_deployment_that_the_caller_may_not_use_is_as_one_that_does_not_exist():
    serving, told = Serving(USED), []
    for name in (b"secret", b"missing"):
        with pytest.raises(NotFoundError) as caught:
            await serving.call(body=b'{"model":"%s","messages":[]}' % name)
        told.append((caught.value.message.replace(name.decode(), "x"), caught.value.code, caught.value.status))
    assert told[0] == told[1]
    assert (serving.model.asked, serving.starts) == (0, [])


async def test_call_beyond_its_budget_is_refused_before_anything_is_asked_or_written_down():
    serving = Serving(USED, allotment=BUDGETED)
    for _ in range(2):
        await serving.call()
    with pytest.raises(BudgetReachedError, match="used up: 1000 tokens"):
        await serving.call()
    assert (serving.model.asked, len(serving.starts), len(serving.ends)) == (2, 2, 2)


async def test_what_a_call_costs_is_written_down_with_whom_it_counts_for():
    serving = Serving(USED, allotment=BUDGETED, price=PRICE)
    await serving.call(caller=replace(CALLER, principal_id="user_1"))
    (start,), (end,) = serving.starts, serving.ends
    assert (start.principal_id, start.group_ids) == ("user_1", ("group_1",))
    assert (end.cost_nano, end.currency) == (300 * 1000 + 200 * 2000, "EUR")
    counter = serving.limiter.budgets.get("budget_1")
    assert (counter.used_tokens, counter.used_cost) == (500, end.cost_nano)
    with pytest.raises(BudgetReachedError, match="EUR"):
        await serving.call()


async def test_price_of_the_most_that_a_call_may_cost_must_fit_the_budget():
    serving = Serving(USED, allotment=BUDGETED, price=PRICE)
    with pytest.raises(BudgetReachedError, match=r"0.001 EUR left of 0.001 EUR, and this call may need 0.00"):
        await serving.call(body=b'{"model":"chat","messages":[],"max_tokens":500}')
    assert serving.model.asked == 0


async def test_failed_call_costs_nothing():
    serving = Serving(UnavailableError("down"), allotment=BUDGETED)
    with pytest.raises(UnavailableError):
        await serving.call()
    counter = serving.limiter.budgets.get("budget_1")
    assert (counter.used_tokens, counter.held_tokens) == (0, 0)
    assert (serving.ends[0].cost_nano, serving.ends[0].currency) == (None, "")


@pytest.mark.parametrize("log_prompts", [False, True])
@pytest.mark.parametrize("may_log_prompts", [False, True])
async def test_prompts_are_logged_where_both_the_operator_and_the_organisation_let_them(
    caplog, log_prompts, may_log_prompts
):
    caplog.set_level(logging.INFO, "mainstay.prompts")
    serving = Serving(USED, log_prompts=log_prompts, may_log_prompts=may_log_prompts)
    await serving.call(body=b'{"model":"chat","messages":["canary"]}')
    logged = [record.body for record in caplog.records if record.name == "mainstay.prompts"]
    assert len(logged) == (log_prompts and may_log_prompts)
    assert all("canary" in body for body in logged)
