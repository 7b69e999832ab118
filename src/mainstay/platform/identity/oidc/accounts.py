"""Who a provider's subject is here: known, linked by a proven address in a verified domain, or new.

A subject is known by provider and subject alone (OpenID Connect Core, 5.7): an address can pass to somebody else.
"""

from dataclasses import dataclass

from mainstay.kit.clock import Clock
from mainstay.kit.database import Row, Transaction, Value
from mainstay.platform.audit.events import Event, Target
from mainstay.platform.identity.authorize import Authority
from mainstay.platform.identity.change_feed import ChangeKind
from mainstay.platform.identity.names import folded
from mainstay.platform.identity.oidc.errors import SignInRefusedError
from mainstay.platform.identity.oidc.memberships import Written
from mainstay.platform.identity.oidc.person import Person
from mainstay.platform.identity.stored_provider import IdentityProvider
from mainstay.platform.identity.users import NewUser, Users

_KNOWN = (
    "SELECT i.principal_id, p.status, o.status FROM identities i JOIN principals p ON p.id = i.principal_id "
    "JOIN organisations o ON o.id = i.organisation_id "
    "WHERE i.provider_id = :provider_id AND i.subject = :subject AND i.organisation_id = :organisation_id"
)
_BY_EMAIL = (
    "SELECT p.id, p.status, o.status FROM users u JOIN principals p ON p.id = u.principal_id "
    "JOIN organisations o ON o.id = u.organisation_id "
    "WHERE u.organisation_id = :organisation_id AND u.email_normal = :email"
)
_LINK = (
    "INSERT INTO identities (provider_id, subject, organisation_id, principal_id, created_at_ms, last_seen_at_ms) "
    "VALUES (:provider_id, :subject, :organisation_id, :principal_id, :now_ms, :now_ms)"
)


@dataclass(frozen=True, slots=True)
class Account:
    """A user, and what was written to find or make it."""

    user_id: str
    written: Written


class Accounts:
    """Finds and makes the accounts of those whom identity providers vouch for."""

    def __init__(self, users: Users, authority: Authority, clock: Clock) -> None:
        self._users = users
        self._authority = authority
        self._clock = clock

    async def resolve(self, transaction: Transaction, provider: IdentityProvider, person: Person) -> Account:
        """Return the account, linked or made in the caller's transaction, who records what was written.

        Raises SignInRefusedError that says why there is none, or ConflictError if another made it at this moment.
        """
        values = self._values(provider, person)
        rows = await transaction.fetch(_KNOWN, values)
        if rows:
            user_id = _usable(rows[0])
            await transaction.execute(
                "UPDATE identities SET last_seen_at_ms = :now_ms "
                "WHERE provider_id = :provider_id AND subject = :subject",
                values,
            )
            return Account(user_id, Written())
        await self._require_proven(transaction, provider, person)
        found = await transaction.fetch(_BY_EMAIL, values | {"email": folded(person.email or "")})
        written = Written()
        if found:
            user_id = _usable(found[0])
            await self._require_linkable(transaction, provider, user_id)
        else:
            user_id = await self._create(transaction, provider, person, written)
        await transaction.execute(_LINK, values | {"principal_id": user_id})
        written.events.append(
            Event(
                action="identity.linked",
                target=Target(type="user", id=user_id),
                details={"identity_provider": provider.id, "subject": person.subject},
            )
        )
        written.changes.append((ChangeKind.IDENTITY, user_id))
        return Account(user_id, written)

    async def _require_proven(self, transaction: Transaction, provider: IdentityProvider, person: Person) -> None:
        """Raise SignInRefusedError unless the address is known to be his and the organisation's."""
        if person.email is None:
            why = "without saying that it is yours" if person.unproven_email else "without your mail address"
            raise SignInRefusedError(
                f"{provider.name} has signed you in {why}, so you cannot be told from others; ask an administrator.",
                code="email_not_verified",
            )
        rows = await transaction.fetch(
            "SELECT 1 FROM domains WHERE organisation_id = :organisation_id AND verified_name = :domain",
            {"organisation_id": provider.organisation_id, "domain": person.domain},
        )
        if not rows:
            raise SignInRefusedError(
                f"The domain '{person.domain[:100]}' is no verified domain of the organisation; ask an administrator.",
                code="domain_not_verified",
            )

    async def _require_linkable(self, transaction: Transaction, provider: IdentityProvider, user_id: str) -> None:
        """Raise SignInRefusedError for an account that is someone else's there, or may do more than the provider."""
        others = await transaction.fetch(
            "SELECT 1 FROM identities WHERE provider_id = :provider_id AND principal_id = :user_id",
            {"provider_id": provider.id, "user_id": user_id},
        )
        if others:
            raise SignInRefusedError(
                "Your account belongs to another person at the identity provider; an administrator can separate them.",
                code="already_linked",
            )
        roles = self._authority.roles_of(provider.organisation_id, user_id)
        given = roles.everywhere.union(*roles.projects.values())
        ceiling = provider.ceiling
        if ceiling.is_owner or (not roles.is_owner and {action.value for action in given} <= ceiling.actions):
            return
        raise SignInRefusedError(
            "Your account may do more than whoever set this identity provider up; an owner must confirm it first.",
            code="beyond_provider",
        )

    async def _create(
        self, transaction: Transaction, provider: IdentityProvider, person: Person, written: Written
    ) -> str:
        if not provider.settings.creates_users:
            raise SignInRefusedError(
                "You have no account here yet; ask an administrator of your organisation for one.", code="no_account"
            )
        rows = await transaction.fetch(
            "SELECT status FROM organisations WHERE id = :organisation_id",
            {"organisation_id": provider.organisation_id},
        )
        _require_active(rows[0][0] if rows else "deleted")
        email = person.email or ""
        wanted = NewUser(email=email, name=person.name or email[:200])
        user = await self._users.insert(transaction, provider.organisation_id, wanted)
        target = Target(type="user", id=user.id, name=user.email)
        written.events.append(
            Event(action="user.created", target=target, details={"name": user.name, "identity_provider": provider.id})
        )
        written.changes.append((ChangeKind.PRINCIPAL, user.id))
        return user.id

    def _values(self, provider: IdentityProvider, person: Person) -> dict[str, Value]:
        return {
            "provider_id": provider.id,
            "subject": person.subject,
            "organisation_id": provider.organisation_id,
            "now_ms": int(self._clock.wall() * 1000),
        }


def _usable(row: Row) -> str:
    user_id, status, organisation_status = row
    _require_active(organisation_status)
    if status != "active":
        raise SignInRefusedError(
            "Your account is deactivated; ask an administrator of your organisation.", code="account_deactivated"
        )
    return str(user_id)


def _require_active(organisation_status: str) -> None:
    if organisation_status != "active":
        raise SignInRefusedError(
            "Your organisation is suspended; ask the operator of this server.", code="organisation_suspended"
        )
