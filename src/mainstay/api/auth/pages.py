"""Pages for people: signing in, and what one sees afterwards. They work without a script and load none."""

import time
from collections.abc import Awaitable, Callable, Iterator
from urllib.parse import quote

from mainstay.api.auth.door import HOME, Door, act_of_session, own_path, require_session
from mainstay.api.auth.html import STYLE, Html, element, field, form, hidden, page, text
from mainstay.api.auth.own import Own
from mainstay.api.auth.programs import program_name
from mainstay.api.auth.signing_in import start_url
from mainstay.api.dialects import Dialect
from mainstay.api.exchange import Exchange, Header
from mainstay.api.routes import Handler, Route
from mainstay.kit.errors import MainstayError, NotFoundError
from mainstay.kit.pages import PageRequest
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.caller import Caller
from mainstay.platform.identity.passwords import LENGTH_MIN
from mainstay.platform.identity.sessions import Session
from mainstay.platform.identity.sign_in_links import METHOD as BY_LINK
from mainstay.platform.identity.sign_in_options import Options, SignInOptions
from mainstay.platform.identity.sign_in_rules import PolicyRules

SIGN_IN = "/auth/sign-in"
LINK = "/auth/sign-in/link"
"""Where sign-in links lead; `?token=` follows."""

_HTML: Header = (b"content-type", b"text/html; charset=utf-8")
_ICON: Header = (b"content-type", b"image/x-icon")
_NO_STORE: Header = (b"cache-control", b"no-store")
_SESSIONS_SHOWN = 50
_FRESH_LINK_SECONDS = 3600
"""How long after a link the present password is not asked for; PasswordSignIn decides, pages follow it."""

_Deed = Callable[[Exchange, Caller, dict[str, str]], Awaitable[str]]


