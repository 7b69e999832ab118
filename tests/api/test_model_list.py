"""Which deployments are listed to whom."""

from types import SimpleNamespace

import pytest
from tests.api.admin.asking import Asking, caller_of

from mainstay.api.model_list import ModelLists
from mainstay.api.routes import Route
from mainstay.platform.gateway import Deployment, Router, Table, Target
from mainstay.platform.identity.actions import Action

MINE, THEIRS = caller_of("org_a"), caller_of("org_b")


def deployment(name):
    return Deployment(name, (Target("vendor", "m-" + name, None),))


class Entitled:
    """An authority that lets callers use what it is told."""

    def __init__(self, usable=(), allowed=(), actions=()):
        self.usable, self.allowed, self.actions = usable, allowed, actions

    def may_use(self, caller, name):
        return name in self.usable

    def deployments_allowed(self, caller):
        return self.allowed

    def actions_of(self, caller, resource=None):
        return frozenset(self.actions)


def asking(authority):
    router = Router(Table({"chat": deployment("chat"), "other": deployment("other")}, {"gpt-4o": "chat"}))
    router.replace_own({"org_a": {"own": deployment("own"), "chat": deployment("chat-of-a")}})
    lists = ModelLists(router, lambda target: None, authority, created=1)

    def routes(dialect):
        for path, handler in (("/v1/models", lists.list), ("/v1/models/{model:path}", lists.show)):
            yield Route(
                method="GET", path=path, action=Action.READ_MODELS, dialect=dialect, handler=handler, summary=""
            )

    return Asking([SimpleNamespace(routes=routes)])


async def listed(ask, caller):
    return [model["id"] for model in (await ask(caller, "GET", "/v1/models")).json["data"]]


async def test_callers_see_what_they_may_call_of_their_organisation_and_the_installation():
    ask = asking(Entitled(usable={"chat", "own", "gpt-4o"}))
    assert await listed(ask, MINE) == ["chat", "gpt-4o", "own"]
    assert await listed(ask, THEIRS) == ["chat", "gpt-4o"]
    assert (await ask(MINE, "GET", "/v1/models/chat")).json["model"] == "m-chat-of-a"
    assert (await ask(THEIRS, "GET", "/v1/models/chat")).json["model"] == "m-chat"


@pytest.mark.parametrize(("caller", "name"), [(MINE, "other"), (THEIRS, "own"), (MINE, "nothing")])
async def test_what_one_may_not_call_is_not_there(caller, name):
    told = await asking(Entitled(usable={"chat", "own"}))(caller, "GET", f"/v1/models/{name}")
    assert (told.status, told.json["error"]["code"]) == (404, "model_not_found")


async def test_administrators_see_all_that_their_lists_leave():
    ask = asking(Entitled(allowed={"chat", "own"}, actions={Action.READ_DEPLOYMENTS}))
    assert await listed(ask, MINE) == ["chat", "own"]
    assert await listed(asking(Entitled(allowed={"chat", "own"})), MINE) == []
