"""What an organisation's policies say of signing in."""

from typing import Protocol

from mainstay.platform.identity.policies import PASSWORD_ALLOWED, SESSIONS_MAX_HOURS, Policies, Subject


class SignInRules(Protocol):
    """What is asked of policies when someone signs in."""

    def password_allowed(self, organisation_id: str, principal_id: str | None) -> bool:
        """Whether this user may sign in with a password, or without one, the organisation's people in general."""
        ...

    def session_max_hours(self, organisation_id: str, principal_id: str) -> int | None:
        """After how many hours this user must sign in again; None is as the settings say."""
        ...


class PolicyRules:
    """The rules that policies make."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies

    def password_allowed(self, organisation_id: str, principal_id: str | None) -> bool:
        """Whether this user may sign in with a password, or without one, the organisation's people in general."""
        return self._policies.value(
            PASSWORD_ALLOWED, Subject(organisation_id=organisation_id, principal_id=principal_id)
        )

    def session_max_hours(self, organisation_id: str, principal_id: str) -> int | None:
        """After how many hours this user must sign in again; None is as the settings say."""
        subject = Subject(organisation_id=organisation_id, principal_id=principal_id)
        return self._policies.value(SESSIONS_MAX_HOURS, subject)
