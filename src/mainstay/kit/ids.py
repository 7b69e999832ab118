"""Identifiers: random, prefixed, safe in URLs and logs."""

import os
import secrets
import time


def new_id(prefix: str) -> str:
    """Return `prefix` and 128 random bits in hexadecimal, e.g. `req_8f0c…`."""
    return prefix + os.urandom(16).hex()


def new_api_key() -> str:
    """Return a new API key: `sk-` and 43 url-safe characters (256 random bits)."""
    return "sk-" + secrets.token_urlsafe(32)


def new_sortable_id(prefix: str) -> str:
    """Return `prefix`, the time in milliseconds and 80 random bits, in hexadecimal: sorts by when it was made.

    Lists are paged by such ids alone.
    """
    return f"{prefix}{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"
