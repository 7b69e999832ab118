"""Policies: what is known, and which value is in force for whom.

A policy is set for the organisation, a group, a project or a user. The nearest wins, unless a broader one is locked;
among a user's groups the most generous does. Every answer says how it came about.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

import msgspec

from mainstay.kit.errors import InvalidRequestError
from mainstay.platform.identity.directory import Directory, Setting

T = TypeVar("T")

ITEMS_MAX = 1000
ITEM_LENGTH_MAX = 200


class PolicyScope(StrEnum):
    """Where a policy may be set, broadest first."""

    ORGANISATION = "organisation"
    GROUP = "group"
    PROJECT = "project"
    USER = "user"
    """A user or a service account."""


def _longest(values: Sequence[int | None]) -> int | None:
    limits = [value for value in values if value is not None]
    return max(limits) if len(limits) == len(values) else None


def _union(values: Sequence[list[str] | None]) -> list[str] | None:
    lists = [value for value in values if value is not None]
    if len(lists) < len(values):
        return None
    return sorted({name for one in lists for name in one})


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(Generic[T]):
    """A policy that Mainstay knows. `merge` finds the most generous of several values."""

    key: str
    description: str
    takes: str
    """What values it has, in words."""
    type: Any  # what msgspec converts to, such as `list[str] | None`
    default: T
    merge: Callable[[Sequence[T]], T]
    least: int | None = None
    most: int | None = None

    def check(self, value: object) -> T:
        """Return the value. Raises InvalidRequestError if the policy cannot have it."""
        try:
            found: T = msgspec.convert(value, self.type, strict=True)
        except msgspec.ValidationError as error:
            raise InvalidRequestError(
                f"The policy '{self.key}' cannot have this value: {error}.", param="value"
            ) from None
        if isinstance(found, list):
            self._check_list(found)
        elif isinstance(found, int) and not isinstance(found, bool) and not self._is_within(found):
            raise InvalidRequestError(
                f"The policy '{self.key}' must be from {self.least} to {self.most}, not {found}.", param="value"
            )
        return found

    def _is_within(self, number: int) -> bool:
        return (self.least is None or number >= self.least) and (self.most is None or number <= self.most)

    def _check_list(self, items: Sequence[str]) -> None:
        if len(items) > ITEMS_MAX:
            raise InvalidRequestError(
                f"The policy '{self.key}' can list {ITEMS_MAX} names, not {len(items)}.", param="value"
            )
        for item in items:
            if not 1 <= len(item) <= ITEM_LENGTH_MAX or not item.isprintable():
                raise InvalidRequestError(
                    f"The policy '{self.key}' lists names of 1 to {ITEM_LENGTH_MAX} printable characters.",
                    param="value",
                )


DEPLOYMENTS_ALLOWED: Policy[list[str] | None] = Policy(
    key="deployments.allowed",
    description="The deployments that may be called, by name; '*' stands for any characters. null is all of them.",
    takes="a list of names, or null",
    type=list[str] | None,
    default=None,
    merge=_union,
)
KEYS_MAX_LIFETIME_DAYS: Policy[int | None] = Policy(
    key="keys.max_lifetime_days",
    description="For how long a new API key may be good at most. null is for ever.",
    takes="a number from 1 to 3650, or null",
    type=int | None,
    default=None,
    merge=_longest,
    least=1,
    most=3650,
)
KEYS_PERSONAL_ALLOWED: Policy[bool] = Policy(
    key="keys.personal_allowed",
    description="Whether people may make API keys of their own.",
    takes="true or false",
    type=bool,
    default=True,
    merge=any,
)
SESSIONS_MAX_HOURS: Policy[int | None] = Policy(
    key="sessions.max_hours",
    description="After how many hours people must sign in again at the latest. null is what the server's settings say.",
    takes="a number from 1 to 8760, or null",
    type=int | None,
    default=None,
    merge=_longest,
    least=1,
    most=8760,
)
PASSWORD_ALLOWED: Policy[bool] = Policy(
    key="sign_in.password_allowed",
    description="Whether people may sign in with a password of their own.",
    takes="true or false",
    type=bool,
    default=True,
    merge=any,
)
PROVIDERS_ALLOWED: Policy[list[str] | None] = Policy(
    key="sign_in.allowed_providers",
    description="The ids of the identity providers that people may sign in with. null is any that is set up.",
    takes="a list of names, or null",
    type=list[str] | None,
    default=None,
    merge=_union,
)
PROMPTS_LOGGED: Policy[bool] = Policy(
    key="log_prompts.allowed",
    description="Whether prompts may be logged where the server's settings ask for it.",
    takes="true or false",
    type=bool,
    default=True,
    merge=any,
)

POLICIES: Mapping[str, Policy[Any]] = {  # Any: each has its own type
    policy.key: policy
    for policy in (
        DEPLOYMENTS_ALLOWED,
        KEYS_MAX_LIFETIME_DAYS,
        KEYS_PERSONAL_ALLOWED,
        SESSIONS_MAX_HOURS,
        PASSWORD_ALLOWED,
        PROVIDERS_ALLOWED,
        PROMPTS_LOGGED,
    )
}
"""Every policy, by key."""


def policy_of(key: str) -> Policy[Any]:  # Any: each has its own type
    """Return the policy. Raises InvalidRequestError."""
    policy = POLICIES.get(key)
    if policy is None:
        raise InvalidRequestError(f"There is no policy '{key[:100]}'; there are {', '.join(POLICIES)}.", param="key")
    return policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whom a policy is looked up for."""

    organisation_id: str
    principal_id: str | None = None
    project_id: str | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One place where a policy is set, and what came of it."""

    scope_type: str
    """One of PolicyScope, or `default`."""
    scope_id: str | None = None
    value: Any
    is_locked: bool = False
    is_decisive: bool = False
    note: str


@dataclass(frozen=True, slots=True)
class Effective(Generic[T]):
    """The value in force and where it comes from, broadest place first."""

    value: T
    steps: tuple[Step, ...]


class Policies:
    """Looks policies up, in memory."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def value(self, policy: Policy[T], subject: Subject) -> T:
        """Return the value that is in force."""
        value = policy.default
        for found in self._cascade(policy.key, subject):
            value = policy.merge([one.value for _, one in found.counting])
            if found.is_locked:
                break
        return value

    def explain(self, policy: Policy[T], subject: Subject) -> Effective[T]:
        """Return the value that is in force and every place that has one."""
        levels = list(self._cascade(policy.key, subject))
        winner = next((level for level in levels if level.is_locked), levels[-1] if levels else None)
        steps = [
            Step(
                scope_type="default",
                value=policy.default,
                is_decisive=winner is None,
                note="What holds where nothing is set.",
            )
        ]
        is_locked = False
        for level in levels:
            steps += level.steps(is_decisive=level is winner, is_outdone=is_locked)
            is_locked = is_locked or level.is_locked
        return Effective(self.value(policy, subject), tuple(steps))

    def _cascade(self, key: str, subject: Subject) -> Iterator["_Level"]:
        """Yield the kinds of places that have a value, broadest first."""
        for places in _places(self._directory, subject):
            found = [
                ((scope_type, scope_id), setting)
                for scope_type, scope_id in places
                if (setting := self._directory.policy(subject.organisation_id, scope_type, scope_id, key)) is not None
            ]
            if found:
                yield _Level(found)