class Pages:
    """The pages. Their routes are public; what needs someone signed in looks for the cookie itself."""

    def __init__(self, door: Door, own: Own, options: SignInOptions) -> None:
        self._door = door
        self._own = own
        self._options = options
        self._rules = PolicyRules(door.authority.policies)

    def routes(self, dialect: Dialect) -> Iterator[Route]:
        """Yield the routes."""
        pages: tuple[tuple[str, str, Handler, str, tuple[str, ...]], ...] = (
            ("GET", "/", self.show_root, "Leads browsers to the page of whoever is signed in.", ()),
            ("GET", "/favicon.ico", self.icon, "What browsers ask for by themselves; there is none.", ()),
            ("GET", SIGN_IN, self.show_sign_in, "The page to sign in.", ("next", "email")),
            ("POST", SIGN_IN, self.sign_in, "The form of the page to sign in.", ()),
            ("GET", LINK, self.show_link, "The page that a sign-in link leads to.", ("token", "next")),
            ("POST", LINK, self.use_link, "The form of the page that a sign-in link leads to.", ()),
            ("GET", HOME, self.show_account, "The page of someone who is signed in.", ()),
            ("POST", HOME + "/password", self.for_visitor(self.set_password), "The form to set one's password.", ()),
            ("POST", HOME + "/sessions", self.for_visitor(self.end_session), "The form to end a session.", ()),
            ("POST", HOME + "/sign-out", self.sign_out, "The form to sign out.", ()),
            ("GET", "/auth/style.css", self.style, "The style of the pages.", ()),
        )
        for method, path, handler, summary, query in pages:
            yield Route(
                method=method,
                path=path,
                action=Action.PUBLIC,
                dialect=dialect,
                handler=handler,
                summary=summary,
                query=query,
            )

    async def style(self, exchange: Exchange) -> None:
        """The style sheet."""
        kind = (b"content-type", b"text/css; charset=utf-8")
        await exchange.respond(200, STYLE, [(b"cache-control", b"public, max-age=3600")], kind=kind)

    async def icon(self, exchange: Exchange) -> None:
        """No icon, which is no error."""
        await exchange.respond(204, b"", [(b"cache-control", b"public, max-age=86400")], kind=_ICON)

    async def show_root(self, exchange: Exchange) -> None:
        """Lead people to their page; programs are told what they would be told of any unknown address."""
        if b"text/html" not in exchange.headers.get(b"accept", b"").lower():
            raise NotFoundError(
                f"{exchange.method} / is not an address of this service. Base URLs end in /v1 (OpenAI), /openai/v1 or "
                "/openai/deployments/NAME (Azure OpenAI); /openapi.json lists all.",
                code="unknown_url",
            )
        await exchange.redirect(HOME, [_NO_STORE, (b"vary", b"accept")])

    async def show_sign_in(self, exchange: Exchange) -> None:
        """The page to sign in, with the providers of the organisation."""
        asked = exchange.query()
        destination = own_path(asked.get("next"))
        if await self._door.visitor(exchange) is not None:
            await exchange.redirect(destination, [_NO_STORE])
            return
        await self._show(exchange, 200, await self._sign_in_page(destination, email=asked.get("email", "")))

    async def sign_in(self, exchange: Exchange) -> None:
        """Sign in with what the form says, or show it again with what was wrong."""
        self._door.browsers.require_same_origin(exchange)
        fields = await exchange.read_form()
        destination, email = own_path(fields.get("next")), fields.get("email", "")
        try:
            _, cookie = await self._door.sign_in(exchange, email, fields.get("password", ""))
        except MainstayError as error:
            told = await self._sign_in_page(destination, email=email, problem=error.told)
            await self._show(exchange, error.status, told, exchange.dialect.error_headers(error))
            return
        await exchange.redirect(destination, [_NO_STORE, cookie])

    async def show_link(self, exchange: Exchange) -> None:
        """Ask before the link is used, since programs that look at mail open links too."""
        asked = exchange.query()
        content = [
            element("p", "This link signs you in once, in this browser."),
            form(
                LINK,
                hidden("token", asked.get("token", "")),
                hidden("next", own_path(asked.get("next"))),
                element("button", "Sign in", class_="whole", type="submit"),
            ),
        ]
        await self._show(exchange, 200, page("Sign in", *content))

    async def use_link(self, exchange: Exchange) -> None:
        """Use the link."""
        self._door.browsers.require_same_origin(exchange)
        fields = await exchange.read_form()
        try:
            _, cookie = await self._door.use_link(exchange, fields.get("token", ""))
        except MainstayError as error:
            content = [_problem(error.told), element("a", "To the page to sign in", class_="button", href=SIGN_IN)]
            await self._show(exchange, error.status, page("This link does not work", *content))
            return
        await exchange.redirect(own_path(fields.get("next")), [_NO_STORE, cookie])

    async def show_account(self, exchange: Exchange) -> None:
        """Who is signed in, his sessions and his password."""
        caller = await self._door.visitor(exchange)
        if caller is None:
            await exchange.redirect(SIGN_IN, [_NO_STORE])
            return
        await self._show_account(exchange, caller)

    async def sign_out(self, exchange: Exchange) -> None:
        """End the session, and go back to the page to sign in."""
        self._door.browsers.require_same_origin(exchange)
        await exchange.redirect(SIGN_IN, [_NO_STORE, await self._door.sign_out(exchange)])

    def for_visitor(self, do: _Deed) -> Handler:
        """Return the handler of a form for someone who is signed in; afterwards the account is shown, and what came."""

        async def handle(exchange: Exchange) -> None:
            self._door.browsers.require_same_origin(exchange)
            caller = await self._door.visitor(exchange)
            if caller is None:
                await exchange.redirect(SIGN_IN, [_NO_STORE])
                return
            fields = await exchange.read_form()
            try:
                told = await do(exchange, caller, fields)
            except MainstayError as error:
                await self._show_account(exchange, caller, problem=error.told, status=error.status)
            else:
                await self._show_account(exchange, caller, told=told)

        return handle

    async def set_password(self, exchange: Exchange, caller: Caller, fields: dict[str, str]) -> str:
        """Set the visitor's password."""
        await self._door.by_password.change(
            act_of_session(exchange, caller),
            caller.organisation_id,
            require_session(caller),
            session_id=caller.key_id,
            current=fields.get("current_password") or None,
            new=fields.get("new_password", ""),
        )
        return "Your password is set. All your other sessions have ended."

    async def end_session(self, exchange: Exchange, caller: Caller, fields: dict[str, str]) -> str:
        """End one of the visitor's other sessions."""
        await self._door.sessions.revoke(
            act_of_session(exchange, caller),
            caller.organisation_id,
            fields.get("session", ""),
            principal_id=require_session(caller),
        )
        return "The session has ended."

    async def _sign_in_page(self, destination: str, *, email: str, problem: str = "") -> bytes:
        options = await self._options.find(email or None)
        content = [_problem(problem)] if problem else []
        if not options.is_complete:
            return page("Sign in", *content, _lookup(destination))
        content += _providers(options, destination)
        by_password = _sign_in_form(destination, email, is_second=bool(options.providers))
        if options.has_passwords:
            content += [element("p", "or", class_="or")] if options.providers else []
            content.append(by_password)
        elif problem or not email:  # some may have one all the same, and who is asking is not known yet
            content.append(element("details", [element("summary", "Sign in with a password"), by_password]))
        elif not options.providers:
            content.append(
                element("p", "Your organisation does not allow passwords; ask an administrator for a sign-in link.")
            )
        if email:
            content.append(_other_address(destination))
        return page("Sign in", *content)

    async def _show_account(
        self, exchange: Exchange, caller: Caller, *, problem: str = "", told: str = "", status: int = 200
    ) -> None:
        who = await self._own.describe(caller)
        sessions = await self._door.sessions.list(
            caller.organisation_id,
            PageRequest(limit=_SESSIONS_SHOWN, is_descending=True),
            principal_id=caller.principal_id,
        )
        content = [_problem(problem)] if problem else []
        content += [element("p", told, class_="told", role="status")] if told else []
        content += [
            element("p", f"{who.name or ''} ({who.email or ''}), {who.organisation_name}"),
            form(HOME + "/sign-out", element("button", "Sign out", class_="second", type="submit")),
            element("h2", "Your sessions"),
            element("ul", [_session_row(one, caller.key_id) for one in sessions.items], class_="rows"),
        ]
        if self._rules.password_allowed(caller.organisation_id, caller.principal_id):
            needs_current = await self._needs_current(caller)
            content += [element("h2", "Your password"), _password_form(who.email or "", needs_current=needs_current)]
        await self._show(exchange, status, page("You are signed in", *content, is_wide=True))

    async def _needs_current(self, caller: Caller) -> bool:
        session = await self._door.sessions.get(caller.organisation_id, caller.key_id)
        age_seconds = self._door.clock.wall() - session.created_at_ms / 1000
        return session.method != BY_LINK or age_seconds >= _FRESH_LINK_SECONDS

    async def _show(self, exchange: Exchange, status: int, body: bytes, headers: list[Header] | None = None) -> None:
        exchange.edge_headers = self._door.browsers.page_headers
        await exchange.respond(status, body, [_NO_STORE, *(headers or [])], kind=_HTML)


