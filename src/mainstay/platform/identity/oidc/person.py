"""Reading who someone is from the claims of a provider, as its settings say."""

from collections.abc import Mapping
from dataclasses import dataclass

from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.identity.names import clean_email, clean_name
from mainstay.platform.identity.oidc.claims import subject_of
from mainstay.platform.identity.oidc.entra import has_left_groups_out
from mainstay.platform.identity.oidc.errors import SignInRefusedError
from mainstay.platform.identity.oidc.settings import Overage, ProviderSettings
from mainstay.platform.identity.oidc.strict_json import Claims

GROUPS_MAX = 10_000
EMAIL_IS_PROVEN = ("email_verified", "xms_edov")
"""Claims that say so of the address beside them; the second is Entra ID's, of a domain that its owner has proved."""


@dataclass(frozen=True, slots=True)
class Person:
    """Someone, as a provider knows him."""

    subject: str
    email: str | None
    """An address that is his, for all that the provider says and the organisation believes."""
    unproven_email: str | None
    """An address that the provider names without saying that it is his."""
    name: str | None
    groups: frozenset[str] | None
    """Values of the group claim; None when they are not known and shall stay as they are."""

    @property
    def domain(self) -> str:
        """The domain of the address, as verified domains are written."""
        return (self.email or "").rpartition("@")[2].lower()


def person_of(claims: Claims, settings: ProviderSettings) -> Person:
    """Return who the claims are about. Raises TokenRefusedError, or SignInRefusedError if he is in too many groups."""
    email = _email(claims, settings)
    is_proven = email is not None and _is_proven(claims, settings)
    return Person(
        subject=subject_of(claims, settings.subject_claim),
        email=email if is_proven else None,
        unproven_email=email,
        name=_name(claims, settings),
        groups=_groups(claims, settings),
    )


def mapped(groups: frozenset[str] | None, mapping: Mapping[str, str]) -> frozenset[str]:
    """Return what the groups stand for."""
    return frozenset(mapping[value] for value in groups or () if value in mapping)


def _email(claims: Claims, settings: ProviderSettings) -> str | None:
    value = claims.get(settings.email_claim)
    if not isinstance(value, str):
        return None
    try:
        return clean_email(value)
    except InvalidRequestError:
        return None


def _is_proven(claims: Claims, settings: ProviderSettings) -> bool:
    """Whether the address is his."""
    said = next((claims[name] for name in EMAIL_IS_PROVEN if name in claims), None)
    if said is None:
        return settings.trusts_email
    # What is said of `email` says nothing of another claim.
    return said in (True, "true", "1", 1) and (settings.email_claim == "email" or settings.trusts_email)


def _name(claims: Claims, settings: ProviderSettings) -> str | None:
    value = claims.get(settings.name_claim)
    if not isinstance(value, str):
        return None
    try:
        return clean_name(value, "A user")
    except InvalidRequestError:
        return None


def _groups(claims: Claims, settings: ProviderSettings) -> frozenset[str] | None:
    if settings.group_claim is None:
        return frozenset()
    value = claims.get(settings.group_claim)
    if value is None and has_left_groups_out(claims, settings.group_claim):
        if settings.on_overage is Overage.KEEP:
            return None
        raise SignInRefusedError(
            "You are in more groups than your identity provider puts into a token. Ask an administrator to have it "
            "list only groups that are assigned to this application, or to set 'on_overage' to keep.",
            code="too_many_groups",
        )
    found = [value] if isinstance(value, str) else value or []
    if not isinstance(found, list) or len(found) > GROUPS_MAX or not all(isinstance(one, str) for one in found):
        raise SignInRefusedError(
            f"Your identity provider sends '{settings.group_claim}', but not as a list of names; ask who runs it.",
            code="groups_unreadable",
        )
    return frozenset(found)
