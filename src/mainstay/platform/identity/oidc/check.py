"""Trying an identity provider out before anyone depends on it."""

from collections.abc import Sequence

import msgspec

from mainstay.kit.errors import MainstayError
from mainstay.platform.identity.oidc.discovery import Discovery
from mainstay.platform.identity.stored_provider import IdentityProvider


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    name: str
    is_ok: bool
    message: str


async def check(discovery: Discovery, provider: IdentityProvider) -> Sequence[Finding]:
    """Fetch what the provider publishes now, past every copy, and say what was found."""
    try:
        metadata = await discovery.fetch_metadata(provider.issuer)
    except MainstayError as error:
        return [Finding(name="discovery", is_ok=False, message=error.message)]
    findings = [Finding(name="discovery", is_ok=True, message=f"{metadata.issuer} says where to sign in.")]
    try:
        keys = await discovery.fetch_keys(metadata.jwks_uri)
    except MainstayError as error:
        findings.append(Finding(name="keys", is_ok=False, message=error.message))
    else:
        algorithms = ", ".join(sorted(frozenset[str]().union(*(key.algorithms for key in keys))))
        findings.append(Finding(name="keys", is_ok=True, message=f"{len(keys)} keys, for {algorithms}."))
    pkce = "It checks code challenges." if metadata.has_pkce else "It does not say that it checks code challenges."
    findings.append(Finding(name="pkce", is_ok=True, message=pkce))
    named = "It names itself in its answers." if metadata.names_itself else "It does not name itself in its answers."
    findings.append(Finding(name="issuer_in_answers", is_ok=True, message=named))
    return findings
