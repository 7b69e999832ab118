"""The enabled identity providers, in memory: by id for sign-ins, by issuer for tokens."""

from collections.abc import Callable, Mapping, Sequence

from mainstay.kit.database import Database
from mainstay.platform.identity.change_feed import Changed, ChangeKind
from mainstay.platform.identity.oidc.entra import issuers_of
from mainstay.platform.identity.stored_provider import COLUMNS, IdentityProvider, provider_of


class Registry:
    """A view of the change feed: there are few providers, so all are read whenever one changes."""

    kinds = frozenset({ChangeKind.IDENTITY_PROVIDER, ChangeKind.IDENTITY})

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_id: Mapping[str, IdentityProvider] = {}
        self._by_issuer: Mapping[str, Sequence[IdentityProvider]] = {}
        self.on_change: list[Callable[[], None]] = []
        """Called when a provider, or who its subjects are, has changed."""

    def find(self, provider_id: str) -> IdentityProvider | None:
        """Return an enabled provider."""
        return self._by_id.get(provider_id)

    def of_issuer(self, issuer: str) -> Sequence[IdentityProvider]:
        """Return the enabled providers, of all organisations, whose tokens may name this issuer."""
        return self._by_issuer.get(issuer, ())

    async def reload(self) -> None:
        """Read them all."""
        rows = await self._database.fetch(f"SELECT {COLUMNS} FROM identity_providers ORDER BY id")  # noqa: S608 - constants only
        enabled = [provider for provider in map(provider_of, rows) if provider.is_enabled]
        by_issuer: dict[str, list[IdentityProvider]] = {}
        for provider in enabled:
            for issuer in issuers_of(provider.issuer):
                by_issuer.setdefault(issuer, []).append(provider)
        self._by_id = {provider.id: provider for provider in enabled}
        self._by_issuer = by_issuer
        for tell in self.on_change:
            tell()

    async def apply(self, changed: Changed) -> None:
        """Read them all, unless only identities have changed."""
        if ChangeKind.IDENTITY_PROVIDER in changed:
            await self.reload()
            return
        for tell in self.on_change:
            tell()
