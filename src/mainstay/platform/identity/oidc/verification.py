"""Checking the signature of a provider's token with the keys that it publishes, new ones included."""

from collections.abc import Sequence

from mainstay.kit.errors import MainstayError
from mainstay.platform.identity.oidc.discovery import Discovery
from mainstay.platform.identity.oidc.errors import KeysUnavailableError, TokenRefusedError
from mainstay.platform.identity.oidc.signatures import Unverified, VerificationKey, is_signed_by, keys_for


class Verifier:
    """Knows whether a token was signed by an issuer."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery

    async def require_signed(self, token: Unverified, issuer: str) -> None:
        """Raise TokenRefusedError unless a key of the issuer has signed the token.

        A key that is not known, or is another than before under the same name, is looked for anew, though not for
        every token that claims to have one. Raises KeysUnavailableError when there are no keys to check with.
        """
        try:
            uri = (await self._discovery.metadata(issuer)).jwks_uri
            if _is_signed(token, await self._discovery.keys(uri)):
                return
            if _is_signed(token, await self._discovery.keys(uri, is_renewed=True)):
                return
        except MainstayError as error:
            raise KeysUnavailableError(f"The keys of {issuer} are not to be had: {error.message}") from error
        raise TokenRefusedError("The token is not signed by a key of its issuer.")


def _is_signed(token: Unverified, keys: Sequence[VerificationKey]) -> bool:
    return any(is_signed_by(token, key) for key in keys_for(token, keys))
