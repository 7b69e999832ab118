"""Sealing bytes with a key: AES-256-GCM (NIST SP 800-38D) with a random nonce, bound to a context.

One key seals at most 2**32 texts with random nonces, by the same document; a data key is far from that.
"""

import os

from mainstay.kit.errors import MainstayError

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16


class BrokenSealError(MainstayError):
    """What was sealed does not open: changed, cut off, or of another place, organisation or key."""

    code = "secret_unreadable"


def seal_text(key: bytes, plain: bytes, *, context: bytes) -> bytes:
    """Return nonce, ciphertext and tag; it opens only with the same key and context."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, context)


def open_text(key: bytes, sealed: bytes, *, context: bytes) -> bytes:
    """Return what was sealed. Raises BrokenSealError."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if len(sealed) < NONCE_BYTES + TAG_BYTES:
        raise BrokenSealError("A sealed text was cut off; enter the secret again, or restore a backup.")
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)
    except InvalidTag:
        raise BrokenSealError(
            "A sealed text does not open: it was changed, or copied from another place. "
            "Enter the secret again, or restore a backup."
        ) from None
