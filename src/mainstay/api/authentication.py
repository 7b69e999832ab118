"""Who is asking: the credential in whichever header a vendor's client puts it."""

import hmac
from collections.abc import Mapping
from typing import Protocol

from mainstay.kit.errors import UnauthenticatedError
from mainstay.platform.identity.caller import Caller

_BEARER = b"bearer "


class Callers(Protocol):
    """Knows callers by their secrets."""

    def find(self, secret: bytes) -> Caller:
        """Return the caller, without waiting for anything. Raises UnauthenticatedError."""
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


def authenticate(headers: Mapping[bytes, bytes], callers: Callers) -> Caller:
    """Return the caller. Raises UnauthenticatedError.

    `Authorization: Bearer`, `api-key` and `x-api-key` are equals; some clients send two at once, and one that is
    good is enough.
    """
    refusal: UnauthenticatedError | None = None
    for secret in _credentials(headers):
        try:
            return callers.find(secret)
        except UnauthenticatedError as error:
            refusal = refusal or error
    raise refusal or UnauthenticatedError(
        "No API key was given; send it as 'Authorization: Bearer KEY' or 'api-key: KEY'. "
        "Make one with 'mainstay keys create'."
    )


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
