"""Who is asking: an API key or an identity provider's token in whichever header a vendor's client puts it, or the
cookie of a session.
"""

import hmac
from collections.abc import Mapping
from typing import Protocol

from mainstay.api.browsers import Browsers
from mainstay.api.cookies import Cookies
from mainstay.api.exchange import Exchange
from mainstay.api.organisation_header import HEADER as ORGANISATION_HEADER
from mainstay.kit.errors import PermissionDeniedError, UnauthenticatedError
from mainstay.platform.identity.caller import Caller, Scope, is_allowed_from
from mainstay.platform.identity.session_ring import is_session

_BEARER = b"bearer "
_KEY_PREFIX = "key_"


class Callers(Protocol):
    """Knows callers by their keys."""

    def find(self, secret: bytes) -> Caller:
        """Return the caller, without waiting for anything. Raises UnauthenticatedError."""
        ...

    def current(self, key_id: str) -> Caller | None:
        """Return what a key is good for now; None if it is good for nothing any more."""
        ...


class SessionCallers(Protocol):
    """Knows callers by their cookies."""

    def find(self, secret: bytes) -> Caller | None:
        """Return the caller from memory; None if only `verify` can tell."""
        ...

    async def verify(self, secret: bytes) -> Caller:
        """Return the caller. Raises UnauthenticatedError."""
        ...

    def current(self, session_id: str) -> Caller | None:
        """Return the caller of an open session; None once it has ended."""
        ...


class TokenVerifier(Protocol):
    """Knows callers by tokens (JWT) of their identity providers."""

    def find(self, secret: bytes) -> Caller | None:
        """Return the caller of a token that was verified before and is good still; None if `verify` must look."""
        ...

    async def verify(self, secret: bytes, organisation_id: str | None) -> Caller:
        """Return the caller; the organisation, if given, is the one he wants to act in. Raises UnauthenticatedError."""
        ...

    def is_current(self, caller: Caller) -> bool:
        """Whether tokens of the caller's provider are still taken."""
        ...


class WithLocalKey:
    """Knows one secret more: that of this machine's owner, which lives in memory only."""

    def __init__(self, others: Callers, local_key: str, caller: Caller) -> None:
        self._others = others
        self._local_key = local_key.encode()
        self._caller = caller

    def find(self, secret: bytes) -> Caller:
        """Return the caller. Raises UnauthenticatedError."""
        if hmac.compare_digest(secret, self._local_key):
            return self._caller
        return self._others.find(secret)

    def current(self, key_id: str) -> Caller | None:
        """Return what a key is good for now."""
        return self._caller if key_id == self._caller.key_id else self._others.current(key_id)


class Authentication:
    """Finds the caller of a request: from memory in `find`, else in `verify`, which may wait.

    `Authorization: Bearer`, `api-key` and `x-api-key` are equals; some clients send two at once, and one that is
    good is enough. A cookie counts only where there is none of them: a request has one kind of credential.
    """

    def __init__(
        self,
        callers: Callers,
        *,
        sessions: SessionCallers | None = None,
        tokens: TokenVerifier | None = None,
        cookies: Cookies | None = None,
        browsers: Browsers | None = None,
    ) -> None:
        self._callers = callers
        self._sessions = sessions
        self._tokens = tokens
        self._cookies = cookies or Cookies(None)
        self._browsers = browsers or Browsers()

    def find(self, exchange: Exchange) -> Caller | None:
        """Return the caller, or None if it takes `verify` to know. Raises UnauthenticatedError, or
        PermissionDeniedError for a good credential in the wrong place.
        """
        refusal: UnauthenticatedError | None = None
        is_open = False
        for secret in _credentials(exchange.headers):
            try:
                return _checked(self._callers.find(secret), exchange)
            except UnauthenticatedError as error:
                refusal = refusal or error
            if self._tokens is not None and _looks_like_token(secret):
                caller = self._tokens.find(secret)
                if caller is not None:
                    return _checked(caller, exchange)
                is_open = True
        if is_open:
            return None
        if refusal is None:
            return self._find_session(exchange)
        raise refusal

    async def verify(self, exchange: Exchange) -> Caller:
        """Return the caller, asking whoever knows. Raises UnauthenticatedError or PermissionDeniedError."""
        secrets = _credentials(exchange.headers)
        if not secrets:
            return await self._verify_session(exchange)
        refusal: UnauthenticatedError | None = None
        hint = exchange.headers.get(ORGANISATION_HEADER)
        organisation_id = None if hint is None else hint.decode("latin-1").strip()
        for secret in secrets:
            if self._tokens is not None and _looks_like_token(secret):
                try:
                    return _checked(await self._tokens.verify(secret, organisation_id), exchange)
                except UnauthenticatedError as error:
                    refusal = refusal or error
        raise refusal or _no_credential()

    def current(self, caller: Caller) -> Caller | None:
        """Return what a caller's credential is good for now; None if it was revoked or has expired.

        A token is good until it expires or its provider's are taken no more; whether its owner still may do anything is
        the authority's to say.
        """
        if Scope.OPERATOR in caller.scopes:
            return caller
        if is_session(caller):
            return None if self._sessions is None else self._sessions.current(caller.key_id)
        if caller.key_id.startswith(_KEY_PREFIX):
            return self._callers.current(caller.key_id)
        return caller if self._tokens is not None and self._tokens.is_current(caller) else None

    def _find_session(self, exchange: Exchange) -> Caller | None:
        return None if self._sessions is None else self._sessions.find(self._cookie(exchange))

    async def _verify_session(self, exchange: Exchange) -> Caller:
        if self._sessions is None:
            raise _no_credential()
        return await self._sessions.verify(self._cookie(exchange))

    def _cookie(self, exchange: Exchange) -> bytes:
        secret = self._cookies.read(exchange.headers)
        if secret is None:
            raise _no_credential()
        self._browsers.require_own_page(exchange)
        return secret


def _checked(caller: Caller, exchange: Exchange) -> Caller:
    exchange.caller = caller
    if caller.networks is not None and not is_allowed_from(caller, exchange.address):
        raise PermissionDeniedError(
            f"This key may not be used from {exchange.address[:50]}; its networks are limited.",
            code="address_not_allowed",
        )
    return caller


def _credentials(headers: Mapping[bytes, bytes]) -> list[bytes]:
    found = []
    authorization = headers.get(b"authorization")
    if authorization is not None and authorization[:7].lower() == _BEARER:
        found.append(authorization[7:].strip())
    for name in (b"api-key", b"x-api-key"):
        value = headers.get(name)
        if value is not None:
            found.append(value.strip())
    return found


def _looks_like_token(secret: bytes) -> bool:
    """Whether it may be a signed JWT: a JSON object in Base64 begins with eyJ, and has two dots after it."""
    return secret[:3] == b"eyJ" and secret.count(b".") == 2


def _no_credential() -> UnauthenticatedError:
    return UnauthenticatedError(
        "No API key was given; send it as 'Authorization: Bearer KEY' or 'api-key: KEY'. "
        "Make one with 'mainstay keys create'."
    )
