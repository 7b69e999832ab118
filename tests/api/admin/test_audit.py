"""`/admin/v1/audit`: found, exported and verified by those of the organisation, and by nobody else."""

import ipaddress
import json

import pytest
from tests.api.admin.asking import Asking, caller_of
from tests.platform.audit.conftest import Log, act, clock, event, log, signer
from tests.platform.audit.receivers import receiving

from mainstay.api.admin.audit import AuditRoutes
from mainstay.api.admin.audit_webhooks import AuditWebhookRoutes
from mainstay.api.admin.idempotency import Idempotency
from mainstay.kit.http.outbound import Outbound
from mainstay.platform.audit.deliveries import Deliveries
from mainstay.platform.audit.exported import verify_export
from mainstay.platform.audit.signing import read_public_key
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.audit_webhooks import WEBHOOKS_MAX, Webhooks
from mainstay.platform.vault.root_keys import RootKeys
from mainstay.platform.vault.vault import Vault

__all__ = ["clock", "log", "signer"]

ADMIN, STRANGER = caller_of("org_default"), caller_of("org_other")
AUDIT = "/admin/v1/audit"
HOOKS = AUDIT + "/webhooks"
INSIDE = (ipaddress.ip_network("127.0.0.0/8"),)


@pytest.fixture
def ask(log: Log, tmp_path) -> Asking:
    vault = Vault(log.database, RootKeys(tmp_path / "root"), log.clock)
    acts = Acts(log.ledger, log.clock)
    webhooks = Webhooks(log.database, acts, vault, log.clock)
    deliveries = Deliveries(log.database, log.ledger, vault, Outbound(INSIDE), clock=log.clock)
    return Asking(
        [
            AuditRoutes(log.database, acts, log.signer, signed_here=log.signed_here, clock=log.clock),
            AuditWebhookRoutes(webhooks, deliveries, Idempotency(log.database, vault, log.clock)),
        ]
    )


async def _all(ask: Asking, path: str) -> list[dict]:
    found, after = [], ""
    while True:
        page = (await ask(ADMIN, "GET", f"{path}{'&' if '?' in path else '?'}limit=7{after}")).json
        found += page["data"]
        if not page["has_more"]:
            return found
        after = f"&after={page['last_id']}"


async def test_what_no_id_can_hold_is_not_found(ask: Asking) -> None:
    for path in ("/events?actor=%00", "/events?target=%00", "/events?action=user%00"):
        assert (await ask(ADMIN, "GET", AUDIT + path)).status in (200, 400), path
    for method, path in (("GET", "/%00"), ("DELETE", "/%00"), ("POST", "/%00/test"), ("POST", "/%00/secret")):
        assert (await ask(ADMIN, method, HOOKS + path)).status == 404, path


async def test_events_are_listed_page_by_page_either_way(ask: Asking) -> None:
    assert [event["id"] for event in await _all(ask, AUDIT + "/events")] == [str(n) for n in range(1, 61)]
    assert [event["id"] for event in await _all(ask, AUDIT + "/events?order=desc")] == [
        str(n) for n in range(60, 0, -1)
    ]


async def test_event_says_who_did_what_to_whom_and_from_where(ask: Asking) -> None:
    told = await ask(ADMIN, "GET", AUDIT + "/events/1")
    event = told.json
    assert (event["object"], event["action"], event["outcome"]) == ("audit.event", "user.created", "success")
    assert (event["created_at"], event["actor"]["id"], event["target"]["id"]) == (1_800_000_000, "user_0", "user_0")
    assert event["origin"]["address"] == "192.0.2.0"
    assert told.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ("action=policy.set", 16),
        ("action=user", 16),
        ("actor=user_0&action=policy.set", 8),
        ("target=user_4", 4),
        ("since=1800000003", 46),
        ("until=2027-01-15T08:00:03Z", 14),
        ("since=1d", 60),
        ("actor=nobody", 0),
    ],
)
async def test_events_are_found_by_what_is_asked(ask: Asking, filters: str, count: int) -> None:
    assert len(await _all(ask, f"{AUDIT}/events?{filters}")) == count


