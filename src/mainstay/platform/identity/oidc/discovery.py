"""What an identity provider says of itself (OpenID Connect Discovery 1.0): addresses and keys."""

from collections.abc import Sequence
from dataclasses import dataclass

from mainstay.kit.clock import Clock
from mainstay.kit.errors import InvalidRequestError
from mainstay.kit.http import Outbound
from mainstay.kit.http.url import Url
from mainstay.platform.identity.oidc.errors import ProviderFaultError
from mainstay.platform.identity.oidc.remembered import Remembered
from mainstay.platform.identity.oidc.signatures import VerificationKey, read_keys
from mainstay.platform.identity.oidc.strict_json import Claims, read_object

DOCUMENT_BYTES_MAX = 256 * 1024
_TIMEOUT_SECONDS = 5.0
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Metadata:
    """The parts of the discovery document that are used."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    names_itself: bool
    """Whether it says who it is when it sends people back (RFC 9207)."""
    has_pkce: bool
    """Whether it says that it checks code challenges made by S256."""


class Discovery:
    """The metadata and the keys of identity providers, fetched when needed and remembered."""

    def __init__(self, outbound: Outbound, clock: Clock) -> None:
        self._outbound = outbound
        self._metadata = Remembered(self.fetch_metadata, clock)
        self._keys = Remembered(self.fetch_keys, clock)

    async def metadata(self, issuer: str) -> Metadata:
        """Return what the issuer says of itself. Raises MainstayError."""
        return await self._metadata.get(issuer)

    async def keys(self, jwks_uri: str, *, is_renewed: bool = False) -> Sequence[VerificationKey]:
        """Return the keys; `is_renewed` asks for new ones, as when a token names a key that is not there.

        Raises MainstayError.
        """
        return await (self._keys.renew(jwks_uri) if is_renewed else self._keys.get(jwks_uri))

    async def fetch_metadata(self, issuer: str) -> Metadata:
        """Fetch the discovery document now. Raises MainstayError that says what is wrong with it."""
        url = issuer.rstrip("/") + "/.well-known/openid-configuration"
        document = await self._fetch(url)
        if document.get("issuer") != issuer:
            said = str(document.get("issuer"))[:200]
            raise ProviderFaultError(
                f"{url} says that its issuer is {said!a}, not '{issuer}'; enter the issuer exactly as it says it."
            )
        challenges = document.get("code_challenge_methods_supported")
        responses = document.get("response_types_supported", ["code"])
        if not isinstance(responses, list) or "code" not in responses:
            raise ProviderFaultError(f"{url} offers no sign-in by code, which is the only way that is used here.")
        userinfo = document.get("userinfo_endpoint")
        return Metadata(
            issuer=issuer,
            authorization_endpoint=_endpoint(document, "authorization_endpoint", issuer),
            token_endpoint=_endpoint(document, "token_endpoint", issuer),
            jwks_uri=_endpoint(document, "jwks_uri", issuer),
            userinfo_endpoint=None if userinfo is None else _endpoint(document, "userinfo_endpoint", issuer),
            names_itself=document.get("authorization_response_iss_parameter_supported") is True,
            has_pkce=isinstance(challenges, list) and "S256" in challenges,
        )

    async def fetch_keys(self, jwks_uri: str) -> Sequence[VerificationKey]:
        """Fetch the keys now. Raises MainstayError."""
        try:
            keys = read_keys(await self._fetch(jwks_uri))
        except ValueError as error:
            raise ProviderFaultError(f"The keys at {jwks_uri} cannot be read: {error}.") from None
        if not keys:
            raise ProviderFaultError(f"None of the keys at {jwks_uri} can be used to check signatures.")
        return keys

    async def _fetch(self, url: str) -> Claims:
        fetched = await self._outbound.fetch(
            "GET",
            url,
            headers=[(b"accept", b"application/json")],
            timeout_seconds=_TIMEOUT_SECONDS,
            max_bytes=DOCUMENT_BYTES_MAX,
        )
        if fetched.status != 200:
            raise ProviderFaultError(f"{url} answers with status {fetched.status}, not 200.")
        try:
            return read_object(fetched.body)
        except ValueError as error:
            raise ProviderFaultError(f"{url} does not answer with the JSON that it must: {error}.") from None


def checked_issuer(text: str) -> str:
    """Return an issuer as it was entered. Raises InvalidRequestError for a URL that cannot be one."""
    url = Url.parse(text)
    if "?" in text or "#" in text:
        raise InvalidRequestError("An issuer has no query and no fragment.", param="issuer")
    if not url.origin.is_tls and url.origin.host not in _LOOPBACK:
        raise InvalidRequestError("An issuer must be an https URL.", param="issuer")
    return text


def _endpoint(document: Claims, name: str, issuer: str) -> str:
    address = document.get(name)
    try:
        url = Url.parse(address) if isinstance(address, str) else None
    except InvalidRequestError:
        url = None
    if url is None or not isinstance(address, str) or "#" in address:
        raise ProviderFaultError(f"The discovery document of {issuer} has no usable '{name}'.")
    if issuer.startswith("https:") and not url.origin.is_tls:
        raise ProviderFaultError(f"The discovery document of {issuer} names an address without https as '{name}'.")
    return address
