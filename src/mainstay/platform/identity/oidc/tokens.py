"""Access tokens of identity providers as credentials for the API (RFC 9068, and Entra ID's of versions 1 and 2).

A token is checked once and remembered for some minutes by its digest, so that most calls cost a hash. It is never
remembered by a part of itself.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database
from mainstay.kit.errors import ConflictError
from mainstay.platform.audit.events import Act, Actor, ActorType
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.caller import Caller
from mainstay.platform.identity.default_projects import DefaultProjects
from mainstay.platform.identity.oidc.accounts import Accounts
from mainstay.platform.identity.oidc.claims import (
    SKEW_SECONDS,
    audiences_of,
    require_access_token,
    require_issuer,
    require_time,
    subject_of,
    words_of,
)
from mainstay.platform.identity.oidc.entra import application_of, issuers_of
from mainstay.platform.identity.oidc.errors import SignInRefusedError, TokenRefusedError
from mainstay.platform.identity.oidc.memberships import bring_up_to_date
from mainstay.platform.identity.oidc.person import Person, person_of
from mainstay.platform.identity.oidc.registry import Registry
from mainstay.platform.identity.oidc.rules import ProviderRules
from mainstay.platform.identity.oidc.settings import audience_key
from mainstay.platform.identity.oidc.signatures import Unverified, take_apart
from mainstay.platform.identity.oidc.strict_json import Claims
from mainstay.platform.identity.oidc.verification import Verifier
from mainstay.platform.identity.owners import lock_organisation
from mainstay.platform.identity.stored_provider import IdentityProvider

REMEMBERED_SECONDS = 300.0
"""How long a checked token is good without another look at its key: a withdrawn key ends what it has signed."""
REMEMBERED_MAX = 10_000

Settle = Callable[[], Awaitable[None]]

_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class _Owner:
    """Whose a token is."""

    principal_id: str
    actor_type: ActorType
    project_id: str


class TokenVerifier:
    """Knows callers by the tokens of their identity providers."""

    def __init__(
        self,
        database: Database,
        acts: Acts,
        clock: Clock,
        *,
        registry: Registry,
        verifier: Verifier,
        accounts: Accounts,
        projects: DefaultProjects,
        rules: ProviderRules,
    ) -> None:
        self._database = database
        self._acts = acts
        self._clock = clock
        self._registry = registry
        self._verifier = verifier
        self._accounts = accounts
        self._projects = projects
        self._rules = rules
        self._known: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()
        self._generation = 0
        self.settle: Settle | None = None
        """Called when a token has made a user, so that the user is known before the call goes on."""
        registry.on_change.append(self._forget)

    def __len__(self) -> int:
        """The number of tokens that are remembered."""
        return len(self._known)

    def find(self, secret: bytes) -> Caller | None:
        """Return the caller of a token that was checked a short while ago, without waiting for anything."""
        known = self._known.get(hashlib.sha256(secret).digest())
        if known is None:
            return None
        caller, until = known
        return caller if self._clock.wall() < until else None

    def is_current(self, caller: Caller) -> bool:
        """Whether the provider of a token's caller is still one whose tokens are taken."""
        return self._registry.find(caller.key_id.partition(".")[0]) is not None

    async def verify(self, secret: bytes, organisation_id: str | None = None) -> Caller:
        """Check a token and return its caller; `organisation_id` is which one is meant, if the request says so.

        Raises UnauthenticatedError, KeysUnavailableError when it cannot be checked now, or DatabaseError.
        """
        generation = self._generation
        token = take_apart(secret)
        provider = self._provider_of(token, organisation_id)
        require_access_token(token)
        now = self._clock.wall()
        expires_at = require_time(token.claims, now) + SKEW_SECONDS
        await self._verifier.require_signed(token, provider.issuer)
        _require_words(provider, token.claims)
        try:
            owner = await self._owner_of(provider, token.claims)
        except SignInRefusedError as error:
            raise TokenRefusedError(error.message, code=error.code) from error
        caller = self._caller(provider, token.claims, owner, expires_at)
        if generation == self._generation:
            self._remember(secret, caller, min(expires_at, now + REMEMBERED_SECONDS))
        return caller

    def _provider_of(self, token: Unverified, organisation_id: str | None) -> IdentityProvider:
        """Return the one provider whose tokens are these, by issuer and audience; nothing is checked yet."""
        issuer = token.claims.get("iss")
        candidates = self._registry.of_issuer(issuer) if isinstance(issuer, str) else ()
        audiences = {audience_key(one) for one in audiences_of(token.claims)}
        fitting = [
            one
            for one in candidates
            if organisation_id in (None, one.organisation_id)
            and audiences & {audience_key(name) for name in one.settings.api_tokens.audiences}
        ]
        if len(fitting) != 1:
            what = "more than one identity provider" if fitting else "no identity provider that is set up here"
            raise TokenRefusedError(
                f"The token's issuer and audience fit {what}; ask an administrator for the audience to use."
            )
        require_issuer(token.claims, issuers_of(fitting[0].issuer))
        return fitting[0]

    async def _owner_of(self, provider: IdentityProvider, claims: Claims) -> _Owner:
        accounts = provider.settings.api_tokens.service_accounts
        client = application_of(claims)
        account = accounts.get(subject_of(claims, provider.settings.subject_claim)) or accounts.get(client or "")
        if account is not None:
            return await self._service_account(provider, account)
        if client is not None:
            raise TokenRefusedError(
                f"The application {client[:100]!a} stands for no service account here; an administrator can name one."
            )
        person = person_of(claims, provider.settings)
        user_id = await self._user_of(provider, person)
        if not self._rules.allows(provider, user_id):
            raise TokenRefusedError(f"A policy of your organisation does not let you sign in with {provider.name}.")
        project_id = provider.settings.api_tokens.project_id or self._projects.of(provider.organisation_id) or ""
        return _Owner(user_id, ActorType.USER, project_id)

    async def _service_account(self, provider: IdentityProvider, account_id: str) -> _Owner:
        rows = await self._database.fetch(
            "SELECT project_id FROM service_accounts WHERE organisation_id = :organisation_id AND principal_id = :id",
            {"organisation_id": provider.organisation_id, "id": account_id},
        )
        if not rows:
            raise TokenRefusedError("The service account that the application stood for does not exist any more.")
        return _Owner(account_id, ActorType.SERVICE_ACCOUNT, str(rows[0][0]))

    async def _user_of(self, provider: IdentityProvider, person: Person) -> str:
        """Return the user, who becomes one by this token if the provider makes users."""
        rows = await self._database.fetch(
            "SELECT principal_id FROM identities WHERE provider_id = :provider_id AND subject = :subject",
            {"provider_id": provider.id, "subject": person.subject},
        )
        if rows:
            return str(rows[0][0])
        for attempt in range(_ATTEMPTS):
            try:
                user_id = await self._make_known(provider, person)
            except ConflictError:
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                if self.settle is not None:
                    await self.settle()
                return user_id
        raise AssertionError("unreachable")

    async def _make_known(self, provider: IdentityProvider, person: Person) -> str:
        now_ms = int(self._clock.wall() * 1000)
        async with self._database.transaction() as transaction:
            await lock_organisation(transaction, provider.organisation_id)
            account = await self._accounts.resolve(transaction, provider, person)
            given = await bring_up_to_date(transaction, provider, person, account.user_id, now_ms=now_ms)
            events = [*account.written.events, *given.events]
            if events:
                await self._acts.record(
                    transaction,
                    Act(actor=Actor(type=ActorType.USER, id=account.user_id)),
                    provider.organisation_id,
                    events=events,
                    changes=[*account.written.changes, *given.changes],
                )
        return account.user_id

    def _caller(self, provider: IdentityProvider, claims: Claims, owner: _Owner, expires_at: float) -> Caller:
        # One id for all tokens of an owner, so that limits count them together; it says nothing of the subject.
        subject = subject_of(claims, provider.settings.subject_claim)
        digest = hashlib.sha256(f"{provider.id}\n{subject}".encode()).hexdigest()
        return Caller(
            key_id=f"{provider.id}.{digest[:24]}",
            organisation_id=provider.organisation_id,
            project_id=owner.project_id,
            scopes=frozenset(provider.settings.api_tokens.scopes),
            expires_at=expires_at,
            principal_id=owner.principal_id,
            actor_type=owner.actor_type,
        )

    def _remember(self, secret: bytes, caller: Caller, until: float) -> None:
        self._known[hashlib.sha256(secret).digest()] = (caller, until)
        while len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)

    def _forget(self) -> None:
        """Check every token anew: a provider, or who its subjects are, has changed."""
        self._generation += 1
        self._known.clear()


def _require_words(provider: IdentityProvider, claims: Claims) -> None:
    """Raise TokenRefusedError unless the token has one of the scopes or roles that the provider's settings ask for."""
    required = provider.settings.api_tokens.required
    if required and not words_of(claims, "scp", "scope", "roles") & set(required):
        raise TokenRefusedError(f"The token has none of the scopes that are needed: {', '.join(required)}.")
