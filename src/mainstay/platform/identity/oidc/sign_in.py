"""Signing people in with the identity providers of their organisations."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database
from mainstay.kit.errors import ConflictError, MainstayError
from mainstay.platform.audit.events import Act, Actor, ActorType, Event, Origin, Outcome, Target
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.identity_providers import no_provider
from mainstay.platform.identity.oidc.accounts import Accounts
from mainstay.platform.identity.oidc.code_flow import CodeFlow, Started
from mainstay.platform.identity.oidc.errors import SignInRefusedError, TokenRefusedError
from mainstay.platform.identity.oidc.memberships import bring_up_to_date
from mainstay.platform.identity.oidc.person import Person, person_of
from mainstay.platform.identity.oidc.registry import Registry
from mainstay.platform.identity.oidc.rules import ProviderRules
from mainstay.platform.identity.owners import lock_organisation
from mainstay.platform.identity.sessions import Begun, Sessions, SignIn, limited_to
from mainstay.platform.identity.stored_provider import IdentityProvider

_LOG = logging.getLogger(__name__)
_ATTEMPTS = 3
"""How often an account is looked for when others make it at the same moment."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CameBack:
    """A browser that came back from a provider: what it brought, and the cookies that it had."""

    provider_id: str
    answer: Mapping[str, str]
    cookie: str | None
    origin: Origin
    replaces: bytes | None = None
    """The session cookie until now, if any."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session that was begun, and where its owner wanted to go."""

    begun: Begun
    return_to: str


class ProviderSignIn:
    """Begins and ends sign-ins."""

    def __init__(
        self,
        database: Database,
        acts: Acts,
        clock: Clock,
        *,
        registry: Registry,
        flow: CodeFlow,
        accounts: Accounts,
        sessions: Sessions,
        rules: ProviderRules,
    ) -> None:
        self._database = database
        self._acts = acts
        self._clock = clock
        self._registry = registry
        self._flow = flow
        self._accounts = accounts
        self._sessions = sessions
        self._rules = rules

    async def start(self, provider_id: str, return_to: str, origin: Origin) -> Started:
        """Begin a sign-in. Raises NotFoundError, RateLimitedError, or MainstayError of the provider."""
        self._rules.require_free(origin)
        provider = self._registry.find(provider_id)
        if provider is None:
            raise no_provider(provider_id)
        self._rules.note_start(origin)
        return await self._flow.start(provider, return_to)

    async def finish(self, came_back: CameBack) -> SignedIn:
        """End a sign-in with a session. Raises MainstayError that says why there is none; it is written down."""
        self._rules.require_free(came_back.origin)
        provider = self._registry.find(came_back.provider_id)
        if provider is None:
            raise no_provider(came_back.provider_id)
        person: Person | None = None
        try:
            proven = await self._flow.finish(provider, came_back.answer, came_back.cookie)
            person = person_of(proven.claims, provider.settings)
            begun = await self._begin(provider, person, came_back)
        except MainstayError as error:
            self._rules.note_failure(came_back.origin)
            await self._note_failure(provider, person, came_back.origin, error)
            if isinstance(error, TokenRefusedError):
                raise SignInRefusedError(error.message) from error
            raise
        return SignedIn(begun, proven.return_to)

    async def _begin(self, provider: IdentityProvider, person: Person, came_back: CameBack) -> Begun:
        for attempt in range(_ATTEMPTS):
            try:
                return await self._begin_once(provider, person, came_back)
            except ConflictError:
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    async def _begin_once(self, provider: IdentityProvider, person: Person, came_back: CameBack) -> Begun:
        now_ms = int(self._clock.wall() * 1000)
        async with self._database.transaction() as transaction:
            await lock_organisation(transaction, provider.organisation_id)
            account = await self._accounts.resolve(transaction, provider, person)
            if not self._rules.allows(provider, account.user_id):
                raise SignInRefusedError(
                    f"A policy of your organisation does not let you sign in with {provider.name}.",
                    code="provider_not_allowed",
                )
            given = await bring_up_to_date(transaction, provider, person, account.user_id, now_ms=now_ms)
            sign_in = SignIn(
                organisation_id=provider.organisation_id,
                principal_id=account.user_id,
                method=provider.id,
                origin=came_back.origin,
                replaces=came_back.replaces,
            )
            await transaction.execute(
                "UPDATE users SET last_active_at_ms = :now_ms WHERE principal_id = :id",
                {"now_ms": now_ms, "id": account.user_id},
            )
            hours = self._rules.session_max_hours(provider.organisation_id, account.user_id)
            begun = await self._sessions.begin(transaction, limited_to(sign_in, hours))
            await self._acts.record(
                transaction,
                sign_in.act,
                provider.organisation_id,
                events=[*account.written.events, *given.events, begun.event],
                changes=[*account.written.changes, *given.changes, *begun.changes],
            )
        return begun

    async def _note_failure(
        self, provider: IdentityProvider, person: Person | None, origin: Origin, error: MainstayError
    ) -> None:
        _LOG.warning("sign-in: %s (%s): %s", provider.id, error.code, error.message)
        details = {"code": error.code or "", "method": provider.id}
        if person is not None:
            details["subject"] = person.subject
        event = Event(
            action="sign_in.failed",
            target=Target(type="identity_provider", id=provider.id, name=provider.name),
            outcome=Outcome.FAILURE,
            details=details,
        )
        act = Act(actor=Actor(type=ActorType.ANONYMOUS, id="anonymous"), origin=origin)
        async with self._database.transaction() as transaction:
            await self._acts.record(transaction, act, provider.organisation_id, events=[event])
