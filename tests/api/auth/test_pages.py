"""The pages: they work without a script, go nowhere else, and show what people typed as text."""

import re
from html.parser import HTMLParser
from urllib.parse import urlencode

import pytest
from tests.api.auth.test_signing_in import GOOD, NEW, add_provider
from tests.api.site import OWN_PAGE, Site, open_site
from tests.platform.identity.signing_in import ORGANISATION

from mainstay.api.auth.door import HOME, own_path
from mainstay.kit.database import Database
from mainstay.platform.audit.events import SYSTEM

EVIL = "\"><script>alert(1)</script>'&{{7*7}}"


@pytest.fixture
async def site(database: Database) -> Site:
    return await open_site(database)


class Looked(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.unlabelled = 0
        self._labels = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self._labels += tag == "label"
        given = dict(attrs)
        if tag == "input" and given.get("type") != "hidden" and "hidden" not in given and not self._labels:
            self.unlabelled += 1

    def handle_endtag(self, tag: str) -> None:
        self._labels -= tag == "label"


def look(text: str) -> Looked:
    found = Looked(text)
    assert "script" not in found.tags
    assert not [name for name, _ in found.attributes if name.startswith("on") or name == "style"]
    assert found.unlabelled == 0
    return found


async def post(site: Site, path: str, cookie: str = "", **fields: str):
    return await site.ask("POST", path, form=urlencode(fields), headers=OWN_PAGE, cookie=cookie)


# Where one goes afterwards


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)", "",
        "/%0d%0aSet-Cookie: x", "/\r\nx", "/ x", "/\x00", "evil", "/é", "/" + "x" * 2000, "http:/evil",
        "///evil.example", "/\t/evil.example",
    ],
)  # fmt: skip
def test_after_signing_in_one_stays_here(target):
    assert own_path(target) in {HOME, "/%0d%0aSet-Cookie: x"}
    assert own_path(target) == HOME or "://" not in own_path(target)


@pytest.mark.parametrize("target", ["/", "/chat/1?x=1&y=%2F", "/admin/users#top", "/a//b"])
def test_after_signing_in_one_gets_to_what_one_wanted(target):
    assert own_path(target) == target


# Signing in


async def test_the_page_signs_in_and_leads_to_what_was_wanted(site: Site):
    await site.user(password=GOOD)
    shown = await site.ask("GET", "/auth/sign-in?next=/chat/1")
    assert (shown.status, shown["content-type"]) == (200, "text/html; charset=utf-8")
    assert 'value="/chat/1"' in shown.text
    assert "password" in look(shown.text).tags or "form" in look(shown.text).tags
    answer = await post(site, "/auth/sign-in", email="ann@example.com", password=GOOD, next="/chat/1")
    assert (answer.status, answer["location"]) == (303, "/chat/1")
    account = await site.ask("GET", HOME, cookie=answer.cookie)
    assert "ann@example.com" in account.text
    look(account.text)
    assert (await site.ask("GET", "/auth/sign-in", cookie=answer.cookie))["location"] == HOME


async def test_what_was_wrong_is_shown_as_text_and_the_address_is_kept(site: Site):
    answer = await post(site, "/auth/sign-in", email=EVIL, password="wrong", next="//evil.example")
    assert answer.status == 401
    assert answer["set-cookie"] is None
    assert 'role="alert"' in answer.text
    assert EVIL not in answer.text
    assert "&lt;script&gt;" in answer.text
    assert "evil.example" not in answer.text
    assert "wrong" not in re.sub(r"is wrong|wrong passwords", "", answer.text)
    look(answer.text)


async def test_pages_show_what_people_are_called_as_text(site: Site):
    who = await site.user()
    async with site.door.database.transaction() as transaction:
        await transaction.execute("UPDATE principals SET name = :name WHERE id = :id", {"name": EVIL, "id": who})
        await transaction.execute("UPDATE organisations SET name = :name", {"name": EVIL})
    await add_provider(site, ORGANISATION, EVIL)
    secret, _ = await site.door.links.create(SYSTEM, ORGANISATION, who)
    signed_in = await site.ask(
        "POST", "/auth/link", json_body={"token": secret}, headers={"user-agent": EVIL, "origin": OWN_PAGE["origin"]}
    )
    for target, cookie in (
        (HOME, signed_in.cookie),
        ("/auth/sign-in?" + urlencode({"email": EVIL, "next": EVIL}), ""),
        ("/auth/sign-in/link?" + urlencode({"token": EVIL, "next": EVIL}), ""),
    ):
        shown = await site.ask("GET", target, cookie=cookie)
        assert EVIL not in shown.text
        assert "<script" not in shown.text
        look(shown.text)


