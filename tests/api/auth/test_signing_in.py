"""Signing in by JSON: cookies, fixation, links, options that tell nothing of accounts, one's own sessions."""

import pytest
from tests.api.site import OWN_PAGE, Site, open_site
from tests.platform.identity.signing_in import ORGANISATION

from mainstay.kit.database import Database
from mainstay.platform.audit.events import SYSTEM

GOOD = "four words are enough"
NEW = "five other words are better"


@pytest.fixture
async def site(database: Database) -> Site:
    return await open_site(database)


async def sign_in(site: Site, password: str = GOOD, email: str = "ann@example.com", **more):
    return await site.ask("POST", "/auth/password", json_body={"email": email, "password": password}, **more)


async def link(site: Site, who: str) -> str:
    secret, _ = await site.door.links.create(SYSTEM, ORGANISATION, who)
    return secret


async def works(site: Site, cookie: str) -> bool:
    return (await site.ask("GET", "/v1/models", cookie=cookie)).status == 200


# Cookies


async def test_signing_in_sets_a_cookie_that_nobody_else_reads_or_sends(site: Site):
    who = await site.user(password=GOOD)
    answer = await sign_in(site)
    assert (answer.status, answer.json["user_id"], answer.json["method"]) == (201, who, "password")
    name, *attributes = (answer["set-cookie"] or "").split("; ")
    assert name.startswith("__Host-mainstay=")
    assert attributes == ["Max-Age=86400", "Path=/", "HttpOnly", "SameSite=Lax", "Secure"]
    assert answer["cache-control"] == "no-store"
    assert answer.cookie.partition("=")[2] not in answer.text
    assert await works(site, answer.cookie)


async def test_without_https_the_cookie_goes_over_http(database: Database):
    site = await open_site(database, public_url="http://ai.example.com")
    await site.user(password=GOOD)
    answer = await sign_in(site)
    assert (answer["set-cookie"] or "").startswith("mainstay=")
    assert "Secure" not in (answer["set-cookie"] or "")


async def test_a_cookie_that_was_planted_is_not_the_session_afterwards(site: Site):
    await site.user("eve@example.com", password=NEW)
    planted = (await sign_in(site, NEW, "eve@example.com")).cookie
    await site.user(password=GOOD)
    answer = await sign_in(site, cookie=planted, headers=OWN_PAGE)
    await site.refresh()
    assert answer.cookie != planted
    assert not await works(site, planted)
    assert await works(site, answer.cookie)


async def test_a_refusal_sets_no_cookie_and_tells_nothing(site: Site):
    await site.user(password=GOOD)
    answers = [await sign_in(site, "wrong"), await sign_in(site, GOOD, "nobody@example.com")]
    assert [answer.status for answer in answers] == [401, 401]
    assert all(answer["set-cookie"] is None for answer in answers)
    assert answers[0].json == answers[1].json
    assert answers[0].json["error"]["code"] == "sign_in_failed"


BAD_BODIES = (
    None,
    [],
    {"email": "ann@example.com"},
    {"email": 1, "password": []},
    {"email": "ann@example.com", "password": GOOD, "is_admin": True},
    {"email": "ann@example.com", "password": GOOD, "organisation": {"$ne": 1}},
)


async def test_what_is_no_sign_in_is_400(site: Site):
    await site.user(password=GOOD)
    for body in BAD_BODIES:
        answer = await site.ask("POST", "/auth/password", json_body=body)
        assert (answer.status, answer["set-cookie"]) == (400, None), body


async def test_a_deep_body_is_refused_and_not_a_crash(site: Site):
    for path in ("/auth/password", "/auth/link"):
        answer = await site.ask("POST", path, headers={"content-type": "application/json"}, form="[" * 100_000)
        assert answer.status == 400


# Links and signing out


async def test_a_link_signs_in_once(site: Site):
    who = await site.user()
    secret = await link(site, who)
    first = await site.ask("POST", "/auth/link", json_body={"token": secret})
    second = await site.ask("POST", "/auth/link", json_body={"token": secret})
    assert (first.status, first.json["method"], second.status) == (201, "link", 401)
    assert await works(site, first.cookie)


async def test_signing_out_ends_the_session_and_takes_the_cookie(site: Site):
    cookie = await site.session(await site.user())
    answer = await site.ask("POST", "/auth/sign-out", cookie=cookie, headers=OWN_PAGE)
    assert (answer.status, answer.json["signed_out"]) == (200, True)
    assert "Max-Age=0" in (answer["set-cookie"] or "")
    await site.refresh()
    assert not await works(site, cookie)
    assert (await site.ask("POST", "/auth/sign-out")).status == 200
    assert "session.revoked" in await site.door.audited()


async def test_a_stranger_who_signs_out_bothers_no_worker(site: Site):
    told: list[bool] = []

    async def tell() -> None:
        told.append(True)

    site.before_success = tell
    for cookie in ("", "__Host-mainstay=" + "A" * 64):
        assert (await site.ask("POST", "/auth/sign-out", cookie=cookie, headers=OWN_PAGE)).status == 200
        assert (
            await site.ask("POST", "/auth/account/sign-out", cookie=cookie, headers=OWN_PAGE, form="")
        ).status == 303
    assert told == []
    cookie = await site.session(await site.user())
    assert (await site.ask("POST", "/auth/sign-out", cookie=cookie, headers=OWN_PAGE)).status == 200
    assert len(told) == 2  # the link, and the end


# Options


