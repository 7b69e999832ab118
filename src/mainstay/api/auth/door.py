"""What the routes and the pages of signing in share: who is signed in, cookies, and where to go afterwards."""

import re
from dataclasses import dataclass

import msgspec

from mainstay.api.admin.requests import origin_of
from mainstay.api.browsers import Browsers
from mainstay.api.cookies import Cookies
from mainstay.api.exchange import Exchange, Header
from mainstay.kit.clock import Clock
from mainstay.kit.errors import PermissionDeniedError, UnauthenticatedError
from mainstay.platform.audit.events import Act, Actor, ActorType
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.authorize import Authority
from mainstay.platform.identity.caller import Caller
from mainstay.platform.identity.password_sign_in import Given, PasswordSignIn
from mainstay.platform.identity.session_ring import SessionRing, is_session
from mainstay.platform.identity.sessions import Begun, Session, Sessions
from mainstay.platform.identity.sign_in_links import SignInLinks

HOME = "/auth/account"
"""Where someone goes who has signed in and wanted nothing in particular."""

_PATH_LENGTH_MAX = 1000
_is_own_path = re.compile(r"/(?!/)[A-Za-z0-9._~!$&'()*+,;=:@%/?#-]*").fullmatch


class SessionObject(msgspec.Struct, frozen=True, kw_only=True):
    """A session, as its owner and administrators see it. Times are Unix seconds."""

    id: str
    object: str = "session"
    user_id: str
    method: str
    created_at: int
    last_seen_at: int
    expires_at: int
    revoked_at: int | None
    address: str
    user_agent: str
    is_current: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Lets people in and out."""

    sessions: Sessions
    ring: SessionRing
    links: SignInLinks
    by_password: PasswordSignIn
    cookies: Cookies
    browsers: Browsers
    authority: Authority
    clock: Clock

    async def sign_in(
        self, exchange: Exchange, email: str, password: str, *, organisation_id: str | None = None
    ) -> tuple[Begun, Header]:
        """Begin a session with a password; return it and the header that sets its cookie."""
        begun = await self.by_password.sign_in(
            Given(
                email=email,
                password=password,
                origin=origin_of(exchange),
                organisation_id=organisation_id,
                replaces=self.cookies.read(exchange.headers),
            )
        )
        return begun, self.cookie(begun)

    async def use_link(self, exchange: Exchange, secret: str) -> tuple[Begun, Header]:
        """Begin a session with a link; return it and the header that sets its cookie."""
        replaces = self.cookies.read(exchange.headers)
        begun = await self.links.use(secret, origin=origin_of(exchange), replaces=replaces)
        return begun, self.cookie(begun)

    async def sign_out(self, exchange: Exchange) -> Header:
        """End the session of the cookie, if it has one; return the header that takes the cookie away."""
        caller = await self.visitor(exchange)
        if caller is None:
            exchange.before_success = None  # strangers change nothing, and cause no work in other workers
        else:
            await self.sessions.revoke(act_of_session(exchange, caller), caller.organisation_id, caller.key_id)
        return self.cookies.clear()

    async def visitor(self, exchange: Exchange) -> Caller | None:
        """Return who is signed in, for pages and forms; None for nobody. It is the cookie that counts."""
        secret = self.cookies.read(exchange.headers)
        if secret is None:
            return None
        try:
            caller = self.ring.find(secret) or await self.ring.verify(secret)
            self.authority.authorize(caller, Action.SELF)
        except (UnauthenticatedError, PermissionDeniedError):
            return None
        return caller

    def cookie(self, begun: Begun) -> Header:
        """Return the header that sets the cookie of a session."""
        seconds = begun.session.expires_at_ms / 1000 - self.clock.wall()
        return self.cookies.set(begun.secret, max_age_seconds=int(seconds))


def require_session(caller: Caller) -> str:
    """Return the user of a session. Raises PermissionDeniedError for keys and tokens: they manage no sign-ins."""
    if not is_session(caller) or caller.principal_id is None:
        raise PermissionDeniedError("Only someone who is signed in with a browser may do this, not a key or token.")
    return caller.principal_id


def act_of_session(exchange: Exchange, caller: Caller) -> Act:
    """Return who is acting, for the audit log, where the exchange has no caller: on pages."""
    actor = Actor(type=ActorType.USER, id=caller.principal_id or caller.key_id, credential_id=caller.key_id)
    return Act(actor=actor, origin=origin_of(exchange))


def own_path(text: str | None) -> str:
    """Return where to go after signing in: a path of this server, whatever was asked for."""
    if not text or len(text) > _PATH_LENGTH_MAX or _is_own_path(text) is None:
        return HOME
    return text


def show_session(session: Session, *, current_id: str = "") -> SessionObject:
    """Return what is shown of a session."""
    return SessionObject(
        id=session.id,
        user_id=session.principal_id,
        method=session.method,
        created_at=session.created_at_ms // 1000,
        last_seen_at=session.last_seen_at_ms // 1000,
        expires_at=session.expires_at_ms // 1000,
        revoked_at=None if session.revoked_at_ms is None else session.revoked_at_ms // 1000,
        address=session.address,
        user_agent=session.user_agent,
        is_current=session.id == current_id,
    )
