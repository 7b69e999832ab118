"""Out to an identity provider and back, as a browser sees it: addresses, cookies, and pages when it does not work."""

from types import SimpleNamespace

import pytest
from tests.api.admin.asking import Asking, caller_of

from mainstay.api.auth.door import HOME
from mainstay.api.auth.oidc import ProviderSignInRoutes
from mainstay.api.browsers import Browsers
from mainstay.api.cookies import Cookies
from mainstay.kit.errors import NotFoundError
from mainstay.platform.identity.oidc.code_flow import Started
from mainstay.platform.identity.oidc.errors import SignInRefusedError
from mainstay.platform.identity.oidc.sign_in import CameBack, SignedIn

PUBLIC_URL = "https://ai.example.com"
CALLBACK = "/auth/oidc/idp_1/callback"


class ScriptedSignIn:
    """Begins and ends sign-ins as it is told to, and keeps what it was given."""

    def __init__(self) -> None:
        self.return_to = ""
        self.came_back: CameBack | None = None
        self.refusal: Exception | None = None

    async def start(self, provider_id, return_to, origin):
        if provider_id != "idp_1":
            raise NotFoundError("There is no identity provider '<b>x</b>'.")
        self.return_to = return_to
        return Started("https://login.example.com/authorize?scope=openid+email&state=s", "browser-secret")

    async def finish(self, came_back):
        self.came_back = came_back
        if self.refusal is not None:
            raise self.refusal
        return SignedIn(SimpleNamespace(), self.return_to)


@pytest.fixture
def sign_in():
    return ScriptedSignIn()


def asking(sign_in, public_url=PUBLIC_URL):
    cookies = Cookies(public_url)
    door = SimpleNamespace(
        cookies=cookies, browsers=Browsers(public_url), cookie=lambda _: cookies.set("session", max_age_seconds=60)
    )
    ask = Asking([ProviderSignInRoutes(door, sign_in, public_url=public_url)])

    async def get(path, cookie=""):
        headers = {"cookie": cookie} if cookie else {}
        return await ask(caller_of("org_a"), "GET", path, headers=headers)

    return get


async def test_a_browser_is_sent_out_with_a_cookie_that_only_this_host_gets(sign_in):
    answer = await asking(sign_in)("/auth/oidc/idp_1/start?next=/workspace")
    assert answer.status == 303
    assert answer.headers["location"] == "https://login.example.com/authorize?scope=openid+email&state=s"
    assert answer.headers["set-cookie"] == (
        "__Host-mainstay-sign-in=browser-secret; Max-Age=600; Path=/; HttpOnly; SameSite=Lax; Secure"
    )
    assert answer.headers["cache-control"] == "no-store"
    assert sign_in.return_to == "/workspace"


@pytest.mark.parametrize(
    "destination", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "", "%0d%0ax"]
)
async def test_nobody_is_sent_anywhere_else_afterwards(sign_in, destination):
    get = asking(sign_in)
    await get(f"/auth/oidc/idp_1/start?next={destination}")
    assert sign_in.return_to == HOME
    sign_in.return_to = destination  # as if it had been stored otherwise
    answer = await get(f"{CALLBACK}?code=c&state=s", "__Host-mainstay-sign-in=browser-secret")
    assert answer.headers["location"] == HOME


async def test_who_comes_back_is_signed_in_and_the_other_cookie_is_gone(sign_in):
    cookie = "__Host-mainstay-sign-in=browser-secret; __Host-mainstay=old-session"
    answer = await asking(sign_in)(f"{CALLBACK}?code=c&state=s&iss=i", cookie)
    assert answer.status == 303
    assert sign_in.came_back is not None
    assert sign_in.came_back.answer == {"code": "c", "state": "s", "iss": "i"}
    assert sign_in.came_back.cookie == "browser-secret"
    assert sign_in.came_back.replaces == b"old-session"
    assert "browser-secret" not in repr(sign_in.came_back)
    assert answer.headers["set-cookie"].startswith("__Host-mainstay-sign-in=; Max-Age=0")


@pytest.mark.parametrize(
    "query",
    ["code=a&code=b&state=s", "state=s&state=s&code=c", "code=" + "x" * 20_000, "&".join(f"a{n}=1" for n in range(60))],
    ids=lambda query: query[:20],
)
async def test_a_query_that_can_be_read_in_two_ways_is_not_read(sign_in, query):
    answer = await asking(sign_in)(f"{CALLBACK}?{query}")
    assert answer.status == 400
    assert sign_in.came_back is None


async def test_two_cookies_of_one_name_are_none(sign_in):
    cookie = "__Host-mainstay-sign-in=planted; __Host-mainstay-sign-in=browser-secret"
    await asking(sign_in)(f"{CALLBACK}?code=c&state=s", cookie)
    assert sign_in.came_back is not None
    assert sign_in.came_back.cookie is None


async def test_a_refusal_is_a_page_that_says_why_and_runs_nothing(sign_in):
    sign_in.refusal = SignInRefusedError("Ask <script>alert(1)</script>.")
    answer = await asking(sign_in)(f"{CALLBACK}?code=c&state=s")
    assert answer.status == 403
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert b"<script>" not in answer.body
    assert b"Ask &lt;script&gt;" in answer.body
    assert b'href="/auth/sign-in"' in answer.body
    assert "Max-Age=0" in answer.headers["set-cookie"]
    unknown = await asking(sign_in)("/auth/oidc/idp_2/start")
    assert unknown.status == 404
    assert b"<b>" not in unknown.body


async def test_without_https_the_cookie_has_a_plain_name(sign_in):
    answer = await asking(sign_in, "http://127.0.0.1:8080")("/auth/oidc/idp_1/start")
    assert answer.headers["set-cookie"] == (
        "mainstay-sign-in=browser-secret; Max-Age=600; Path=/; HttpOnly; SameSite=Lax"
    )