async def test_no_page_may_be_kept_framed_or_load_a_script(site: Site):
    for target in ("/auth/sign-in", "/auth/sign-in/link?token=x"):
        answer = await site.ask("GET", target)
        policy = answer["content-security-policy"] or ""
        assert "default-src 'none'" in policy
        assert "script" not in policy
        assert "unsafe" not in policy
        assert answer["cache-control"] == "no-store"
        assert answer["x-frame-options"] == "DENY"


@pytest.mark.parametrize("headers", [{}, {"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}])
async def test_forms_of_other_sites_do_nothing(site: Site, headers: dict[str, str]):
    await site.user(password=GOOD)
    cookie = await site.session("user_ann_org_default")
    form = urlencode({"email": "ann@example.com", "password": GOOD, "new_password": NEW})
    for path in ("/auth/sign-in", "/auth/sign-in/link", HOME + "/password", HOME + "/sessions", HOME + "/sign-out"):
        answer = await site.ask("POST", path, form=form, headers=headers, cookie=cookie)
        assert (answer.status, answer["set-cookie"]) == (403, None), path
    assert (await site.ask("GET", "/v1/models", cookie=cookie)).status == 200


HOSTILE_FORMS = ("a=1&" * 21, "%ff%fe=1", "é", "x" * 70_000, "email=%ff&password=x")


async def test_hostile_forms_are_400(site: Site):
    for form in HOSTILE_FORMS:
        answer = await site.ask("POST", "/auth/sign-in", form=form, headers=OWN_PAGE)
        assert answer.status in {400, 401}, form[:20]
    assert (await site.ask("POST", "/auth/sign-in", json_body={"email": "x"}, headers=OWN_PAGE)).status == 400


# Links


async def test_a_link_that_is_only_looked_at_stays_good(site: Site):
    who = await site.user()
    secret, _ = await site.door.links.create(SYSTEM, ORGANISATION, who)
    for _ in range(3):
        shown = await site.ask("GET", f"/auth/sign-in/link?token={secret}")
        assert (shown.status, shown["set-cookie"]) == (200, None)
    answer = await post(site, "/auth/sign-in/link", token=secret)
    assert (answer.status, answer["location"]) == (303, HOME)
    again = await post(site, "/auth/sign-in/link", token=secret)
    assert (again.status, again["set-cookie"]) == (401, None)
    assert "used already" in again.text


# The account


async def test_whoever_is_not_signed_in_is_sent_to_sign_in(site: Site):
    for method, path in (("GET", HOME), ("POST", HOME + "/password"), ("POST", HOME + "/sessions")):
        answer = await site.ask(method, path, headers=OWN_PAGE, form="", cookie="__Host-mainstay=" + "A" * 64)
        assert (answer.status, answer["location"]) == (303, "/auth/sign-in")


async def test_a_password_is_set_and_sessions_end_by_forms(site: Site):
    who = await site.user()
    cookie, other = await site.session(who), await site.session(who)
    (elsewhere,) = (
        one["id"]
        for one in (await site.ask("GET", "/auth/sessions", cookie=cookie)).json["data"]
        if not one["is_current"]
    )
    told = await post(site, HOME + "/sessions", cookie, session=elsewhere)
    assert "The session has ended." in told.text
    await site.refresh()
    assert (await site.ask("GET", "/v1/models", cookie=other)).status == 401
    refused = await post(site, HOME + "/password", cookie, new_password="Password12345!")
    assert (refused.status, "tried first" in refused.text) == (400, True)
    assert "Your password is set" in (await post(site, HOME + "/password", cookie, new_password=GOOD)).text
    assert (await post(site, "/auth/sign-in", email="ann@example.com", password=GOOD)).status == 303
    out = await post(site, HOME + "/sign-out", cookie)
    assert (out.status, out["location"]) == (303, "/auth/sign-in")
    await site.refresh()
    assert (await site.ask("GET", "/v1/models", cookie=cookie)).status == 401


async def test_a_deactivated_users_cookie_opens_no_page(site: Site):
    who = await site.user()
    cookie = await site.session(who)
    await site.door.set_status(who, "deactivated")
    await site.directory.reload()
    assert (await site.ask("GET", HOME, cookie=cookie))["location"] == "/auth/sign-in"


async def test_the_present_password_is_asked_for_only_where_it_is_needed(site: Site):
    who = await site.user(password=GOOD)
    by_link = await site.session(who)
    assert 'name="current_password"' not in (await site.ask("GET", HOME, cookie=by_link)).text
    by_password = (await post(site, "/auth/sign-in", email="ann@example.com", password=GOOD)).cookie
    shown = await site.ask("GET", HOME, cookie=by_password)
    assert 'name="current_password"' in shown.text
    look(shown.text)
    site.door.clock.now += 1800
    assert 'name="current_password"' not in (await site.ask("GET", HOME, cookie=by_link)).text
    site.door.clock.now += 1800
    assert 'name="current_password"' in (await site.ask("GET", HOME, cookie=by_link)).text


async def test_where_passwords_are_forbidden_the_account_has_no_form_for_one(site: Site):
    cookie = await site.session(await site.user())
    assert 'name="new_password"' in (await site.ask("GET", HOME, cookie=cookie)).text
    async with site.door.database.transaction() as transaction:
        await transaction.execute(
            "INSERT INTO policies (id, organisation_id, scope_type, scope_id, key, value, is_locked, created_at_ms, "
            "updated_at_ms, version) VALUES ('policy_1', :id, 'organisation', :id, 'sign_in.password_allowed', "
            "'false', TRUE, 1, 1, 1)",
            {"id": ORGANISATION},
        )
    await site.directory.reload()
    shown = await site.ask("GET", HOME, cookie=cookie)
    assert (shown.status, "password" in shown.text) == (200, False)


async def test_sessions_are_named_by_browser_and_system(site: Site):
    who = await site.user()
    secret, _ = await site.door.links.create(SYSTEM, ORGANISATION, who)
    chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
    answer = await site.ask(
        "POST", "/auth/link", json_body={"token": secret}, headers={"user-agent": chrome, "origin": OWN_PAGE["origin"]}
    )
    shown = await site.ask("GET", HOME, cookie=answer.cookie)
    assert "Chrome on Linux" in shown.text
    assert "AppleWebKit" not in shown.text


async def test_of_several_organisations_the_page_asks_for_the_address_first(site: Site):
    await site.door.add_organisation("org_b")
    await add_provider(site, ORGANISATION, "Entra", domain="example.com")
    asked = (await site.ask("GET", "/auth/sign-in?next=/chat")).text
    assert (asked.count('name="email"'), 'name="password"' in asked) == (1, False)
    shown = (await site.ask("GET", "/auth/sign-in?email=ann%40example.com&next=/chat%3Fa=1")).text
    assert 'href="/auth/oidc/idp_Entra/start?next=/chat%3Fa%3D1"' in shown
    assert (shown.count('name="email"'), shown.count('name="password"')) == (1, 1)
    assert 'href="/auth/sign-in?next=/chat%3Fa%3D1"' in shown


async def test_a_provider_comes_before_the_password(site: Site):
    await add_provider(site, ORGANISATION, "Entra")
    shown = (await site.ask("GET", "/auth/sign-in")).text
    assert '<a class="button whole"' in shown
    assert '<button class="second whole" type="submit">Sign in with a password</button>' in shown
    look(shown)


async def test_where_the_organisation_forbids_passwords_the_form_steps_back(site: Site):
    assert "<details>" not in (await site.ask("GET", "/auth/sign-in")).text
    site.door.rules.is_password_allowed = False
    assert "<summary>Sign in with a password</summary>" in (await site.ask("GET", "/auth/sign-in")).text
    assert (await site.ask("GET", "/auth/options")).json["password"] is False


async def test_where_the_organisation_of_an_address_forbids_passwords_there_is_no_field_for_one(site: Site):
    site.door.rules.is_password_allowed = False
    target = "/auth/sign-in?email=ann%40example.com"
    shown = (await site.ask("GET", target)).text
    assert ('name="password"' in shown, "does not allow passwords" in shown) == (False, True)
    await add_provider(site, ORGANISATION, "Entra", domain="example.com")
    shown = (await site.ask("GET", target)).text
    assert ('name="password"' in shown, "Sign in with Entra" in shown) == (False, True)


# What browsers ask for by themselves


async def test_browsers_are_led_from_the_root_to_the_account_and_programs_are_not(site: Site):
    led = await site.ask("GET", "/", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (led.status, led["location"], led["vary"]) == (303, HOME, "accept")
    for headers in ({}, {"accept": "*/*"}, {"accept": "application/json"}):
        told = await site.ask("GET", "/", headers=headers)
        assert (told.status, told.json["error"]["code"]) == (404, "unknown_url")


async def test_there_is_no_icon_and_that_is_no_error(site: Site):
    assert (await site.ask("GET", "/favicon.ico")).status == 204


async def test_what_is_hidden_stays_hidden(site: Site):
    style = (await site.ask("GET", "/auth/style.css")).text
    assert "[hidden] { display: none !important; }" in style
