"""An identity provider as it is stored, and what the one who set it up could give."""

import msgspec

from mainstay.kit.database import Row
from mainstay.platform.identity.oidc.settings import ProviderSettings

COLUMNS = (
    "id, organisation_id, name, issuer, client_id, client_secret, settings, is_enabled, created_at_ms, updated_at_ms, "
    "version"
)


class Ceiling(msgspec.Struct, frozen=True, kw_only=True):
    """What whoever set a provider up could give: the provider says who someone is, and so may do no more than he.

    Accounts that may do more are not linked by their mail address, so that nobody becomes an owner by entering a
    provider of his own that says so.
    """

    actions: frozenset[str] = frozenset()
    is_owner: bool = False


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What the column `settings` holds."""

    settings: ProviderSettings
    ceiling: Ceiling = Ceiling()


class IdentityProvider(msgspec.Struct, frozen=True, kw_only=True):
    """An identity provider. Times are Unix milliseconds."""

    id: str
    organisation_id: str
    name: str
    issuer: str
    client_id: str
    sealed_secret: bytes | None
    settings: ProviderSettings
    ceiling: Ceiling
    is_enabled: bool
    created_at_ms: int
    updated_at_ms: int
    version: int

    def __repr__(self) -> str:
        return f"IdentityProvider(id={self.id!r}, issuer={self.issuer!r})"


def provider_of(row: Row) -> IdentityProvider:
    """Return the provider of a row that was selected with `COLUMNS`."""
    id_, organisation_id, name, issuer, client_id, sealed, settings, is_enabled, *times, version = row
    stored = msgspec.json.decode(settings, type=Stored)
    return IdentityProvider(
        id=id_,
        organisation_id=organisation_id,
        name=name,
        issuer=issuer,
        client_id=client_id,
        sealed_secret=None if sealed is None else bytes(sealed),
        settings=stored.settings,
        ceiling=stored.ceiling,
        is_enabled=bool(is_enabled),
        created_at_ms=times[0],
        updated_at_ms=times[1],
        version=version,
    )