async def add_provider(site: Site, organisation_id: str, name: str, *, domain: str | None = None) -> None:
    async with site.door.database.transaction() as transaction:
        await transaction.execute(
            "INSERT INTO identity_providers (id, organisation_id, type, name, issuer, client_id, settings, is_enabled, "
            "created_at_ms, updated_at_ms, version) VALUES (:id, :organisation_id, 'oidc', :name, 'https://issuer', "
            "'client', '{}', TRUE, 1, 1, 1)",
            {"id": f"idp_{name}", "organisation_id": organisation_id, "name": name},
        )
        if domain is not None:
            await transaction.execute(
                "INSERT INTO domains (id, organisation_id, name, verification, verified_at_ms, verified_name, "
                "created_at_ms, version) VALUES (:id, :organisation_id, :name, 'x', 1, :name, 1, 1)",
                {"id": f"domain_{name}", "organisation_id": organisation_id, "name": domain},
            )


async def options(site: Site, query: str = "") -> tuple[list[str], bool]:
    told = (await site.ask("GET", "/auth/options" + query)).json
    return [one["name"] for one in told["providers"]], told["needs_email"]


async def test_the_only_organisations_providers_are_shown_to_everyone(site: Site):
    assert await options(site) == ([], False)
    await add_provider(site, ORGANISATION, "Entra")
    assert await options(site) == (["Entra"], False)
    assert await options(site, "?email=any%40where.example") == (["Entra"], False)


async def test_of_several_organisations_the_one_that_owns_the_domain_is_shown(site: Site):
    await site.door.add_organisation("org_b")
    await add_provider(site, ORGANISATION, "Entra", domain="example.com")
    await add_provider(site, "org_b", "Okta", domain="b.example")
    assert await options(site) == ([], True)
    assert await options(site, "?email=nobody%40EXAMPLE.com") == (["Entra"], False)
    assert await options(site, "?email=x%40b.example") == (["Okta"], False)
    for odd in ("?email=x%40c.example", "?email=", "?email=%00%40b.example%00", "?email=" + "x" * 5000, "?email=%40"):
        assert (await options(site, odd))[0] == [], odd


async def test_options_are_the_same_whether_or_not_there_is_an_account(site: Site):
    await site.user(password=GOOD)
    known = await site.ask("GET", "/auth/options?email=ann%40example.com")
    unknown = await site.ask("GET", "/auth/options?email=nobody%40example.com")
    assert known.json == unknown.json


# One's own


async def test_one_sees_and_ends_ones_own_sessions_and_nobody_elses(site: Site):
    ann, bob = await site.user("ann@example.com"), await site.user("bob@example.com")
    here, there, other = await site.session(ann), await site.session(ann), await site.session(bob)
    listed = (await site.ask("GET", "/auth/sessions", cookie=here)).json["data"]
    assert sorted(one["is_current"] for one in listed) == [False, True]
    assert {one["user_id"] for one in listed} == {ann}
    (elsewhere,) = (one["id"] for one in listed if not one["is_current"])
    (foreign,) = (one["id"] for one in (await site.ask("GET", "/auth/sessions", cookie=other)).json["data"])
    refused = await site.ask("DELETE", f"/auth/sessions/{foreign}", cookie=here, headers=OWN_PAGE)
    ended = await site.ask("DELETE", f"/auth/sessions/{elsewhere}", cookie=here, headers=OWN_PAGE)
    assert (refused.status, ended.status) == (404, 200)
    await site.refresh()
    assert [await works(site, cookie) for cookie in (here, there, other)] == [True, False, True]


async def test_one_ends_all_other_sessions_at_once(site: Site):
    who = await site.user()
    here, there = await site.session(who), await site.session(who)
    answer = await site.ask("DELETE", "/auth/sessions", cookie=here, headers=OWN_PAGE)
    assert answer.json["count"] == 1
    await site.refresh()
    assert [await works(site, cookie) for cookie in (here, there)] == [True, False]


async def test_a_password_is_set_after_a_link_and_changed_with_the_present_one(site: Site):
    cookie = await site.session(await site.user())
    weak = await site.ask("PUT", "/auth/password", cookie=cookie, headers=OWN_PAGE, json_body={"new_password": "short"})
    assert (weak.status, weak.json["error"]["code"]) == (400, "weak_password")
    assert (
        await site.ask("PUT", "/auth/password", cookie=cookie, headers=OWN_PAGE, json_body={"new_password": GOOD})
    ).status == 200
    cookie = (await sign_in(site)).cookie
    await site.refresh()
    for current, status in ((None, 400), ("wrong", 403), (GOOD, 200)):
        body = {"new_password": NEW} | ({} if current is None else {"current_password": current})
        answer = await site.ask("PUT", "/auth/password", cookie=cookie, headers=OWN_PAGE, json_body=body)
        assert answer.status == status
    assert site.denied == [], "a wrong password is in the audit log as such, and not a second time as a denial"
    assert (await sign_in(site, NEW)).status == 201


async def test_strangers_cannot_fill_the_memory_with_bodies(site: Site):
    for path in ("/auth/password", "/auth/link"):
        answer = await site.ask("POST", path, json_body={"email": "x" * 200_000})
        assert (answer.status, answer.json["error"]["code"]) == (413, "request_too_large")
    assert (await site.ask("POST", "/v1/embeddings", headers=await site.key(), json_body="x" * 200_000)).status == 200


async def test_keys_manage_no_sign_ins(site: Site):
    who = await site.user(role="role_owner")
    for headers in (await site.key(principal_id=who, scopes=["admin"]), await site.key(scopes=["admin"])):
        for method, path in (("GET", "/auth/sessions"), ("DELETE", "/auth/sessions"), ("PUT", "/auth/password")):
            answer = await site.ask(method, path, headers=headers, json_body={"new_password": NEW})
            assert answer.status == 403
            assert site.denied.pop()[1] == path
