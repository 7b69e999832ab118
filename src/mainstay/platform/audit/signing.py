"""Checkpoints: signed statements of how far an organisation's chain had come, and with which hash.

Whoever can write to the database can write a chain anew, but not the signatures over the old one. Ed25519 (RFC 8032);
the key is the seed in a file beside the database's other keys, its id the beginning of the hash of the public half.
"""

import base64
import hashlib
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from mainstay.kit.errors import ConfigurationError, InvalidRequestError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SEED_BYTES = 32
KEY_ID_BYTES = 8
PUBLIC_KEY_BYTES = 32
# What is signed begins with a line that no other kind of statement begins with.
_CHECKPOINT = b"mainstay audit checkpoint 1\n"
_EXPORT = b"mainstay audit export 1\n"
_ENCODER = msgspec.json.Encoder(order="deterministic")


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The chain of an organisation had this hash at this event."""

    organisation_id: str
    through_sequence: int
    hash: bytes
    signed_at_ms: int
    key_id: str
    signature: bytes = b""

    def message(self) -> bytes:
        """Return what is signed: a line, and JSON with sorted members."""
        said = {
            "organisation_id": self.organisation_id,
            "through_sequence": self.through_sequence,
            "hash": self.hash.hex(),
            "signed_at_ms": self.signed_at_ms,
            "key_id": self.key_id,
        }
        return _CHECKPOINT + _ENCODER.encode(said)


class Signer:
    """Signs checkpoints with this installation's key."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ConfigurationError(f"The audit key is not {SEED_BYTES} bytes long; restore it from a backup.")
        self._seed = seed

    @cached_property
    def public_key(self) -> bytes:
        """The half that verifies."""
        return self._key.public_key().public_bytes_raw()

    @cached_property
    def key_id(self) -> str:
        """The id of the pair."""
        return key_id(self.public_key)

    @cached_property
    def _key(self) -> "Ed25519PrivateKey":
        # Not before it is needed: the library takes as long to load as a tenth of a start.
        from cryptography.hazmat.primitives.asymmetric import ed25519

        return ed25519.Ed25519PrivateKey.from_private_bytes(self._seed)

    def sign(self, organisation_id: str, through_sequence: int, hash: bytes, *, signed_at_ms: int) -> Checkpoint:
        """Return the signed statement."""
        said = Checkpoint(
            organisation_id=organisation_id,
            through_sequence=through_sequence,
            hash=hash,
            signed_at_ms=signed_at_ms,
            key_id=self.key_id,
        )
        return msgspec.structs.replace(said, signature=self._key.sign(said.message()))

    def sign_export(self, digest: bytes) -> bytes:
        """Return the signature over the SHA-256 of an export."""
        return self._key.sign(export_message(digest))


class PublicKeys:
    """The keys whose signatures count."""

    def __init__(self, public_keys: list[bytes]) -> None:
        self._keys = {key_id(one): _load(one) for one in public_keys}

    def fault(self, key_id: str, signature: bytes, message: bytes) -> str | None:
        """Return what is wrong with a signature over `message`, or None if nothing is."""
        from cryptography.exceptions import InvalidSignature

        key = self._keys.get(key_id)
        if key is None:
            return f"is signed by {key_id[:40]}, which is not a key that is trusted"
        try:
            key.verify(signature, message)
        except InvalidSignature:
            return "has a signature that is not right"
        return None


def export_message(digest: bytes) -> bytes:
    """Return what is signed of an export."""
    return _EXPORT + digest


def key_id(public_key: bytes) -> str:
    """Return the id of a key pair."""
    return "ed25519-" + hashlib.sha256(public_key).digest()[:KEY_ID_BYTES].hex()


def _load(public_key: bytes) -> "Ed25519PublicKey":
    from cryptography.hazmat.primitives.asymmetric import ed25519

    return ed25519.Ed25519PublicKey.from_public_bytes(public_key)


def write_public_key(public_key: bytes) -> str:
    """Return a public key as text: base64 of its 32 bytes."""
    return base64.b64encode(public_key).decode()


def read_public_key(text: str) -> bytes:
    """Return the public key that a text holds. Raises InvalidRequestError."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        key = b""
    if len(key) != PUBLIC_KEY_BYTES:
        raise InvalidRequestError(
            f"{text.strip()[:60]!r} is no public key; `mainstay audit public-key` prints one on the server.",
            param="public_key",
        )
    return key
