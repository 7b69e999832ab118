"""Links that sign someone in once: for the first owner, for people without a password, and for those locked out."""

import hmac
import os
import re
from base64 import urlsafe_b64encode

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Transaction
from mainstay.kit.errors import NotFoundError, UnauthenticatedError
from mainstay.platform.audit.events import Act, Event, Origin, Target
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.names import clean_id
from mainstay.platform.identity.sessions import Begun, Sessions, SignIn, limited_to
from mainstay.platform.identity.sign_in_rules import SignInRules

METHOD = "link"
"""How sessions name this way of signing in."""

_is_secret = re.compile(r"[A-Za-z0-9_-]{43}").fullmatch
_INSERT = (
    "INSERT INTO sign_in_links (digest, organisation_id, principal_id, expires_at_ms) "
    "VALUES (:digest, :organisation_id, :principal_id, :expires_at_ms)"
)
# A link is taken out, good or not: it works once.
_TAKE = "DELETE FROM sign_in_links WHERE digest = :digest RETURNING organisation_id, principal_id, expires_at_ms"
_ACTIVE = (
    "SELECT p.status, o.status FROM principals p JOIN organisations o ON o.id = p.organisation_id "
    "WHERE p.id = :principal_id AND p.organisation_id = :organisation_id AND p.type = 'user'"
)
_UNLOCK = "UPDATE users SET failed_attempts = 0, locked_until_ms = NULL WHERE principal_id = :principal_id"


class SignInLinks:
    """The links of one database; it holds a digest of each."""

    def __init__(
        self,
        database: Database,
        acts: Acts,
        clock: Clock,
        *,
        pepper: bytes,
        sessions: Sessions,
        rules: SignInRules,
        good_for_seconds: int,
    ) -> None:
        self._database = database
        self._acts = acts
        self._clock = clock
        self._key = hmac.digest(pepper, b"mainstay sign-in link", "sha256")
        self._sessions = sessions
        self._rules = rules
        self._good_for_seconds = good_for_seconds

    async def create(self, act: Act, organisation_id: str, principal_id: str) -> tuple[str, int]:
        """Make a link for an active user; return its secret and when it ends, as Unix milliseconds.

        Raises NotFoundError.
        """
        now_ms = int(self._clock.wall() * 1000)
        expires_at_ms = now_ms + self._good_for_seconds * 1000
        secret = urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode()
        async with self._database.transaction() as transaction:
            if not await _is_active(transaction, organisation_id, clean_id(principal_id)):
                raise NotFoundError(f"There is no active user '{principal_id[:100]}'.")
            await transaction.execute("DELETE FROM sign_in_links WHERE expires_at_ms <= :now_ms", {"now_ms": now_ms})
            await transaction.execute(
                _INSERT,
                {
                    "digest": self._digest(secret),
                    "organisation_id": organisation_id,
                    "principal_id": principal_id,
                    "expires_at_ms": expires_at_ms,
                },
            )
            event = Event(action="sign_in_link.created", target=Target(type="user", id=principal_id))
            await self._acts.record(transaction, act, organisation_id, events=[event])
        return secret, expires_at_ms

    async def use(self, secret: str, *, origin: Origin, replaces: bytes | None = None) -> Begun:
        """Begin a session with a link, which ends the link and unlocks the account. Raises UnauthenticatedError."""
        if _is_secret(secret) is None:
            raise _spent()
        async with self._database.transaction() as transaction:
            taken = await transaction.fetch(_TAKE, {"digest": self._digest(secret)})
            begun = await self._begin(transaction, taken[0], origin, replaces) if taken else None
        if begun is None:
            raise _spent()
        return begun

    async def _begin(
        self, transaction: Transaction, link: tuple[str, str, int], origin: Origin, replaces: bytes | None
    ) -> Begun | None:
        organisation_id, principal_id, expires_at_ms = link
        if expires_at_ms <= self._clock.wall() * 1000:
            return None
        if not await _is_active(transaction, organisation_id, principal_id):
            return None
        await transaction.execute(_UNLOCK, {"principal_id": principal_id})
        sign_in = SignIn(
            organisation_id=organisation_id,
            principal_id=principal_id,
            method=METHOD,
            origin=origin,
            replaces=replaces,
        )
        limited = limited_to(sign_in, self._rules.session_max_hours(organisation_id, principal_id))
        begun = await self._sessions.begin(transaction, limited)
        await self._acts.record(transaction, sign_in.act, organisation_id, events=[begun.event], changes=begun.changes)
        return begun

    def _digest(self, secret: str) -> bytes:
        return hmac.digest(self._key, secret.encode(), "sha256")


async def _is_active(transaction: Transaction, organisation_id: str, principal_id: str) -> bool:
    rows = await transaction.fetch(_ACTIVE, {"organisation_id": organisation_id, "principal_id": principal_id})
    return bool(rows) and rows[0] == ("active", "active")


def _spent() -> UnauthenticatedError:
    return UnauthenticatedError(
        "This sign-in link was used already or has run out; ask for a new one.", code="link_spent"
    )
