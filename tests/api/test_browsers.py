"""Browsers: requests of other sites, CORS, security headers, and proxies that lie."""

import ipaddress

import pytest
from tests.api.site import OWN_PAGE, PUBLIC_URL, Site, open_site

from mainstay.api.client_address import ClientAddresses
from mainstay.kit.database import Database

APP = "https://app.example.com"


@pytest.fixture
async def site(database: Database) -> Site:
    return await open_site(database, cors_origins=(APP,))


# Requests that other sites send with our cookie

FOREIGN = {
    "another site": {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
    "another site, old browser": {"origin": "https://evil.example"},
    "a sister domain": {"origin": "https://other.example.com", "sec-fetch-site": "same-site"},
    "a sister, same-origin claimed": {"origin": "https://other.example.com", "sec-fetch-site": "same-origin"},
    "no scheme": {"origin": "ai.example.com"},
    "another scheme": {"origin": "http://ai.example.com"},
    "another port": {"origin": "https://ai.example.com:8443"},
    "a name that begins the same": {"origin": "https://ai.example.com.evil.example"},
    "user information": {"origin": "https://ai.example.com@evil.example"},
    "null": {"origin": "null"},
    "empty": {"origin": ""},
    "capitals": {"origin": "HTTPS://AI.EXAMPLE.COM"},
    "nothing at all": {},
    "a page that has CORS": {"origin": APP, "sec-fetch-site": "cross-site"},
    "typed by the user": {"sec-fetch-site": "none"},
    "only the referrer": {"referer": PUBLIC_URL + "/auth/account"},
}


DEEDS = (("POST", "/v1/embeddings"), ("DELETE", "/auth/sessions"), ("PUT", "/auth/password"))


async def test_a_cookie_that_another_site_sends_changes_nothing(site: Site):
    cookie = await site.session(await site.user())
    for who, headers in FOREIGN.items():
        for method, path in DEEDS:
            answer = await site.ask(method, path, cookie=cookie, headers=headers, json_body={})
            assert (answer.status, answer.json["error"]["code"]) == (403, "cross_site_request"), (who, method)
    assert site.seen == []


FORMS = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "")


async def test_what_a_form_can_send_is_no_json(site: Site):
    cookie = await site.session(await site.user())
    for kind in FORMS:
        headers = OWN_PAGE | {"content-length": "2", "content-type": kind}
        assert (await site.ask("POST", "/v1/embeddings", cookie=cookie, headers=headers)).status == 403


async def test_our_own_pages_may(site: Site):
    cookie = await site.session(await site.user())
    for headers in (OWN_PAGE, {"origin": PUBLIC_URL}, {"sec-fetch-site": "same-origin"}):
        assert (await site.ask("POST", "/v1/embeddings", cookie=cookie, headers=headers, json_body={})).status == 200


async def test_without_a_public_url_the_own_origin_is_the_host_that_was_asked(database: Database):
    site = await open_site(database, public_url=None)
    cookie = await site.session(await site.user())
    assert cookie.startswith("mainstay=")
    for origin, status in (
        ("http://ai.example.com", 200),
        ("https://ai.example.com", 200),
        ("http://evil.example", 403),
    ):
        answer = await site.ask("POST", "/v1/embeddings", cookie=cookie, headers={"origin": origin}, json_body={})
        assert answer.status == status


async def test_a_program_with_a_key_needs_no_origin_and_is_asked_for_none(site: Site):
    key = await site.key()
    for headers in ({}, {"origin": "https://evil.example"}, {"origin": "null"}):
        assert (await site.ask("POST", "/v1/embeddings", headers=key | headers, json_body={})).status == 200


async def test_another_site_signs_nobody_in_or_out(site: Site):
    body = {"email": "ann@example.com", "password": "x", "token": "x"}
    for path in ("/auth/password", "/auth/link", "/auth/sign-out"):
        answer = await site.ask("POST", path, headers={"origin": "https://evil.example"}, json_body=body)
        assert answer.status == 403


# CORS


async def test_a_listed_origin_may_read_answers_and_never_with_a_cookie(site: Site):
    key = await site.key()
    answer = await site.ask("POST", "/v1/embeddings", headers=key | {"origin": APP}, json_body={})
    assert answer["access-control-allow-origin"] == APP
    assert answer["access-control-allow-credentials"] is None
    assert answer["vary"] == "origin"
    refused = await site.ask("GET", "/v1/models", headers={"origin": APP})
    assert (refused.status, refused["access-control-allow-origin"]) == (401, APP)


STRANGERS = (
    "https://evil.example", "null", "*", APP + ".evil.example", APP.upper(), APP + "/", "http://app.example.com"
)  # fmt: skip


async def test_no_other_origin_is_reflected(site: Site):
    key = await site.key()
    for origin in STRANGERS:
        asking = {"origin": origin, "access-control-request-method": "POST"}
        sent = await site.ask("POST", "/v1/embeddings", headers=key | {"origin": origin}, json_body={})
        asked = await site.ask("OPTIONS", "/v1/embeddings", headers=asking)
        for answer in (sent, asked):
            assert not [name for name, _ in answer.headers if name.startswith(b"access-control-")]
        assert asked.status == 405