@pytest.mark.parametrize(
    "query",
    [
        "after=x",
        "after=-1",
        "after=99999999999999999999",
        "action=%25",
        "action=User",
        "action=a'%20OR%201=1",
        "actor=%00",
        "actor=" + "x" * 300,
        "since=yesterday",
        "since=9999999999999",
        "until=99999999d",
        "limit=0",
        "limit=1001",
        "colour=red",
    ],
)
async def test_filters_that_cannot_be_are_refused(ask: Asking, query: str) -> None:
    for path in ("/events", "/export") if not query.startswith("limit") else ("/events",):
        told = await ask(ADMIN, "GET", f"{AUDIT}{path}?{query}")
        assert told.status == 400, query
        assert told.json["error"]["param"]


async def test_another_organisation_sees_nothing_of_it(ask: Asking) -> None:
    assert (await ask(STRANGER, "GET", AUDIT + "/events")).json["data"] == []
    assert (await ask(STRANGER, "GET", AUDIT + "/events/1")).status == 404
    assert (await ask(STRANGER, "GET", AUDIT + "/checkpoints")).json["data"] == []
    assert b'"events":0' in (await ask(STRANGER, "GET", AUDIT + "/export")).body


async def test_export_is_verified_offline_and_is_an_event_itself(ask: Asking) -> None:
    told = await ask(ADMIN, "GET", AUDIT + "/export")
    assert told.headers["content-type"] == "application/jsonl"
    key = (await ask(ADMIN, "GET", AUDIT + "/public_key")).json["public_key"]
    verified = verify_export(told.body.splitlines(keepends=True), [read_public_key(key)])
    assert verified.report.is_intact, verified.report.faults
    assert verified.report.last_sequence == 60
    last = (await ask(ADMIN, "GET", AUDIT + "/events?order=desc&limit=1")).json["data"][0]
    assert (last["action"], last["actor"]["id"]) == ("audit.exported", "key_1")


async def test_database_that_fails_in_the_middle_of_an_export_ends_it_with_an_error_and_unsigned(
    ask: Asking, log: Log
) -> None:
    class Failing:
        def __init__(self, database) -> None:
            self._database = database
            self._fetches = 0

        def __getattr__(self, name):
            return getattr(self._database, name)

        async def fetch(self, sql, values):
            self._fetches += 1
            if self._fetches > 2:
                sql = "SELECT * FROM no_such_table"
            return await self._database.fetch(sql, values)

    async with log.database.transaction() as transaction:
        await log.ledger.append(transaction, act(1), "org_default", [event(1)] * 600)
    failing = Failing(log.database)
    acts = Acts(log.ledger, log.clock)
    asking = Asking([AuditRoutes(failing, acts, log.signer, signed_here=log.signed_here, clock=log.clock)])
    told = await asking(ADMIN, "GET", AUDIT + "/export")
    lines = told.body.splitlines(keepends=True)
    assert "error" in json.loads(lines[-1])
    assert not verify_export(lines, [log.signer.public_key]).report.is_intact


async def test_checkpoints_are_listed(ask: Asking) -> None:
    found = await _all(ask, AUDIT + "/checkpoints")
    assert [one["through_sequence"] for one in found] == [20, 40, 50]


async def test_verification_tells_of_a_change(ask: Asking, log: Log) -> None:
    told = (await ask(ADMIN, "GET", AUDIT + "/verification")).json
    assert (told["report"]["is_intact"], told["report"]["events"], told["next_after"]) == (True, 60, None)
    async with log.database.transaction() as transaction:
        await transaction.execute("UPDATE audit_events SET body = 'x' WHERE sequence = 12")
    told = (await ask(ADMIN, "GET", AUDIT + "/verification?after=5")).json
    assert told["report"]["faults"][0]["sequence"] == 12
    shown = (await ask(ADMIN, "GET", AUDIT + "/events/12")).json
    assert (shown["outcome"], shown["actor"]["id"]) == ("unreadable", "user_1")
    assert (await ask(ADMIN, "GET", AUDIT + "/verification?after=61")).status == 404


