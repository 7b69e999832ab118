"""What may be said of a server that requests are sent to, in mainstay.toml and by administrators alike."""

import re

NAME = r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$"
"""What deployments, aliases and providers may be called."""

NAME_IN_WORDS = "a name of letters, digits and . _ : / -, at most 128 characters, beginning with a letter or digit"

API_VERSION = r"^\d{4}-\d{2}-\d{2}(-preview)?$"
"""A version of Azure's classic API."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OWN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "content-type", "te", "upgrade"})
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def header_fault(name: str, value: str) -> str:
    """Return what is wrong with a header that is to be added to each request; empty if nothing is."""
    shown = name[:60].encode("unicode_escape").decode("ascii")
    if not _HEADER_NAME.fullmatch(name):
        return f'"{shown}" is no name of a header; use letters, digits and hyphens.'
    if name.lower() in _OWN_HEADERS:
        return f'The header "{shown}" is set for each request; remove it.'
    if not value.isascii():
        return f'The value of the header "{shown}" has a character outside ASCII; encode it.'
    if _CONTROL.search(value):
        return f'The value of the header "{shown}" has a line break or another control character; remove it.'
    return ""
