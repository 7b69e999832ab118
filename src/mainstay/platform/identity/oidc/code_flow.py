"""Sign-in by code (OpenID Connect Core 3.1) with PKCE, nonce, state and the issuer's name (RFC 9207)."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from mainstay.kit.clock import Clock
from mainstay.platform.identity.oidc.attempts import Attempts
from mainstay.platform.identity.oidc.claims import require_id_token, require_issuer, require_time, subject_of
from mainstay.platform.identity.oidc.discovery import Discovery, Metadata
from mainstay.platform.identity.oidc.errors import (
    KeysUnavailableError,
    ProviderFaultError,
    SignInBrokenError,
    SignInRefusedError,
    TokenRefusedError,
)
from mainstay.platform.identity.oidc.person import EMAIL_IS_PROVEN
from mainstay.platform.identity.oidc.provider_calls import ANSWER_BYTES_MAX, ProviderCalls, Tokens
from mainstay.platform.identity.oidc.signatures import take_apart
from mainstay.platform.identity.oidc.strict_json import Claims
from mainstay.platform.identity.oidc.verification import Verifier
from mainstay.platform.identity.stored_provider import IdentityProvider

CODE_LENGTH_MAX = 4096


@dataclass(frozen=True, slots=True, repr=False)
class Started:
    """Where to send the browser, and the cookie that it must come back with."""

    url: str
    cookie: str


@dataclass(frozen=True, slots=True)
class Proven:
    """What the provider says of someone, checked, and where he wanted to go."""

    claims: Claims
    return_to: str


class CodeFlow:
    """Sends people to their provider, and checks what they come back with."""

    def __init__(
        self, attempts: Attempts, discovery: Discovery, calls: ProviderCalls, clock: Clock, *, public_url: str
    ) -> None:
        self._attempts = attempts
        self._discovery = discovery
        self._verifier = Verifier(discovery)
        self._calls = calls
        self._clock = clock
        self._public_url = public_url.rstrip("/")

    def callback_url(self, provider_id: str) -> str:
        """Return the address to enter at the provider, which then sends people back there and nowhere else."""
        return f"{self._public_url}/auth/oidc/{provider_id}/callback"

    async def start(self, provider: IdentityProvider, return_to: str) -> Started:
        """Begin a sign-in. Raises MainstayError when the provider does not answer."""
        metadata = await self._discovery.metadata(provider.issuer)
        state, cookie, attempt = await self._attempts.begin(provider.organisation_id, provider.id, return_to)
        challenge = hashlib.sha256(attempt.verifier.encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": self.callback_url(provider.id),
            "scope": " ".join(provider.settings.scopes),
            "state": state,
            "nonce": attempt.nonce,
            "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        joint = "&" if "?" in metadata.authorization_endpoint else "?"
        return Started(f"{metadata.authorization_endpoint}{joint}{urlencode(asked)}", cookie)

    async def finish(self, provider: IdentityProvider, answer: Mapping[str, str], cookie: str | None) -> Proven:
        """End the sign-in that the browser has begun.

        `answer` is the query that the browser came back with. Raises SignInBrokenError, SignInRefusedError, or
        ProviderFaultError.
        """
        attempt = await self._attempts.take(provider.id, answer.get("state", ""), cookie)
        metadata = await self._discovery.metadata(provider.issuer)
        _require_issuer_of_answer(answer, metadata)
        if "error" in answer:
            raise SignInRefusedError(
                f"{provider.name} did not sign you in ({_shown(answer['error'])}); try again, or ask who runs it."
            )
        code = answer.get("code", "")
        if not 1 <= len(code) <= CODE_LENGTH_MAX:
            raise SignInBrokenError("The identity provider sent you back without a code; begin again.")
        tokens = await self._calls.redeem(
            provider, metadata, code=code, verifier=attempt.verifier, redirect_uri=self.callback_url(provider.id)
        )
        claims = await self._claims_of(provider, tokens, attempt.nonce)
        claims = await self._with_userinfo(provider, metadata, tokens, claims)
        return Proven(claims, attempt.return_to)

    async def _claims_of(self, provider: IdentityProvider, tokens: Tokens, nonce: str) -> Claims:
        """Return the ID token's claims. Raises ProviderFaultError, or KeysUnavailableError."""
        try:
            token = take_apart(tokens.id_token.encode("utf-8", "replace"), ANSWER_BYTES_MAX)
            require_issuer(token.claims, {provider.issuer})
            require_id_token(token, client_id=provider.client_id, nonce=nonce)
            require_time(token.claims, self._clock.wall())
            subject_of(token.claims)
            await self._verifier.require_signed(token, provider.issuer)
        except KeysUnavailableError:
            raise
        except TokenRefusedError as error:
            raise ProviderFaultError(f"{provider.name} sent an ID token that is not good: {error.message}") from error
        return token.claims

    async def _with_userinfo(
        self, provider: IdentityProvider, metadata: Metadata, tokens: Tokens, claims: Claims
    ) -> Claims:
        """Return the claims, with what only the userinfo endpoint says; the ID token's own word comes first."""
        settings = provider.settings
        wanted = {settings.email_claim, settings.name_claim, settings.group_claim or settings.email_claim}
        if wanted <= claims.keys() or metadata.userinfo_endpoint is None or tokens.access_token is None:
            return claims
        more = await self._calls.userinfo(metadata.userinfo_endpoint, tokens.access_token)
        if more.get("sub") != claims["sub"]:
            raise ProviderFaultError(f"{provider.name} speaks of somebody else at its userinfo endpoint.")
        if settings.email_claim in claims and more.get(settings.email_claim) != claims[settings.email_claim]:
            more = {name: value for name, value in more.items() if name not in EMAIL_IS_PROVEN}
        return more | claims


def _require_issuer_of_answer(answer: Mapping[str, str], metadata: Metadata) -> None:
    """Raise SignInBrokenError for an answer of another provider than the one that was asked (RFC 9207, 2.4)."""
    said = answer.get("iss")
    if said is None and not metadata.names_itself:
        return
    if said != metadata.issuer:
        raise SignInBrokenError("The answer is not from the identity provider that was asked; begin again.")


def _shown(error: str) -> str:
    """Return an error code as RFC 6749 allows it; anything else is not repeated."""
    return error if error.isascii() and error.replace("_", "").isalnum() and len(error) <= 60 else "no reason given"
