"""Which identity providers someone may sign in with, told before anyone is known: by organisation, never by account."""

import msgspec

from mainstay.kit.database import Database, Value
from mainstay.platform.identity.names import EMAIL_LENGTH_MAX, folded
from mainstay.platform.identity.sign_in_rules import SignInRules

_OF_ORGANISATION = (
    "SELECT p.id, p.name FROM identity_providers p JOIN organisations o ON o.id = p.organisation_id "
    "WHERE p.is_enabled AND o.status = 'active' AND p.organisation_id = :organisation_id ORDER BY p.id LIMIT 50"
)
_OF_DOMAIN = "SELECT organisation_id FROM domains WHERE verified_name = :name"
_FIRST_TWO = "SELECT id FROM organisations ORDER BY id LIMIT 2"


class ProviderOption(msgspec.Struct, frozen=True, kw_only=True):
    """An identity provider, as someone who signs in sees it."""

    id: str
    name: str


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How one may sign in."""

    providers: tuple[ProviderOption, ...]
    has_passwords: bool = True
    """False where the organisation as a whole forbids them; some may be allowed one all the same."""
    is_complete: bool
    """False where only a mail address tells which organisation's providers to show."""


class SignInOptions:
    """Finds providers by the domain of a mail address, or where there is one organisation only, for everyone."""

    def __init__(self, database: Database, rules: SignInRules) -> None:
        self._database = database
        self._rules = rules

    async def find(self, email: str | None) -> Options:
        """Return the options of the organisation that has proved that the address's domain is its own."""
        organisation_id = await self._of_domain(email) or await self._only_one()
        if organisation_id is None:
            return Options(providers=(), is_complete=email is not None)
        rows = await self._database.fetch(_OF_ORGANISATION, {"organisation_id": organisation_id})
        return Options(
            providers=tuple(ProviderOption(id=id_, name=name) for id_, name in rows),
            has_passwords=self._rules.password_allowed(organisation_id, None),
            is_complete=True,
        )

    async def _of_domain(self, email: str | None) -> str | None:
        domain = "" if email is None or len(email) > EMAIL_LENGTH_MAX else folded(email).rpartition("@")[2].strip()
        if not domain or "\x00" in domain:
            return None
        values: dict[str, Value] = {"name": domain}
        rows = await self._database.fetch(_OF_DOMAIN, values)
        return str(rows[0][0]) if rows else None

    async def _only_one(self) -> str | None:
        rows = await self._database.fetch(_FIRST_TWO)
        return str(rows[0][0]) if len(rows) == 1 else None
