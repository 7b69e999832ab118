"""`/admin/v1/limits`: set, changed and lifted by administrators of the organisation, and by nobody else."""

import pytest
from tests.api.admin.asking import Asking, caller_of
from tests.platform.metering.conftest import acts, clock, town

from mainstay.api.admin.idempotency import Idempotency
from mainstay.api.admin.limits import LimitRoutes
from mainstay.kit.database import Database
from mainstay.platform.identity.acts import Acts
from mainstay.platform.metering.limit_store import Limits
from mainstay.testing.clock import StandingClock

__all__ = ["acts", "clock", "town"]

ADMIN, STRANGER = caller_of("org_default"), caller_of("org_other")
PATH = "/admin/v1/limits"
PROJECT = {"type": "project", "id": "proj_default"}


class Plain:
    """Seals nothing."""

    async def seal(self, organisation_id: str, plain: bytes, *, purpose: str) -> bytes:
        return plain

    async def open(self, organisation_id: str, sealed: bytes, *, purpose: str) -> bytes:
        return sealed


@pytest.fixture
def ask(town: Database, acts: Acts, clock: StandingClock) -> Asking:
    return Asking([LimitRoutes(Limits(town, acts, clock), Idempotency(town, Plain(), clock))])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"scope": PROJECT}, 400),
        ({"scope": {**PROJECT, "organisation_id": "org_other"}, "requests_per_minute": 1}, 400),
        ({"scope": {"type": "galaxy", "id": "x"}, "requests_per_minute": 1}, 400),
        ({"scope": {"type": "organisation", "id": "org_other"}, "requests_per_minute": 1}, 404),
        ({"scope": {"type": "user", "id": "user_other"}, "requests_per_minute": 1}, 404),
        ({"scope": PROJECT, "requests_per_minute": 1.5}, 400),
        ({"scope": PROJECT, "requests_per_minute": "1"}, 400),
        ({"scope": PROJECT, "requests_per_minute": True}, 400),
        ({"scope": PROJECT, "requests_per_minute": -1}, 400),
        ({"scope": PROJECT, "requests_per_minute": 10**30}, 400),
        ({"scope": PROJECT, "requests_per_minute": 1, "version": 7}, 400),
        ({"scope": PROJECT, "requests_per_minute": 1, "id": "limit_mine"}, 400),
        ({"scope": {"type": "key", "id": "\x00"}, "requests_per_minute": 1}, 400),
        (b"{", 400),
        (b"[" * 100_000, 400),
    ],
)
async def test_what_is_no_limit_is_refused(ask: Asking, body: object, status: int) -> None:
    answer = await ask(ADMIN, "POST", PATH, body)
    assert answer.status == status, answer.body
    assert (await ask(ADMIN, "GET", PATH)).json["data"] == []


async def test_limit_is_made_read_changed_and_lifted(ask: Asking) -> None:
    made = await ask(ADMIN, "POST", PATH, {"scope": PROJECT, "requests_per_minute": 5})
    assert made.status == 201
    assert made.headers["etag"] == '"1"'
    limit = made.json
    assert limit == {
        "id": limit["id"],
        "object": "limit",
        "scope": PROJECT,
        "requests_per_minute": 5,
        "tokens_per_minute": None,
        "created_at": 1_800_000_000,
        "version": 1,
    }
    one = f"{PATH}/{limit['id']}"
    assert (await ask(ADMIN, "GET", one)).json == limit
    twice = await ask(ADMIN, "POST", PATH, {"scope": PROJECT, "tokens_per_minute": 5})
    assert twice.status == 409
    changed = await ask(ADMIN, "PATCH", one, {"tokens_per_minute": 7, "requests_per_minute": None}, {"if-match": '"1"'})
    assert changed.json == {**limit, "requests_per_minute": None, "tokens_per_minute": 7, "version": 2}
    assert (await ask(ADMIN, "PATCH", one, {"tokens_per_minute": 8}, {"if-match": '"1"'})).status == 412
    assert (await ask(ADMIN, "PATCH", one, {"scope": PROJECT})).status == 400
    assert (await ask(ADMIN, "DELETE", one, None, {"if-match": '"1"'})).status == 412
    assert (await ask(ADMIN, "DELETE", one)).json == {"id": limit["id"], "object": "limit", "deleted": True}
    assert (await ask(ADMIN, "GET", one)).status == 404


async def test_another_organisation_finds_nothing(ask: Asking) -> None:
    limit = (await ask(ADMIN, "POST", PATH, {"scope": PROJECT, "requests_per_minute": 5})).json
    one = f"{PATH}/{limit['id']}"
    for method, body in (("GET", None), ("PATCH", {"requests_per_minute": 6}), ("DELETE", None)):
        assert (await ask(STRANGER, method, one, body)).status == 404
    for path in (PATH, "/admin/v1/projects/proj_default/limits"):
        assert (await ask(STRANGER, "GET", path)).json["data"] == []
    assert (await ask(ADMIN, "GET", one)).json == limit


async def test_lists_are_of_one_scope_if_that_is_asked_for(ask: Asking) -> None:
    for scope in (PROJECT, {"type": "user", "id": "user_1"}, {"type": "user", "id": "sa_1"}):
        await ask(ADMIN, "POST", PATH, {"scope": scope, "requests_per_minute": 5})

    async def ids(path: str) -> set[str]:
        return {limit["scope"]["id"] for limit in (await ask(ADMIN, "GET", path)).json["data"]}

    assert await ids(PATH) == {"proj_default", "user_1", "sa_1"}
    assert await ids(PATH + "?scope_type=user") == {"user_1", "sa_1"}
    assert await ids(PATH + "?scope_id=sa_1") == {"sa_1"}
    assert await ids("/admin/v1/projects/proj_default/limits") == {"proj_default"}
    first = (await ask(ADMIN, "GET", PATH + "?limit=2")).json
    assert first["has_more"]
    rest = (await ask(ADMIN, "GET", f"{PATH}?limit=2&after={first['last_id']}")).json
    assert (len(rest["data"]), rest["has_more"]) == (1, False)
    for query in ("scope_type=galaxy", "scope_id=%00", "limit=0", "who=me", "after=%27"):
        assert (await ask(ADMIN, "GET", f"{PATH}?{query}")).status == 400


async def test_request_that_is_sent_again_is_carried_out_once(ask: Asking) -> None:
    body = {"scope": PROJECT, "requests_per_minute": 5}
    first = await ask(ADMIN, "POST", PATH, body, {"idempotency-key": "once"})
    again = await ask(ADMIN, "POST", PATH, body, {"idempotency-key": "once"})
    assert (again.status, again.json) == (201, first.json)
    other = await ask(ADMIN, "POST", PATH, {**body, "requests_per_minute": 6}, {"idempotency-key": "once"})
    assert other.status == 422
