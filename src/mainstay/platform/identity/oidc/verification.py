"""Checking the signature of a provider's token with the keys that it publishes, new ones included."""

from mainstay.kit.errors import MainstayError
from mainstay.platform.identity.oidc.discovery import Discovery
from mainstay.platform.identity.oidc.errors import KeysUnavailableError, TokenRefusedError
from mainstay.platform.identity.oidc.signatures import Unverified, is_signed_by, keys_for


class Verifier:
    """Knows whether a token was signed by an issuer."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery

    async def require_signed(self, token: Unverified, issuer: str) -> None:
        """Raise TokenRefusedError unless a key of the issuer has signed the token.

        A key that is not known is looked for anew, though not for every token that claims to have one. Raises
        KeysUnavailableError when there are no keys to check with.
        """
        try:
            uri = (await self._discovery.metadata(issuer)).jwks_uri
            found = keys_for(token, await self._discovery.keys(uri))
            if not found:
                found = keys_for(token, await self._discovery.keys(uri, is_renewed=True))
        except MainstayError as error:
            raise KeysUnavailableError(f"The keys of {issuer} are not to be had: {error.message}") from error
        if not any(is_signed_by(token, key) for key in found):
            raise TokenRefusedError("The token is not signed by a key of its issuer.")
