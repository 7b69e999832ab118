"""Signed tokens (RFC 7515, RFC 8725): who may sign with what is decided here, never by the token's own header."""

import base64
import binascii
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mainstay.platform.identity.oidc.errors import TokenRefusedError
from mainstay.platform.identity.oidc.strict_json import Claims, read_object

if TYPE_CHECKING:
    from joserfc.jwk import Key

TOKEN_BYTES_MAX = 16 * 1024
"""Of a token that a stranger sends."""
KEYS_MAX = 100
_RSA_BITS_MIN = 2048
_RSA_BITS_MAX = 8192

_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_BY_CURVE = {
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA", "Ed25519"}),
}
ALGORITHMS = _RSA.union(*_BY_CURVE.values())
"""What is accepted: signatures that only the holder of a private key can make."""
_SIGNATURE_BYTES_MAX = _RSA_BITS_MAX // 8


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key, and the algorithms that it is good for."""

    kid: str | None
    algorithms: frozenset[str]
    key: "Key"


@dataclass(frozen=True, slots=True)
class Unverified:
    """A token that was taken apart and not checked: good for finding the key to check it with, and for nothing else."""

    text: str
    algorithm: str
    kid: str | None
    type: str
    claims: Claims


def read_keys(document: Claims) -> tuple[VerificationKey, ...]:
    """Return the keys of a JWK set that may sign tokens; others are left out. Raises ValueError if it is no set."""
    listed = document.get("keys")
    if not isinstance(listed, list) or len(listed) > KEYS_MAX:
        raise ValueError(f"it lists no keys, or more than {KEYS_MAX}")
    return tuple(key for one in listed if isinstance(one, dict) and (key := _key(one)) is not None)


def take_apart(token: bytes, bytes_max: int = TOKEN_BYTES_MAX) -> Unverified:
    """Return what a token says of itself. Raises TokenRefusedError for one that could never be accepted."""
    if len(token) > bytes_max:
        raise TokenRefusedError(f"The token has {len(token)} bytes; {bytes_max} are accepted.")
    parts = token.split(b".")
    if len(parts) != 3 or not all(parts):
        raise TokenRefusedError("The token is no signed JWT: it must be three parts in base64, joined by dots.")
    try:
        header, claims, signature = (_decoded(part) for part in parts)
        head, said = read_object(header), read_object(claims)
    except ValueError as error:
        raise TokenRefusedError(f"The token cannot be read: {error}.") from None
    algorithm, kid, type_ = head.get("alg"), head.get("kid"), head.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenRefusedError("The token is signed with an algorithm that is not accepted here, or not at all.")
    if "crit" in head or not isinstance(type_, str) or not (kid is None or isinstance(kid, str)):
        raise TokenRefusedError("The header of the token asks for what is not known here.")
    if len(signature) > _SIGNATURE_BYTES_MAX:
        raise TokenRefusedError("The signature of the token is too long.")
    return Unverified(token.decode("ascii"), algorithm, kid, type_.lower().removeprefix("application/"), said)


def keys_for(token: Unverified, keys: Sequence[VerificationKey]) -> list[VerificationKey]:
    """Return the keys that can have signed the token; without a key id there must be no choice."""
    fitting = [key for key in keys if token.algorithm in key.algorithms]
    if token.kid is None:
        return fitting if len(fitting) == 1 else []
    return [key for key in fitting if key.kid == token.kid]


def is_signed_by(token: Unverified, key: VerificationKey) -> bool:
    """Whether the token's signature was made with the private half of the key."""
    from joserfc.errors import JoseError
    from joserfc.jws import JWSRegistry, deserialize_compact

    registry = JWSRegistry(algorithms=[token.algorithm], strict_check_header=False)
    # The length of the whole was looked at before.
    registry.max_header_length = registry.max_payload_length = registry.max_signature_length = len(token.text)
    with warnings.catch_warnings():
        # "EdDSA" is an old name for Ed25519 (RFC 9864), and harmless where the key's curve is fixed, as here.
        warnings.simplefilter("ignore")
        try:
            deserialize_compact(token.text, key.key, [token.algorithm], registry)
        except (JoseError, ValueError):
            return False
    return True


def _key(jwk: Mapping[str, Any]) -> VerificationKey | None:
    """Return a key of a set, or None for one that may not or cannot be used."""
    from joserfc.errors import JoseError
    from joserfc.jwk import import_key

    type_, curve, kid = jwk.get("kty"), jwk.get("crv"), jwk.get("kid")
    algorithms = _RSA if type_ == "RSA" else _BY_CURVE.get((str(type_), str(curve)))
    if algorithms is None or jwk.get("use", "sig") != "sig" or not (kid is None or isinstance(kid, str)):
        return None
    if "alg" in jwk:
        algorithms &= {jwk["alg"]} if isinstance(jwk["alg"], str) else frozenset()
    # Only the public half: what a provider publishes by mistake is not kept.
    public = {name: jwk[name] for name in ("kty", "crv", "n", "e", "x", "y") if name in jwk}
    if not algorithms or (type_ == "RSA" and not _has_good_size(public.get("n"))):
        return None
    try:
        return VerificationKey(kid, algorithms, import_key(public))
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def _has_good_size(modulus: object) -> bool:
    if not isinstance(modulus, str):
        return False
    try:
        bits = int.from_bytes(_decoded(modulus.encode()), "big").bit_length()
    except ValueError:
        return False
    return _RSA_BITS_MIN <= bits <= _RSA_BITS_MAX


def _decoded(part: bytes) -> bytes:
    """Return the bytes of unpadded base64url text, of which there is one spelling only. Raises ValueError."""
    try:
        raw = base64.b64decode(part + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("it is not base64") from error
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != part:
        raise ValueError("it is not base64 as it must be written")
    return raw
