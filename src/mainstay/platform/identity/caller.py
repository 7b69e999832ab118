"""Who is asking."""

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What a key may be used for."""

    INFERENCE = "inference"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """A known credential and what it may do. None of the limits is a limit when it is None."""

    key_id: str
    organisation_id: str
    project_id: str
    scopes: frozenset[str]
    deployments: frozenset[str] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    expires_at: float | None = None
    """Unix time in seconds from which the credential is refused."""

    def may_use(self, deployment: str) -> bool:
        """Whether the credential is good for `deployment`."""
        return self.deployments is None or deployment in self.deployments