class _Level:
    """What is set at one kind of place: one value, or several for the groups of a user."""

    def __init__(self, found: list[tuple[tuple[str, str], Setting]]) -> None:
        locked = [(place, setting) for place, setting in found if setting.is_locked]
        self.found = found
        self.counting = locked or found
        self.is_locked = bool(locked)

    def steps(self, *, is_decisive: bool, is_outdone: bool) -> Iterator[Step]:
        """Yield what is set there, in words."""
        for place, setting in self.found:
            counts = (place, setting) in self.counting
            yield Step(
                scope_type=place[0],
                scope_id=place[1],
                value=setting.value,
                is_locked=setting.is_locked,
                is_decisive=is_decisive and counts,
                note=self._note(is_decisive=is_decisive, is_outdone=is_outdone, counts=counts),
            )

    def _note(self, *, is_decisive: bool, is_outdone: bool, counts: bool) -> str:
        if is_outdone:
            return "Does not count: a broader value is locked."
        if not counts:
            return "Does not count: another group's value is locked."
        if not is_decisive:
            return "Does not count: a nearer value is set."
        several = " The most generous of the groups' values is taken." if len(self.counting) > 1 else ""
        return ("Locked: nothing nearer counts." if self.is_locked else "The nearest value.") + several


def _places(directory: Directory, subject: Subject) -> Iterator[list[tuple[str, str]]]:
    yield [(PolicyScope.ORGANISATION, subject.organisation_id)]
    if subject.principal_id is not None:
        yield [(PolicyScope.GROUP, group_id) for group_id in directory.groups_of(subject.principal_id)]
    if subject.project_id is not None:
        yield [(PolicyScope.PROJECT, subject.project_id)]
    if subject.principal_id is not None:
        yield [(PolicyScope.USER, subject.principal_id)]
