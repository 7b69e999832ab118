"""What policies, and the guards against guessing and flooding, say of sign-ins with identity providers."""

from mainstay.platform.audit.events import Origin
from mainstay.platform.identity.policies import PROVIDERS_ALLOWED, SESSIONS_MAX_HOURS, Policies, Subject
from mainstay.platform.identity.stored_provider import IdentityProvider
from mainstay.platform.identity.throttle import Throttle


class ProviderRules:
    """Asked before and during a sign-in."""

    def __init__(self, policies: Policies, throttle: Throttle, starts: Throttle) -> None:
        """`throttle` counts sign-ins that failed, `starts` those that were begun."""
        self._policies = policies
        self._throttle = throttle
        self._starts = starts

    def allows(self, provider: IdentityProvider, principal_id: str | None) -> bool:
        """Whether someone may sign in with the provider."""
        subject = Subject(organisation_id=provider.organisation_id, principal_id=principal_id)
        allowed = self._policies.value(PROVIDERS_ALLOWED, subject)
        return allowed is None or provider.id in allowed

    def session_max_hours(self, organisation_id: str, principal_id: str) -> int | None:
        """After how many hours someone must sign in again; None is as the settings say."""
        subject = Subject(organisation_id=organisation_id, principal_id=principal_id)
        return self._policies.value(SESSIONS_MAX_HOURS, subject)

    def require_free(self, origin: Origin) -> None:
        """Raise RateLimitedError while too many sign-ins have failed from there."""
        self._throttle.require_free(origin.address or "")

    def note_start(self, origin: Origin) -> None:
        """Count a sign-in that is begun: nobody alone takes up all that may be under way.

        Raises RateLimitedError.
        """
        self._starts.require_free(origin.address or "")
        self._starts.note_failure(origin.address or "")

    def note_failure(self, origin: Origin) -> None:
        """Count a failure."""
        self._throttle.note_failure(origin.address or "")
