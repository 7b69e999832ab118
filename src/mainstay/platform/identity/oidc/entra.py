"""What is peculiar to Microsoft Entra ID: two issuers of one tenant, groups that are left out, applications.

Sources: learn.microsoft.com/entra/identity-platform, "Access token claims reference" and "Configure group claims",
as of 2026.
"""

import re

from mainstay.platform.identity.oidc.strict_json import Claims

_is_v2 = re.compile(r"https://login\.microsoftonline\.(?:com|us)/([0-9a-fA-F-]{36})/v2\.0").fullmatch
_is_v1 = re.compile(r"https://sts\.windows\.net/([0-9a-fA-F-]{36})/").fullmatch


def issuers_of(issuer: str) -> frozenset[str]:
    """Return every issuer whose tokens are signed with the keys of this one.

    An application decides by its manifest whether its access tokens are of version 1 or 2; both come from one tenant
    and one set of keys.
    """
    found = _is_v2(issuer) or _is_v1(issuer)
    if found is None:
        return frozenset({issuer})
    tenant = found[1]
    return frozenset({issuer, f"https://sts.windows.net/{tenant}/", f"https://login.microsoftonline.com/{tenant}/v2.0"})


def has_left_groups_out(claims: Claims, group_claim: str) -> bool:
    """Whether the token says that there are too many groups to list them."""
    if claims.get("hasgroups") in (True, "true"):
        return True
    elsewhere = claims.get("_claim_names")
    return isinstance(elsewhere, dict) and group_claim in elsewhere


def application_of(claims: Claims) -> str | None:
    """Return the client id if the token is an application's own and not one of a person who uses it.

    Entra ID says so by `idtyp`, or leaves out `scp` and names the same object as `sub` and `oid`; others name the
    client itself as the subject (RFC 9068, 2.2).
    """
    client = claims.get("azp") or claims.get("appid") or claims.get("client_id")
    if not isinstance(client, str):
        return None
    if claims.get("idtyp") == "app":
        return client
    subject = claims.get("sub")
    if "scp" not in claims and "oid" in claims and subject == claims["oid"]:
        return client
    return client if subject == client else None
