"""Who is asking: the credential in whichever header a vendor's client puts it."""

from collections.abc import Mapping

from mainstay.kit.errors import UnauthenticatedError
from mainstay.platform.identity.caller import Caller
from mainstay.platform.identity.keyring import Keyring

_BEARER = b"bearer "


def authenticate(headers: Mapping[bytes, bytes], keyring: Keyring) -> Caller:
    """Return the caller. Raises UnauthenticatedError.

    `Authorization: Bearer`, `api-key` and `x-api-key` are equals; some clients send two at once, and one that is
    good is enough.
    """
    refusal: UnauthenticatedError | None = None
    for secret in _credentials(headers):
        try:
            return keyring.find(secret)
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
