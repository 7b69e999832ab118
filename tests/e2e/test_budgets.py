"""Budgets of a running server: refused as the vendor's clients expect it, known to every worker, exact after a kill."""

import httpx2
import pytest
from openai import OpenAI, RateLimitError
from tests.e2e.observing import until, vendor_configuration

HELLO = [{"role": "user", "content": "Say hello."}]
PRICES = "prices = { input_per_million = 1000, output_per_million = 2000, currency = 'EUR' }"
TWO_WORKERS = ("[server]", "workers = 2")


class Administrator:
    """Asks the admin API."""

    def __init__(self, server, key):
        self._client = httpx2.Client(base_url=server.url, headers={"authorization": f"Bearer {key}"}, timeout=30)

    def __call__(self, method, path, body=None):
        response = self._client.request(method, "/admin/v1" + path, json=body)
        assert response.status_code in (200, 201), response.text
        return response.json()

    def close(self):
        self._client.close()


@pytest.fixture
def started(install, vendor):
    """A server with two workers, its administrator, and a client of which every connection may meet another worker."""
    server = install(vendor_configuration(vendor().port, *TWO_WORKERS) + "\n" + PRICES).start()
    administrator = Administrator(server, server.create_key("--scopes", "admin"))
    yield server, administrator, server.create_key()
    administrator.close()


def call(server, key):
    """One call over a connection of its own."""
    with OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=2) as client:
        return client.chat.completions.create(model="upstream", messages=HELLO, max_tokens=100).usage


def is_refused(server, key):
    try:
        call(server, key)
    except RateLimitError as error:
        return error.code == "insufficient_quota"
    return False


def test_used_up_budget_is_refused_by_every_worker_and_explained(started):
    server, administrator, key = started
    budget = administrator(
        "POST", "/budgets", {"scope": {"type": "project", "id": "proj_default"}, "period": "month", "tokens": 1000}
    )
    spent = 0
    for _ in range(300):
        try:
            spent += call(server, key).total_tokens
        except RateLimitError as error:
            assert (error.code, error.type) == ("insufficient_quota", "insufficient_quota")
            assert error.response.headers["x-should-retry"] == "false"
            assert "monthly budget of project proj_default" in error.message
            break
    else:
        pytest.fail("nobody was refused")
    path = f"/budgets/{budget['id']}"
    assert until(lambda: administrator("GET", path)["used_tokens"] == spent), (administrator("GET", path), spent)
    # Every connection may meet another worker: both know by now.
    assert until(lambda: all(is_refused(server, key) for _ in range(10)))
    spent = administrator("GET", path)["used_tokens"]
    row = server.command_json("usage", "--by", "project")["rows"][0]
    assert row["prompt_tokens"] + row["completion_tokens"] == spent
    assert until(lambda: _events(server) >= {"budget.set", "budget.threshold_reached", "budget.used_up"})
    administrator("PATCH", path, {"tokens": 100_000})
    assert until(lambda: not is_refused(server, key))


def test_spending_is_that_of_the_records_after_a_kill(started):
    server, administrator, key = started
    administrator(
        "POST",
        "/budgets",
        {"scope": {"type": "organisation", "id": "org_default"}, "period": "day", "cost": 1000, "currency": "EUR"},
    )
    for _ in range(20):
        call(server, key)
    server.kill()
    server.start()

    def agrees():
        (row,) = server.command_json("usage")["rows"]
        (budget,) = administrator("GET", "/budgets")["data"]
        return (row["calls"], budget["used_cost"]) == (20, pytest.approx(row["costs"]["EUR"]))

    administrator.close()
    administrator = Administrator(server, server.create_key("--scopes", "admin"))
    assert until(agrees)
    administrator.close()


def test_limit_that_an_administrator_sets_holds_within_seconds(started):
    server, administrator, key = started
    call(server, key)
    limit = administrator(
        "POST", "/limits", {"scope": {"type": "organisation", "id": "org_default"}, "requests_per_minute": 0}
    )

    def is_limited():
        try:
            call(server, key)
        except RateLimitError as error:
            return error.code == "rate_limit_exceeded" and "organisation org_default" in error.message
        return False

    assert until(lambda: all(is_limited() for _ in range(5)))
    administrator("DELETE", f"/limits/{limit['id']}")
    assert until(lambda: not is_limited())


def _events(server):
    return {event["action"] for event in server.command_json("audit", "list")}
