"""Signatures by which a receiver knows that a message is ours: Standard Webhooks 1.0.0 (standardwebhooks.com)."""

import base64
import hmac
import os

_PREFIX = "whsec_"
_SECRET_BYTES = 32


def new_secret() -> str:
    """Return a new secret, as receivers' libraries take it."""
    return _PREFIX + base64.b64encode(os.urandom(_SECRET_BYTES)).decode()


def signed_headers(secret: str, body: bytes, *, message_id: str, at_seconds: int) -> list[tuple[bytes, bytes]]:
    """Return the headers of a message; a receiver refuses one whose time is long ago."""
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    content = b"%s.%d.%s" % (message_id.encode(), at_seconds, body)
    signature = base64.b64encode(hmac.digest(key, content, "sha256"))
    return [
        (b"content-type", b"application/json"),
        (b"user-agent", b"mainstay"),
        (b"webhook-id", message_id.encode()),
        (b"webhook-timestamp", b"%d" % at_seconds),
        (b"webhook-signature", b"v1," + signature),
    ]
