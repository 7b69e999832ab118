"""The two calls to an identity provider during a sign-in: the code for tokens, and who it is."""

import base64
from dataclasses import dataclass
from urllib.parse import quote_plus, urlencode

from mainstay.kit.http import Fetched, Outbound
from mainstay.platform.identity.identity_providers import IdentityProviders
from mainstay.platform.identity.oidc.discovery import Metadata
from mainstay.platform.identity.oidc.errors import ProviderFaultError, SignInBrokenError
from mainstay.platform.identity.oidc.settings import ClientAuthentication
from mainstay.platform.identity.oidc.strict_json import Claims, read_object
from mainstay.platform.identity.stored_provider import IdentityProvider

ANSWER_BYTES_MAX = 256 * 1024
_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True, repr=False)
class Tokens:
    """What a code was good for."""

    id_token: str
    access_token: str | None


class ProviderCalls:
    """Calls identity providers with the client's own credentials."""

    def __init__(self, outbound: Outbound, providers: IdentityProviders) -> None:
        self._outbound = outbound
        self._providers = providers

    async def redeem(
        self, provider: IdentityProvider, metadata: Metadata, *, code: str, verifier: str, redirect_uri: str
    ) -> Tokens:
        """Return the tokens for a code. Raises SignInBrokenError for a code that is not good (any more)."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        headers = [(b"content-type", b"application/x-www-form-urlencoded"), (b"accept", b"application/json")]
        secret = await self._providers.secret(provider)
        if secret is not None and provider.settings.client_authentication is ClientAuthentication.BASIC:
            headers.append((b"authorization", _basic(provider.client_id, secret)))
        else:
            form["client_id"] = provider.client_id
            if secret is not None:
                form["client_secret"] = secret
        fetched = await self._outbound.fetch(
            "POST",
            metadata.token_endpoint,
            headers=headers,
            body=urlencode(form).encode(),
            timeout_seconds=_TIMEOUT_SECONDS,
            max_bytes=ANSWER_BYTES_MAX,
        )
        answer = _read(provider.name, "token endpoint", fetched)
        if fetched.status != 200:
            _refuse(provider.name, fetched.status, answer.get("error"))
        id_token, access_token = answer.get("id_token"), answer.get("access_token")
        if not isinstance(id_token, str):
            raise ProviderFaultError(f"{provider.name} sent no ID token; ask for the scope openid.")
        is_bearer = str(answer.get("token_type", "")).lower() == "bearer"
        return Tokens(id_token, access_token if isinstance(access_token, str) and is_bearer else None)

    async def userinfo(self, url: str, access_token: str) -> Claims:
        """Return what the provider says of the token's owner. Raises ProviderFaultError."""
        if not access_token.isascii() or not access_token.isprintable() or " " in access_token:
            raise ProviderFaultError("The identity provider sent an access token that cannot be used.")
        fetched = await self._outbound.fetch(
            "GET",
            url,
            headers=[(b"authorization", b"Bearer " + access_token.encode()), (b"accept", b"application/json")],
            timeout_seconds=_TIMEOUT_SECONDS,
            max_bytes=ANSWER_BYTES_MAX,
        )
        if fetched.status != 200:
            raise ProviderFaultError(f"The userinfo endpoint answers with status {fetched.status}, not 200.")
        return _read("The identity provider", "userinfo endpoint", fetched)


def _basic(client_id: str, secret: str) -> bytes:
    """Return the header of RFC 6749, 2.3.1: both are form-encoded first."""
    return b"Basic " + base64.b64encode(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode())


def _read(name: str, what: str, fetched: Fetched) -> Claims:
    try:
        return read_object(fetched.body)
    except ValueError as error:
        raise ProviderFaultError(
            f"{name} answers at its {what} with status {fetched.status} and no usable JSON: {error}."
        ) from None


def _refuse(name: str, status: int, error: object) -> None:
    if error == "invalid_grant":
        raise SignInBrokenError("The sign-in took too long or was ended twice; begin again.")
    hint = " Check the client id and secret." if error in ("invalid_client", "unauthorized_client") else ""
    shown = error if isinstance(error, str) and error.replace("_", "").isalnum() and len(error) <= 60 else "no reason"
    raise ProviderFaultError(f"{name} does not give tokens for a code: status {status}, {shown}.{hint}")
