"""Sign-ins that a browser has begun: kept for ten minutes, sealed, and taken out once."""

import hashlib
import hmac
import secrets

import msgspec

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database
from mainstay.kit.errors import RateLimitedError
from mainstay.kit.sealing import Sealer
from mainstay.platform.identity.oidc.errors import SignInBrokenError

KEPT_SECONDS = 600
OPEN_MAX = 20_000
"""Of one organisation at a time, so that strangers cannot fill the database."""
OPEN_PER_ADDRESS = 1000
"""Of one address in the time that they are kept, so that one stranger cannot shut everybody out."""

_SECRET_LENGTH_MAX = 200


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What a sign-in must be finished with. `browser` is the digest of the cookie that began it."""

    nonce: str
    verifier: str
    return_to: str
    browser: str


class Attempts:
    """The sign-ins that are under way."""

    def __init__(self, database: Database, clock: Clock, sealer: Sealer) -> None:
        self._database = database
        self._clock = clock
        self._sealer = sealer

    async def begin(self, organisation_id: str, provider_id: str, return_to: str) -> tuple[str, str, Attempt]:
        """Return a new sign-in's state, the cookie of the browser that begins it, and what it is to end with.

        Raises RateLimitedError when too many are under way.
        """
        state, cookie = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        attempt = Attempt(
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            return_to=return_to,
            browser=_digest(cookie).hex(),
        )
        digest = _digest(state)
        sealed = await self._sealer.seal(organisation_id, msgspec.json.encode(attempt), purpose=_purpose(digest))
        now_ms = int(self._clock.wall() * 1000)
        async with self._database.transaction() as transaction:
            await transaction.execute("DELETE FROM sign_in_attempts WHERE expires_at_ms <= :now_ms", {"now_ms": now_ms})
            ((count,),) = await transaction.fetch(
                "SELECT COUNT(*) FROM sign_in_attempts WHERE organisation_id = :organisation_id",
                {"organisation_id": organisation_id},
            )
            if count >= OPEN_MAX:
                raise RateLimitedError("Too many sign-ins are under way; try again in some minutes.")
            await transaction.execute(
                "INSERT INTO sign_in_attempts (state_digest, organisation_id, provider_id, details, expires_at_ms) "
                "VALUES (:state_digest, :organisation_id, :provider_id, :details, :expires_at_ms)",
                {
                    "state_digest": digest,
                    "organisation_id": organisation_id,
                    "provider_id": provider_id,
                    "details": sealed,
                    "expires_at_ms": now_ms + KEPT_SECONDS * 1000,
                },
            )
        return state, cookie, attempt

    async def take(self, provider_id: str, state: str, cookie: str | None) -> Attempt:
        """Take a sign-in out, for good. Raises SignInBrokenError if it is not this browser's, or there is none."""
        if not 1 <= len(state) <= _SECRET_LENGTH_MAX:
            raise _unknown()
        digest = _digest(state)
        async with self._database.transaction() as transaction:
            rows = await transaction.fetch(
                "DELETE FROM sign_in_attempts WHERE state_digest = :state_digest "
                "RETURNING organisation_id, provider_id, details, expires_at_ms",
                {"state_digest": digest},
            )
        if not rows:
            raise _unknown()
        organisation_id, began_with, sealed, expires_at_ms = rows[0]
        if began_with != provider_id or expires_at_ms <= self._clock.wall() * 1000:
            raise _unknown()
        plain = await self._sealer.open(organisation_id, bytes(sealed), purpose=_purpose(digest))
        attempt = msgspec.json.decode(plain, type=Attempt)
        if cookie is None or len(cookie) > _SECRET_LENGTH_MAX:
            raise _unknown()
        if not hmac.compare_digest(_digest(cookie).hex(), attempt.browser):
            raise _unknown()
        return attempt


def _digest(secret: str) -> bytes:
    """Return what is stored of a secret, which is random and so needs no key."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def _purpose(digest: bytes) -> str:
    return f"sign_in_attempts.details/{digest.hex()}"


def _unknown() -> SignInBrokenError:
    return SignInBrokenError("This sign-in was not begun in this browser, took too long, or is over; begin again.")
