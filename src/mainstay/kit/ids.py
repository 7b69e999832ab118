"""Identifiers: random, prefixed, safe in URLs and logs."""

import os
import secrets


def new_id(prefix: str) -> str:
    """Return `prefix` and 128 random bits in hexadecimal, e.g. `req_8f0c…`."""
    return prefix + os.urandom(16).hex()


def new_api_key() -> str:
    """Return a new API key: `sk-` and 43 url-safe characters (256 random bits)."""
    return "sk-" + secrets.token_urlsafe(32)
