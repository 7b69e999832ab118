"""Sessions and sign-in links for administrators: other tenants, those who may do more, pages, repeats."""

import pytest
from tests.api.site import OWN_PAGE, Site, open_site

from mainstay.kit.database import Database
from mainstay.platform.identity.organisations import Tenant


@pytest.fixture
async def site(database: Database) -> Site:
    return await open_site(database)


async def works(site: Site, cookie: str) -> bool:
    return (await site.ask("GET", "/v1/models", cookie=cookie)).status == 200


async def test_an_administrator_sees_the_organisations_sessions_and_ends_them(site: Site):
    who = await site.user()
    cookie = await site.session(who)
    headers = await site.key(scopes=["admin"])
    listed = (await site.ask("GET", f"/admin/v1/sessions?user={who}", headers=headers)).json
    (session,) = listed["data"]
    assert (session["user_id"], session["method"], session["revoked_at"]) == (who, "link", None)
    assert cookie.partition("=")[2] not in str(listed)
    assert (await site.ask("GET", f"/admin/v1/sessions/{session['id']}", headers=headers)).json == session
    ended = await site.ask("DELETE", f"/admin/v1/sessions/{session['id']}", headers=headers)
    assert (ended.status, ended.json["deleted"]) == (200, True)
    await site.refresh()
    assert not await works(site, cookie)
    assert (await site.ask("GET", "/admin/v1/sessions", headers=headers)).json["data"] == []
    shown = (await site.ask("GET", "/admin/v1/sessions?open=false", headers=headers)).json["data"]
    assert shown[0]["revoked_at"] is not None


async def test_every_session_of_a_user_ends_at_once(site: Site):
    who, headers = await site.user(), await site.key(scopes=["admin"])
    cookies = [await site.session(who) for _ in range(3)]
    answer = await site.ask("DELETE", f"/admin/v1/users/{who}/sessions", headers=headers)
    assert answer.json["count"] == 3
    await site.refresh()
    assert not any([await works(site, cookie) for cookie in cookies])


async def test_another_organisations_administrator_finds_nothing(site: Site):
    who = await site.user()
    cookie = await site.session(who)
    await site.door.add_organisation("org_b")
    await site.directory.reload()
    headers = await site.key(Tenant("org_b", "proj_of_org_b"), scopes=["admin"])
    (row,) = await site.door.database.fetch("SELECT id FROM sessions")
    assert (await site.ask("GET", "/admin/v1/sessions", headers=headers)).json["data"] == []
    assert (await site.ask("GET", f"/admin/v1/sessions?user={who}", headers=headers)).json["data"] == []
    for method in ("GET", "DELETE"):
        assert (await site.ask(method, f"/admin/v1/sessions/{row[0]}", headers=headers)).status == 404
    assert (await site.ask("DELETE", f"/admin/v1/users/{who}/sessions", headers=headers)).status == 404
    assert (await site.ask("POST", f"/admin/v1/users/{who}/sign_in_links", headers=headers)).status == 404
    assert await works(site, cookie)


async def test_whoever_has_no_right_to_it_is_refused(site: Site):
    who = await site.user()
    cookie, key = await site.session(who), await site.key()
    for method, path in (
        ("GET", "/admin/v1/sessions"),
        ("DELETE", f"/admin/v1/users/{who}/sessions"),
        ("POST", f"/admin/v1/users/{who}/sign_in_links"),
    ):
        assert (await site.ask(method, path, headers=key)).status == 403
        assert (await site.ask(method, path, cookie=cookie, headers=OWN_PAGE)).status == 403
        assert (await site.ask(method, path)).status == 401


@pytest.mark.parametrize("query", ["open=maybe", "limit=0", "limit=x", "after=%00", "who=x", "order=up"])
async def test_a_query_that_means_nothing_is_400(site: Site, query: str):
    headers = await site.key(scopes=["admin"])
    assert (await site.ask("GET", f"/admin/v1/sessions?{query}", headers=headers)).status == 400


# Links


async def test_a_link_for_a_user_signs_in_as_that_user(site: Site):
    who, headers = await site.user(), await site.key(scopes=["admin"])
    answer = await site.ask("POST", f"/admin/v1/users/{who}/sign_in_links", headers=headers)
    assert answer.status == 201
    assert answer.json["url"].startswith("https://ai.example.com/auth/sign-in/link?token=")
    token = answer.json["url"].rpartition("=")[2]
    assert (await site.ask("POST", "/auth/link", json_body={"token": token})).json["user_id"] == who
    assert token not in await site.door.audit_text()


async def test_nobody_makes_a_link_for_someone_who_may_do_more(site: Site):
    owner = await site.user("owner@example.com", role="role_owner")
    security = await site.user("sec@example.com", role="role_security_admin")
    admin = await site.user("admin@example.com", role="role_admin")
    for who, target, status in (
        (admin, owner, 403),
        (security, owner, 403),
        (security, admin, 403),
        (owner, admin, 201),
        (owner, owner, 201),
    ):
        cookie = await site.session(who)
        answer = await site.ask("POST", f"/admin/v1/users/{target}/sign_in_links", cookie=cookie, headers=OWN_PAGE)
        assert answer.status == status, (who, target, answer.text)


async def test_a_request_that_is_sent_twice_makes_one_link(site: Site):
    who = await site.user()
    headers = await site.key(scopes=["admin"]) | {"idempotency-key": "once"}
    answers = [await site.ask("POST", f"/admin/v1/users/{who}/sign_in_links", headers=headers) for _ in range(2)]
    assert answers[0].json == answers[1].json
    assert await site.door.database.fetch("SELECT COUNT(*) FROM sign_in_links") == [(1,)]


async def test_there_is_no_link_for_nobody(site: Site):
    headers = await site.key(scopes=["admin"])
    for who in ("user_none", "x" * 3000, "%00"):
        assert (await site.ask("POST", f"/admin/v1/users/{who}/sign_in_links", headers=headers)).status == 404
