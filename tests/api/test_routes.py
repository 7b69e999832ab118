"""The route table: what it holds, and how a request finds its route."""

import pytest

from mainstay.api.dialects import AzureDialect, Dialect
from mainstay.api.routes import Route, Router
from mainstay.kit.errors import MainstayError, NotFoundError
from mainstay.platform.identity.actions import Action

OPENAI, AZURE = Dialect("here"), AzureDialect("here")


async def handle(exchange):
    raise AssertionError("not called")


def route(method, path, dialect=OPENAI):
    return Route(method=method, path=path, action=Action.CALL_MODEL, dialect=dialect, handler=handle, summary="x")


@pytest.fixture
def router():
    routes = [
        route("POST", "/v1/chat/completions"),
        route("GET", "/v1/models"),
        route("GET", "/v1/models/{model:path}"),
        route("POST", "/openai/deployments/{deployment}/chat/completions", AZURE),
    ]
    return Router(routes, OPENAI, AZURE)


def find(router, method, path):
    return router.find(method, path, path.encode())


def test_a_fixed_path_has_no_parameters(router):
    found, parameters = find(router, "POST", "/v1/chat/completions")
    assert found.path == "/v1/chat/completions"
    assert parameters == {}


def test_a_slash_in_a_deployments_name_stays_inside_it_when_encoded(router):
    raw = b"/openai/deployments/team%2Fgpt%204/chat/completions"
    _, parameters = router.find("POST", "/openai/deployments/team/gpt 4/chat/completions", raw)
    assert parameters == {"deployment": "team/gpt 4"}


def test_a_model_may_have_slashes_as_they_are(router):
    assert find(router, "GET", "/v1/models/a/b")[1] == {"model": "a/b"}


def test_the_wrong_method_says_which_are_right(router):
    with pytest.raises(MainstayError, match="it takes POST") as raised:
        find(router, "GET", "/v1/chat/completions")
    assert raised.value.status == 405


def test_head_is_answered_as_get(router):
    assert find(router, "HEAD", "/v1/models")[0].method == "GET"


@pytest.mark.parametrize("path", ["/", "/v2/chat/completions", "/v1/chat/completions/", "/openai/deployments//x", "/%"])
def test_what_is_not_there_is_404_with_what_is(router, path):
    with pytest.raises(NotFoundError, match="Base URLs end in /v1"):
        find(router, "POST", path)


def test_unknown_paths_below_openai_speak_azure(router):
    assert router.dialect_of("/openai/none") is AZURE
    assert router.dialect_of("/v1/none") is OPENAI


def test_a_slip_of_the_pen_is_answered_with_what_was_meant(router):
    with pytest.raises(NotFoundError, match=r"Did you mean /v1/chat/completions\?"):
        find(router, "POST", "/v1/chat/completion")


def test_an_api_that_is_not_served_says_what_is(router):
    with pytest.raises(NotFoundError, match="This version serves chat completions"):
        find(router, "POST", "/v1/responses")
