"""What must hold for the claims of a token beside its signature (OpenID Connect Core 3.1.3.7, RFC 9068)."""

import hmac
import math
from collections.abc import Collection, Sequence

from mainstay.platform.identity.oidc.errors import TokenRefusedError
from mainstay.platform.identity.oidc.signatures import Unverified
from mainstay.platform.identity.oidc.strict_json import Claims

SKEW_SECONDS = 60.0
SUBJECT_LENGTH_MAX = 255
"""OpenID Connect Core, 2."""
_ID_TOKEN_ONLY = ("nonce", "at_hash", "c_hash", "s_hash")
_ACCESS_TOKEN_ONLY = ("scp", "scope", "appidacr", "azpacr", "idtyp")
"""What only access tokens have, those of Entra ID among them, which are not marked otherwise."""


def require_time(claims: Claims, now: float) -> float:
    """Return when the token expires. Raises TokenRefusedError outside of its time, clocks being off by a minute."""
    expires_at = _time(claims, "exp")
    if expires_at is None:
        raise TokenRefusedError("The token does not say when it expires.")
    if expires_at + SKEW_SECONDS <= now:
        raise TokenRefusedError("The token has expired; get a new one.")
    for name in ("nbf", "iat"):
        begins_at = _time(claims, name)
        if begins_at is not None and begins_at - SKEW_SECONDS > now:
            raise TokenRefusedError(f"The token is not good yet ({name}); check the clocks of both sides.")
    return expires_at


def require_issuer(claims: Claims, issuers: Collection[str]) -> None:
    """Raise TokenRefusedError unless one of `issuers` has issued the token."""
    issuer = claims.get("iss")
    if not isinstance(issuer, str) or issuer not in issuers:
        raise TokenRefusedError("The token is from another issuer than the one that it was asked of.")


def subject_of(claims: Claims, name: str = "sub") -> str:
    """Return whom the token is about. Raises TokenRefusedError."""
    subject = claims.get(name)
    if not isinstance(subject, str) or not 1 <= len(subject) <= SUBJECT_LENGTH_MAX or not subject.isprintable():
        raise TokenRefusedError(f"The token does not say whom it is about ({name}).")
    return subject


def audiences_of(claims: Claims) -> Sequence[str]:
    """Return whom the token is for. Raises TokenRefusedError."""
    audience = claims.get("aud")
    found = [audience] if isinstance(audience, str) else audience
    if not isinstance(found, list) or not found or not all(isinstance(one, str) for one in found):
        raise TokenRefusedError("The token does not say whom it is for (aud).")
    return [str(one) for one in found]


def require_id_token(token: Unverified, *, client_id: str, nonce: str) -> None:
    """Raise TokenRefusedError unless the token was made for this client and this very sign-in."""
    claims = token.claims
    if token.type not in ("jwt", "id_token+jwt"):
        raise TokenRefusedError("What came is not an ID token.")
    audiences, party = audiences_of(claims), claims.get("azp")
    if client_id not in audiences:
        raise TokenRefusedError("The ID token is for another client.")
    if (len(audiences) > 1 or party is not None) and party != client_id:
        raise TokenRefusedError("The ID token was made for another client (azp).")
    said = claims.get("nonce")
    if not isinstance(said, str) or not hmac.compare_digest(said.encode("utf-8", "replace"), nonce.encode()):
        raise TokenRefusedError("The ID token belongs to another sign-in (nonce).")
    if _time(claims, "iat") is None:
        raise TokenRefusedError("The ID token does not say when it was made.")


def require_access_token(token: Unverified) -> None:
    """Raise TokenRefusedError for an ID token, or for one that is good only with a proof of possession."""
    claims = token.claims
    if token.type not in ("jwt", "at+jwt"):
        raise TokenRefusedError(f"A token of type {token.type[:40]!a} is no access token.")
    if any(name in claims for name in _ID_TOKEN_ONLY):
        raise TokenRefusedError("This is an ID token; send an access token.")
    if token.type != "at+jwt" and not any(name in claims for name in _ACCESS_TOKEN_ONLY):
        raise TokenRefusedError(
            "The token cannot be told from an ID token: it has neither the type at+jwt nor a scope."
        )
    if "cnf" in claims:
        raise TokenRefusedError("The token is bound to a key (cnf), which cannot be checked here; get a bearer token.")


def words_of(claims: Claims, *names: str) -> frozenset[str]:
    """Return the words of claims that are lists, or text with spaces between words."""
    found: set[str] = set()
    for name in names:
        value = claims.get(name)
        if isinstance(value, str):
            found.update(value.split())
        elif isinstance(value, list):
            found.update(one for one in value if isinstance(one, str))
    return frozenset(found)


def _time(claims: Claims, name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e12 or not math.isfinite(value):
        raise TokenRefusedError(f"The token's '{name}' is not a time.")
    return float(value)
