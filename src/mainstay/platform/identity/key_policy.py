"""What an organisation's policies say of API keys: for how long they may be good, and whether people have their own."""

from mainstay.kit.clock import Clock
from mainstay.kit.errors import InvalidRequestError, PermissionDeniedError
from mainstay.platform.identity.policies import KEYS_MAX_LIFETIME_DAYS, KEYS_PERSONAL_ALLOWED, Policies, Subject

_DAY_MS = 86_400_000


class KeyPolicy:
    """Asks the policies, in memory."""

    def __init__(self, policies: Policies, clock: Clock) -> None:
        self._policies = policies
        self._clock = clock

    def latest_expiry_ms(self, subject: Subject) -> int | None:
        """Return until when a key that is made now may be good; None is for ever."""
        days = self._policies.value(KEYS_MAX_LIFETIME_DAYS, subject)
        return None if days is None else self.now_ms() + days * _DAY_MS

    def require_lifetime(self, subject: Subject, expires_at_ms: int | None) -> None:
        """Raise InvalidRequestError for a key that would be good for too long."""
        latest_ms = self.latest_expiry_ms(subject)
        if latest_ms is not None and (expires_at_ms is None or expires_at_ms > latest_ms):
            days = self._policies.value(KEYS_MAX_LIFETIME_DAYS, subject)
            raise InvalidRequestError(
                f"A key may be good for {days} days at most here (policy '{KEYS_MAX_LIFETIME_DAYS.key}'); "
                f"give 'expires_at' as {latest_ms // 1000} or earlier.",
                param="expires_at",
                code="policy_violation",
            )

    def longest_if_none(self, subject: Subject, expires_at_ms: int | None) -> int | None:
        """Return when a key ends whose maker said nothing of it: as late as it may."""
        return self.latest_expiry_ms(subject) if expires_at_ms is None else expires_at_ms

    def require_personal(self, subject: Subject) -> None:
        """Raise PermissionDeniedError where people may have no keys of their own."""
        if not self._policies.value(KEYS_PERSONAL_ALLOWED, subject):
            raise PermissionDeniedError(
                f"Your organisation does not let people make keys of their own (policy '{KEYS_PERSONAL_ALLOWED.key}'); "
                "ask an administrator for a service account.",
                code="policy_violation",
            )

    def now_ms(self) -> int:
        """Return the time by which keys are measured."""
        return int(self._clock.wall() * 1000)