def _problem(message: str) -> Html:
    return element("p", message, class_="alarm", role="alert")


def _providers(options: Options, destination: str) -> list[Html]:
    after = "" if destination == HOME else f"?next={quote(destination)}"
    return [
        element("a", f"Sign in with {one.name}", class_="button whole", href=start_url(one.id) + after)
        for one in options.providers
    ]


def _lookup(destination: str) -> Html:
    return element(
        "form",
        [
            hidden("next", destination),
            field("Mail address", "email", kind="email", autocomplete="username"),
            element("button", "Continue", class_="whole", type="submit"),
        ],
        method="get",
        action=SIGN_IN,
    )


def _sign_in_form(destination: str, email: str, *, is_second: bool) -> Html:
    return form(
        SIGN_IN,
        hidden("next", destination),
        field("Mail address", "email", kind="email", autocomplete="username", value=email),
        field("Password", "password", kind="password", autocomplete="current-password"),
        element(
            "button",
            "Sign in with a password" if is_second else "Sign in",
            class_="second whole" if is_second else "whole",
            type="submit",
        ),
    )


def _other_address(destination: str) -> Html:
    after = "" if destination == HOME else f"?next={quote(destination)}"
    return element("p", [element("a", "Use another address", href=SIGN_IN + after)], class_="aside")


def _password_form(email: str, *, needs_current: bool) -> Html:
    name = Html(f'<input type="text" name="username" autocomplete="username" value="{text(email)}" readonly hidden>')
    present = field("Present password", "current_password", kind="password", autocomplete="current-password")
    label = f"New password, {LENGTH_MIN} characters or more"
    return form(
        HOME + "/password",
        name,
        *([present] if needs_current else []),
        field(label, "new_password", kind="password", autocomplete="new-password"),
        element("button", "Set password", class_="second", type="submit"),
    )


def _session_row(session: Session, current_id: str) -> Html:
    began = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(session.created_at_ms / 1000))
    program = program_name(session.user_agent)
    since = f"Since {began} from {session.address or 'an unknown address'}"
    what = element("span", [element("span", program, class_="name"), element("span", since, class_="quiet")])
    if session.id == current_id:
        return element("li", [what, element("span", "This one", class_="mark")])
    label = f"End the session of {program} since {began}"
    end = element("button", "End", class_="second", type="submit", aria_label=label)
    return element("li", [what, form(HOME + "/sessions", hidden("session", session.id), end)])