async def test_a_preflight_of_a_listed_origin_is_answered(site: Site):
    wanted = "authorization, content-type, x-stainless-lang"
    asking = {"origin": APP, "access-control-request-method": "POST", "access-control-request-headers": wanted}
    answer = await site.ask("OPTIONS", "/v1/chat/completions", headers=asking)
    assert (answer.status, answer["access-control-allow-origin"]) == (200, APP)
    assert answer["access-control-allow-headers"] == wanted
    assert "POST" in (answer["access-control-allow-methods"] or "")
    hostile = asking | {"access-control-request-headers": "x\u00e9, <script>"}
    assert (await site.ask("OPTIONS", "/v1/models", headers=hostile))["access-control-allow-headers"] is None


async def test_signing_in_is_for_our_own_pages(site: Site):
    asking = {"origin": APP, "access-control-request-method": "POST"}
    answer = await site.ask("OPTIONS", "/auth/password", headers=asking)
    assert (answer.status, answer["access-control-allow-origin"]) == (405, None)
    assert (await site.ask("GET", "/auth/options", headers={"origin": APP}))["access-control-allow-origin"] is None


# What every response says


async def test_every_response_tells_browsers_to_be_careful(site: Site):
    for target in ("/v1/models", "/none", "/auth/options", "/auth/sign-in", "/auth/style.css"):
        answer = await site.ask("GET", target)
        assert answer["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in (answer["content-security-policy"] or "")
        assert "default-src 'none'" in (answer["content-security-policy"] or "")
        assert "max-age=31536000" in (answer["strict-transport-security"] or "")
        assert answer["referrer-policy"] in {"no-referrer", "same-origin"}


async def test_without_https_nothing_is_promised_of_it(database: Database):
    site = await open_site(database, public_url=None)
    assert (await site.ask("GET", "/auth/sign-in"))["strict-transport-security"] is None


# Proxies

PROXIES = ClientAddresses([ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")])


def forwarded(*values: str) -> list[tuple[bytes, bytes]]:
    return [(b"x-forwarded-for", value.encode("latin-1")) for value in values]


@pytest.mark.parametrize(
    ("peer", "headers", "expected"),
    [
        ("203.0.113.9", forwarded("1.2.3.4"), "203.0.113.9"),  # nobody vouches for it
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", forwarded("198.51.100.7"), "198.51.100.7"),
        ("10.0.0.1", forwarded("1.2.3.4, 198.51.100.7"), "198.51.100.7"),  # the first was the client's own invention
        ("10.0.0.1", forwarded("1.2.3.4, 198.51.100.7, 10.9.9.9"), "198.51.100.7"),
        ("10.0.0.1", forwarded("1.2.3.4", "198.51.100.7"), "198.51.100.7"),
        ("10.0.0.1", forwarded("10.0.0.2, 10.0.0.3"), "10.0.0.2"),
        ("10.0.0.1", forwarded("198.51.100.7:4711"), "198.51.100.7"),
        ("fd00::1", forwarded("[2001:db8::7]:4711"), "2001:db8::7"),
        ("::ffff:10.0.0.1", forwarded("::ffff:198.51.100.7"), "198.51.100.7"),
        ("::ffff:198.51.100.7", [], "198.51.100.7"),
        ("10.0.0.1", forwarded("unknown"), "10.0.0.1"),
        ("10.0.0.1", forwarded("1.2.3.4, _hidden"), "10.0.0.1"),
        ("10.0.0.1", forwarded("fe80::1%eth0"), "10.0.0.1"),
        ("10.0.0.1", forwarded("1.2.3.4\x00, \xff"), "10.0.0.1"),
        ("10.0.0.1", forwarded("999.1.1.1"), "10.0.0.1"),
        ("10.0.0.1", forwarded(""), "10.0.0.1"),
        ("10.0.0.1", forwarded(", ".join(["1.2.3.4"] + ["10.0.0.2"] * 10_000)), "10.0.0.2"),
        ("", forwarded("1.2.3.4"), ""),
    ],
)
def test_a_proxy_is_believed_only_where_it_is_trusted(peer, headers, expected):
    assert PROXIES.find(peer, headers) == expected
    if not peer.startswith(("10.", "fd", "::ffff:10")):
        assert ClientAddresses().find(peer, headers) == expected


async def test_a_forged_address_changes_no_limit_and_no_audit_record(database: Database):
    site = await open_site(database, attempts_per_address=3)
    await site.user(password="four words are enough")
    statuses = []
    for number in range(6):
        headers = {"x-forwarded-for": f"198.51.100.{number}", "forwarded": f"for=198.51.100.{number}"}
        body = {"email": "ann@example.com", "password": "wrong"}
        statuses.append((await site.ask("POST", "/auth/password", headers=headers, json_body=body)).status)
    assert statuses == [401, 401, 401, 429, 429, 429]
    assert "198.51.100" not in await site.door.audit_text()
    assert "203.0.113.9" in await site.door.audit_text()
