"""What an organisation sets for an identity provider: how to read its claims, and what they give."""

from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.identity.names import is_printable
from mainstay.platform.identity.roles import MEMBER, OWNER

MAPPED_MAX = 1000
_WORD = Meta(min_length=1, max_length=300)
_ID = Meta(min_length=1, max_length=200)

Word = Annotated[str, _WORD]
Id = Annotated[str, _ID]
Mapping = Annotated[dict[Word, Id], Meta(max_length=MAPPED_MAX)]


class ClientAuthentication(StrEnum):
    """How Mainstay shows the provider that it is the client it says it is."""

    BASIC = "client_secret_basic"
    POST = "client_secret_post"
    NONE = "none"


class Overage(StrEnum):
    """What to do with someone who is in too many groups for a token (Entra ID lists 200 of them)."""

    REFUSE = "refuse"
    KEEP = "keep"
    """Leave groups and roles as they were at the last sign-in that listed them."""


class ApiTokens(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which of the provider's access tokens are good for this API. Without an audience, none is."""

    audiences: Annotated[tuple[Word, ...], Meta(max_length=20)] = ()
    """Such as api://mainstay, or Entra ID's https://cognitiveservices.azure.com and https://ai.azure.com."""
    scopes: Annotated[tuple[Literal["inference", "admin"], ...], Meta(min_length=1)] = ("inference",)
    """What a token may be used for, within what its owner may do."""
    required: Annotated[tuple[Word, ...], Meta(max_length=20)] = ()
    """Scopes or app roles of which a token must have one."""
    service_accounts: Mapping = {}
    """Client id or subject of an application -> the service account that it is here."""
    project_id: Id | None = None
    """The project that people's calls belong to; without it the organisation's first."""


class ProviderSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How sign-in works with one provider."""

    scopes: Annotated[tuple[Word, ...], Meta(min_length=1, max_length=20)] = ("openid", "profile", "email")
    client_authentication: ClientAuthentication = ClientAuthentication.BASIC
    subject_claim: Literal["sub", "oid"] = "sub"
    """Entra ID: oid, the one that is the same in ID tokens and access tokens."""
    email_claim: Word = "email"
    trusts_email: bool = False
    """Take addresses in the organisation's verified domains as verified where the provider does not say so."""
    name_claim: Word = "name"
    group_claim: Word | None = None
    groups: Mapping = {}
    """Value of the group claim -> group, which the person is in as long as the claim says so."""
    roles: Mapping = {}
    """Value of the group claim -> role in the whole organisation."""
    on_overage: Overage = Overage.REFUSE
    creates_users: bool = False
    """Whether someone who is not known here yet becomes a user at the first sign-in."""
    default_role_id: Id | None = MEMBER.id
    """The role that everyone has who signs in with this provider."""
    api_tokens: ApiTokens = ApiTokens()

    def checked(self) -> "ProviderSettings":
        """Return the settings. Raises InvalidRequestError for what contradicts itself."""
        if "openid" not in self.scopes:
            raise InvalidRequestError("'settings.scopes' must hold openid.", param="settings.scopes")
        if (self.groups or self.roles) and self.group_claim is None:
            raise InvalidRequestError(
                "Groups and roles are mapped, but 'settings.group_claim' does not say from which claim.",
                param="settings.group_claim",
            )
        if OWNER.id in {*self.roles.values(), self.default_role_id}:
            raise InvalidRequestError(
                "An identity provider cannot make owners; bind that role to people here.", param="settings.roles"
            )
        for text in self._words():
            if not is_printable(text) or (text in self.scopes and " " in text):
                raise InvalidRequestError(f"{text[:80]!r} cannot be used in the settings.", param="settings")
        return self

    def _words(self) -> set[str]:
        tokens = self.api_tokens
        lists = (self.scopes, tokens.audiences, tokens.required, self.groups, self.roles, tokens.service_accounts)
        ids = (self.groups.values(), self.roles.values(), tokens.service_accounts.values())
        single = {self.email_claim, self.name_claim, self.group_claim, self.default_role_id, tokens.project_id}
        return {text for text in single if text is not None}.union(*lists, *ids)


def audience_key(audience: str) -> str:
    """Return an audience as it is compared: Entra ID writes its own with and without a slash at the end."""
    return audience.rstrip("/") if "://" in audience else audience