async def test_webhook_goes_through_its_whole_life(ask: Asking) -> None:
    async with receiving() as receiver:
        made = await ask(ADMIN, "POST", HOOKS, {"name": "SIEM", "url": receiver.url, "actions": ["user"]})
        assert (made.status, made.headers["etag"]) == (201, '"1"')
        webhook = made.json
        receiver.secrets.append(webhook["secret"])
        assert webhook["secret"].startswith("whsec_")
        one = f"{HOOKS}/{webhook['id']}"
        assert (await ask(ADMIN, "GET", one)).json == webhook | {"secret": None}
        assert (await ask(ADMIN, "POST", one + "/test")).json["is_delivered"]
        changed = await ask(ADMIN, "PATCH", one, {"actions": None, "is_enabled": False}, {"if-match": '"1"'})
        assert (changed.json["actions"], changed.json["is_enabled"], changed.json["version"]) == (None, False, 2)
        assert (await ask(ADMIN, "PATCH", one, {"name": "x"}, {"if-match": '"1"'})).status == 412
        assert (await ask(ADMIN, "PATCH", one, {})).json["version"] == 2
        renewed = (await ask(ADMIN, "POST", one + "/secret")).json
        assert renewed["secret"] != webhook["secret"]
        assert (await ask(ADMIN, "GET", HOOKS)).json["data"][0]["secret"] is None
        assert (await ask(ADMIN, "DELETE", one)).json["deleted"]
        assert (await ask(ADMIN, "GET", one)).status == 404
    actions = [event["action"] for event in await _all(ask, AUDIT + "/events?action=webhook")]
    assert actions == ["webhook.created", "webhook.updated", "webhook.secret_renewed", "webhook.deleted"]


async def test_webhook_of_another_organisation_is_not_there(ask: Asking) -> None:
    made = (await ask(ADMIN, "POST", HOOKS, {"name": "SIEM", "url": "https://siem.example/x"})).json
    one = f"{HOOKS}/{made['id']}"
    for method, path, body in (
        ("GET", one, None),
        ("PATCH", one, {"name": "mine"}),
        ("DELETE", one, None),
        ("POST", one + "/test", None),
        ("POST", one + "/secret", None),
    ):
        assert (await ask(STRANGER, method, path, body)).status == 404, (method, path)
    assert (await ask(STRANGER, "GET", HOOKS)).json["data"] == []
    assert (await ask(ADMIN, "GET", one)).json["name"] == "SIEM"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "x"},
        {"name": "", "url": "https://siem.example"},
        {"name": "x\x00", "url": "https://siem.example"},
        {"name": "x", "url": "ftp://siem.example"},
        {"name": "x", "url": "https://user:pass@siem.example"},
        {"name": "x", "url": "https://siem.example/" + "x" * 5000},
        {"name": "x", "url": "https://siem.example", "actions": []},
        {"name": "x", "url": "https://siem.example", "actions": ["*"]},
        {"name": "x", "url": "https://siem.example", "actions": ["user"] * 200},
        {"name": "x", "url": "https://siem.example", "after_sequence": 61},
        {"name": "x", "url": "https://siem.example", "after_sequence": -1},
        {"name": "x", "url": "https://siem.example", "secret": "whsec_mine"},
        {"name": "x", "url": "https://siem.example", "organisation_id": "org_other"},
    ],
)
async def test_webhooks_that_cannot_be_are_refused(ask: Asking, body: dict) -> None:
    assert (await ask(ADMIN, "POST", HOOKS, body)).status == 400
    assert (await ask(ADMIN, "GET", HOOKS)).json["data"] == []


async def test_same_request_twice_makes_one_webhook(ask: Asking) -> None:
    body, headers = {"name": "x", "url": "https://siem.example"}, {"idempotency-key": "once"}
    first, second = [await ask(ADMIN, "POST", HOOKS, body, headers) for _ in range(2)]
    assert first.json == second.json
    assert len((await ask(ADMIN, "GET", HOOKS)).json["data"]) == 1


async def test_webhooks_are_not_endless(ask: Asking) -> None:
    for number in range(WEBHOOKS_MAX + 1):
        told = await ask(ADMIN, "POST", HOOKS, {"name": f"x{number}", "url": "https://siem.example"})
    assert (told.status, "limit" in told.message) == (409, True)
