"""What is written of an act: who did what to what, from where, and how it ended."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec


class ActorType(StrEnum):
    """What kind of someone acts."""

    USER = "user"
    SERVICE_ACCOUNT = "service_account"
    KEY = "key"
    """A project's own key, which is nobody's."""
    OPERATOR = "operator"
    """Whoever owns the machine: commands on it, and the local key."""
    DIRECTORY = "directory"
    """An identity provider that provisions by SCIM."""
    SYSTEM = "system"
    """Mainstay itself."""
    ANONYMOUS = "anonymous"
    """Someone who has not signed in, or tries to."""


class Outcome(StrEnum):
    """How an act ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    DENIED = "denied"


class Actor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who acts. `credential_id` is the key, session or token that was used."""

    type: ActorType
    id: str
    name: str | None = None
    credential_id: str | None = None


class Origin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a request came from."""

    address: str | None = None
    user_agent: str | None = None
    request_id: str | None = None


NOWHERE = Origin()


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Who does something, and from where: made once for each request, handed to whatever writes.

    `idempotency_key` and `request_digest` are set when the request has a key by which it is known again.
    """

    actor: Actor
    origin: Origin = NOWHERE
    reason: str | None = None
    idempotency_key: str | None = None
    request_digest: bytes | None = None


class Target(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is acted on."""

    type: str
    id: str
    name: str | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that an act does.

    `action` is `noun.verb` such as `user.created`; `changed` maps a field to its values before and after, secrets as
    the word "changed" only; `details` is what else there is to say. Never put a secret or a prompt in any of them.
    """

    action: str
    target: Target | None = None
    outcome: Outcome = Outcome.SUCCESS
    changed: dict[str, Any] = {}  # field -> [before, after], JSON values
    details: dict[str, Any] = {}  # JSON values


SYSTEM = Act(actor=Actor(type=ActorType.SYSTEM, id="system"))
"""Mainstay itself."""
