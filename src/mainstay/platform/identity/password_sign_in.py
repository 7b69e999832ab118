"""Signing in with a password, and changing it.

An attempt is counted before the password is looked at, so that many at once are no more guesses than one after the
other. Unknown, deactivated and locked accounts get the same answer after the same time.
"""

import asyncio
import logging
import math
from dataclasses import dataclass

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Row
from mainstay.kit.errors import InvalidRequestError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from mainstay.platform.audit.events import Act, Actor, ActorType, Event, Origin, Outcome, Target
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.names import EMAIL_LENGTH_MAX, clean_id, folded
from mainstay.platform.identity.passwords import Passwords, require_good_password
from mainstay.platform.identity.sessions import Begun, Sessions, SignIn, end_sessions_of, limited_to
from mainstay.platform.identity.sign_in_links import METHOD as BY_LINK
from mainstay.platform.identity.sign_in_rules import SignInRules
from mainstay.platform.identity.throttle import Throttle

_LOG = logging.getLogger(__name__)

METHOD = "password"
"""How sessions name this way of signing in."""

ANSWER_SECONDS = 1.0
"""A refusal comes at a multiple of this time: how long it took to find out says nothing."""

_FRESH_LINK_SECONDS = 3600
_ACCOUNTS_MAX = 5
_FIND = (
    "SELECT u.principal_id, u.organisation_id, u.password_hash FROM users u "
    "JOIN principals p ON p.id = u.principal_id JOIN organisations o ON o.id = u.organisation_id "
    "WHERE u.email_normal = :email AND p.status = 'active' AND o.status = 'active'"
)
# Counting begins anew when a lock has run out.
_COUNT = (
    "UPDATE users SET "
    "failed_attempts = CASE WHEN locked_until_ms IS NULL THEN failed_attempts + 1 ELSE 1 END, "
    "locked_until_ms = CASE WHEN locked_until_ms IS NULL AND failed_attempts + 1 >= :attempts "
    "THEN CAST(:until_ms AS BIGINT) END "
    "WHERE principal_id = :id AND (locked_until_ms IS NULL OR locked_until_ms <= :now_ms) RETURNING locked_until_ms"
)
# Locked as whoever deactivates the account does it first: one of the two waits for the other.
_STILL_ACTIVE = "UPDATE principals SET version = version WHERE id = :id AND status = 'active'"
_SUCCEED = (
    "UPDATE users SET failed_attempts = 0, locked_until_ms = NULL, last_active_at_ms = :now_ms, "
    "password_hash = COALESCE(:password_hash, password_hash) WHERE principal_id = :id AND password_hash = :known"
)
_OF_USER = (
    "SELECT u.password_hash, u.email, p.name FROM users u JOIN principals p ON p.id = u.principal_id "
    "WHERE u.organisation_id = :organisation_id AND u.principal_id = :id"
)
_SET = (
    "UPDATE users SET password_hash = :password_hash, failed_attempts = 0, locked_until_ms = NULL "
    "WHERE organisation_id = :organisation_id AND principal_id = :id"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lockout:
    """After how many wrong passwords an account takes none, and for how long."""

    attempts: int
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What someone gave to sign in."""

    email: str
    password: str
    origin: Origin
    organisation_id: str | None = None
    """Which organisation, for those who are in several."""
    replaces: bytes | None = None


class PasswordSignIn:
    """Signs people in with passwords."""

    def __init__(
        self,
        database: Database,
        acts: Acts,
        clock: Clock,
        *,
        passwords: Passwords,
        sessions: Sessions,
        throttle: Throttle,
        rules: SignInRules,
        lockout: Lockout,
    ) -> None:
        self._database = database
        self._acts = acts
        self._clock = clock
        self._passwords = passwords
        self._sessions = sessions
        self._throttle = throttle
        self._rules = rules
        self._lockout = lockout
        self.answer_seconds = ANSWER_SECONDS

    async def sign_in(self, given: Given) -> Begun:
        """Begin a session. Raises UnauthenticatedError, the same whatever was wrong, or RateLimitedError."""
        address = given.origin.address or ""
        self._throttle.require_free(address)
        began = self._clock.monotonic()
        accounts = await self._accounts(given)
        for account in accounts:
            begun = await self._try(account, given)
            if begun is not None:
                return begun
        if not accounts:
            await self._passwords.matches(given.password, None)
            _LOG.info("sign-in: a password was tried for no account, from %s", address)
        self._throttle.note_failure(address)
        await self._wait(began)
        raise UnauthenticatedError(
            "The mail address or the password is wrong, or wrong passwords were given too often; in that case wait "
            f"{math.ceil(self._lockout.seconds / 60)} minutes, or ask an administrator for a sign-in link.",
            code="sign_in_failed",
        )

    async def change(
        self, act: Act, organisation_id: str, principal_id: str, *, session_id: str, current: str | None, new: str
    ) -> None:
        """Set a user's own password, and end all of his sessions but `session_id`.

        The password until now is asked for, except in the first hour of a session that a link began. Raises
        PermissionDeniedError, InvalidRequestError or RateLimitedError.
        """
        rows = await self._database.fetch(_OF_USER, {"organisation_id": organisation_id, "id": principal_id})
        if not rows:
            raise NotFoundError(f"There is no user '{principal_id[:100]}'.")
        stored, email, name = rows[0]
        if not self._rules.password_allowed(organisation_id, principal_id):
            raise PermissionDeniedError(
                "Your organisation does not allow passwords; sign in with its identity provider."
            )
        require_good_password(new, personal=(email, email.partition("@")[0], name))
        if not await self._is_fresh_link(organisation_id, session_id):
            await self._require_current(act, organisation_id, principal_id, stored=stored, current=current)
        hashed = await self._passwords.hash(new)
        async with self._database.transaction() as transaction:
            values = {"organisation_id": organisation_id, "id": principal_id, "password_hash": hashed}
            await transaction.execute(_SET, values)
            changes = await end_sessions_of(
                transaction, organisation_id, principal_id, now_ms=self._now_ms(), but=session_id
            )
            event = Event(
                action="user.password_changed",
                target=Target(type="user", id=principal_id),
                changed={"password": "changed"},
                details={"sessions_ended": len(changes)},
            )
            await self._acts.record(transaction, act, organisation_id, events=[event], changes=changes)

    async def _accounts(self, given: Given) -> list[Row]:
        if len(given.email) > EMAIL_LENGTH_MAX or "\x00" in given.email:
            return []
        rows = await self._database.fetch(
            f"{_FIND} ORDER BY u.password_hash IS NULL, u.organisation_id LIMIT {_ACCOUNTS_MAX}"
            if given.organisation_id is None
            else f"{_FIND} AND u.organisation_id = :organisation_id",
            {"email": folded(given.email.strip())}
            | ({} if given.organisation_id is None else {"organisation_id": clean_id(given.organisation_id)}),
        )
        accounts = [
            (id_, organisation_id, stored if self._rules.password_allowed(organisation_id, id_) else None)
            for id_, organisation_id, stored in rows
        ]
        # Those that no password opens come last: what is tried at them is audited all the same.
        return sorted(accounts, key=lambda account: account[2] is None)

    async def _try(self, account: Row, given: Given) -> Begun | None:
        principal_id, organisation_id, stored = account
        is_open, locks_at_failure = await self._count(principal_id)
        is_right = await self._passwords.matches(given.password, stored if is_open else None)
        if is_right:
            return await self._succeed(account, given)
        if is_open:
            await self._note_failure(organisation_id, principal_id, given.origin, is_locked=locks_at_failure)
        return None

    async def _count(self, principal_id: str) -> tuple[bool, bool]:
        """Count an attempt; return whether the account takes one, and whether it is locked unless this one is right."""
        now_ms = self._now_ms()
        async with self._database.transaction() as transaction:
            counted = await transaction.fetch(
                _COUNT,
                {
                    "id": principal_id,
                    "now_ms": now_ms,
                    "until_ms": now_ms + self._lockout.seconds * 1000,
                    "attempts": self._lockout.attempts,
                },
            )
        return bool(counted), bool(counted) and counted[0][0] is not None

    async def _succeed(self, account: Row, given: Given) -> Begun | None:
        principal_id, organisation_id, stored = account
        is_outdated = self._passwords.is_outdated(stored)
        renewed = await self._passwords.hash(given.password) if is_outdated else None
        sign_in = SignIn(
            organisation_id=organisation_id,
            principal_id=principal_id,
            method=METHOD,
            origin=given.origin,
            replaces=given.replaces,
        )
        limited = limited_to(sign_in, self._rules.session_max_hours(organisation_id, principal_id))
        async with self._database.transaction() as transaction:
            values = {"id": principal_id, "now_ms": self._now_ms(), "password_hash": renewed, "known": stored}
            if not await transaction.execute(_STILL_ACTIVE, values):
                return None  # deactivated at this moment
            if not await transaction.execute(_SUCCEED, values):
                return None  # the password was changed at this moment
            begun = await self._sessions.begin(transaction, limited)
            await self._acts.record(
                transaction, sign_in.act, organisation_id, events=[begun.event], changes=begun.changes
            )
        return begun

    async def _note_failure(self, organisation_id: str, principal_id: str, origin: Origin, *, is_locked: bool) -> None:
        act = Act(actor=Actor(type=ActorType.ANONYMOUS, id="anonymous"), origin=origin)
        event = Event(
            action="sign_in.locked" if is_locked else "sign_in.failed",
            target=Target(type="user", id=principal_id),
            outcome=Outcome.FAILURE,
            details={"method": METHOD},
        )
        async with self._database.transaction() as transaction:
            await self._acts.record(transaction, act, organisation_id, events=[event])

    async def _require_current(
        self, act: Act, organisation_id: str, principal_id: str, *, stored: str | None, current: str | None
    ) -> None:
        if stored is None:
            raise PermissionDeniedError(
                "You have no password yet; ask an administrator for a sign-in link, and set one after using it."
            )
        if current is None:
            raise InvalidRequestError("Give your present password too.", param="current_password")
        is_open, locks_at_failure = await self._count(principal_id)
        if is_open and await self._passwords.matches(current, stored):
            return
        if is_open:
            await self._note_failure(organisation_id, principal_id, act.origin, is_locked=locks_at_failure)
        refusal = PermissionDeniedError("The present password is wrong, or wrong ones were given too often.")
        refusal.is_noted = is_open
        raise refusal

    async def _is_fresh_link(self, organisation_id: str, session_id: str) -> bool:
        session = await self._sessions.get(organisation_id, session_id)
        return session.method == BY_LINK and self._now_ms() - session.created_at_ms < _FRESH_LINK_SECONDS * 1000

    async def _wait(self, began: float) -> None:
        if self.answer_seconds > 0:
            elapsed = self._clock.monotonic() - began
            await asyncio.sleep(math.ceil(elapsed / self.answer_seconds) * self.answer_seconds - elapsed)

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)
