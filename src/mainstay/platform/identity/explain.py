"""Why someone may do something, or may not: every step of the decision, in words.

The decision itself is `Authority`'s; the steps are gathered from the same directory, and say which of them decides.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from mainstay.kit.clock import Clock
from mainstay.kit.errors import NotFoundError, PermissionDeniedError
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.authorize import SOMEWHERE, Authority, Resource, subject_of
from mainstay.platform.identity.caller import Caller, Scope
from mainstay.platform.identity.directory import EVERYONE, Binding, Grant
from mainstay.platform.identity.grant_levels import LEVELS, Level
from mainstay.platform.identity.policies import DEPLOYMENTS_ALLOWED, Step
from mainstay.platform.identity.standing import IN_PROJECT, LIMIT_OF_SCOPE


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. `effect` is allows, refuses or nothing."""

    kind: str
    """credential, account, role, ownership, grant or policy."""
    effect: str
    text: str
    principal_id: str | None = None
    role_id: str | None = None
    path: tuple[str, ...] = ()
    """From the principal over its groups to the one that was given the right."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Whether it is allowed, and why."""

    is_allowed: bool
    answer: str
    reasons: tuple[Reason, ...]
    policy: tuple[Step, ...] = ()
    """How the policy on deployments came about, where the question is about one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """May `caller` do `action`, to `resource` if there is one? For a call of a model, `deployment` is its name."""

    caller: Caller
    action: Action
    resource: Resource | None = None
    deployment: str | None = None


ALLOWS, REFUSES, NOTHING = "allows", "refuses", "nothing"


class Explainer:
    """Explains decisions."""

    def __init__(self, authority: Authority, clock: Clock) -> None:
        self._authority = authority
        self._directory = authority.directory
        self._clock = clock

    def explain(self, question: Question) -> Explanation:
        """Return the decision and all that was looked at for it."""
        refusal = self._refusal(question)
        reasons = [*self._credential(question), *self._account(question)]
        reasons += [*self._roles(question), *self._ownership(question), *self._grants(question)]
        steps: tuple[Step, ...] = ()
        if question.deployment is not None:
            steps = self._authority.policies.explain(DEPLOYMENTS_ALLOWED, subject_of(question.caller)).steps
            reasons += self._deployment(question.caller, question.deployment)
        answer = refusal or f"Yes: {self._decisive(reasons)}"
        return Explanation(is_allowed=refusal is None, answer=answer, reasons=tuple(reasons), policy=steps)

    def _refusal(self, question: Question) -> str | None:
        try:
            self._authority.authorize(question.caller, question.action, question.resource)
        except (PermissionDeniedError, NotFoundError) as error:
            return f"No: {error.message}"
        deployment = question.deployment
        if deployment is not None and not self._authority.may_use(question.caller, deployment):
            return f"No: the deployment '{deployment}' may not be used, by its policy or for want of a grant on it."
        return None

    def _decisive(self, reasons: list[Reason]) -> str:
        texts = [reason.text for reason in reasons if reason.effect == ALLOWS]
        return texts[0] if texts else "everyone may."

    def _credential(self, question: Question) -> Iterator[Reason]:
        caller, action = question.caller, question.action
        scopes = ", ".join(sorted(caller.scopes))
        if caller.principal_id is None or Scope.OPERATOR in caller.scopes:
            may = self._authority.may(caller, action, question.resource)
            whose = "the server's operator's" if Scope.OPERATOR in caller.scopes else "nobody's, but the project's"
            yield Reason(
                kind="credential",
                effect=ALLOWS if may else REFUSES,
                text=f"The credential is {whose}: what it is for ({scopes}) {_gives(may)} '{action}'.",
            )
        elif action in {Action.SELF, Action.PUBLIC}:
            yield Reason(kind="credential", effect=ALLOWS, text="Everyone may.")
        elif not any(action in LIMIT_OF_SCOPE.get(scope, ()) for scope in caller.scopes):
            yield Reason(
                kind="credential",
                effect=REFUSES,
                text=f"What the credential is for ({scopes}) does not cover '{action}', whatever its owner may do.",
            )

    def _account(self, question: Question) -> Iterator[Reason]:
        caller = question.caller
        refusal = self._authority.standing(caller).refusal
        if refusal is not None:
            yield Reason(kind="account", effect=REFUSES, text=refusal, principal_id=caller.principal_id)
        elif (
            question.action is Action.CALL_MODEL
            and caller.principal_id is not None
            and self._directory.project_is_open(caller.organisation_id, caller.project_id) is False
        ):
            yield Reason(kind="account", effect=REFUSES, text=f"The project '{caller.project_id}' is archived.")

    def _roles(self, question: Question) -> Iterator[Reason]:
        principal_id = question.caller.principal_id
        if principal_id is None:
            return
        for path in self._paths(principal_id):
            for binding in self._directory.bindings_of(path[-1]):
                yield self._role(question, path, binding)

    def _role(self, question: Question, path: tuple[str, ...], binding: Binding) -> Reason:
        role = self._directory.role(question.caller.organisation_id, binding.role_id)
        holds = role is not None and question.action in role.actions
        fits = self._fits(question, binding)
        is_over = binding.expires_at is not None and binding.expires_at <= self._clock.wall()
        where = "in the whole organisation" if binding.project_id is None else f"in the project '{binding.project_id}'"
        name = role.name if role else binding.role_id
        text = f"The role '{name}' {where} {_gives(holds)} '{question.action}'"
        if is_over:
            text += f"; it ended {_date(binding.expires_at)}"
        elif holds and not fits:
            text += ", but that is not where it is asked for"
        return Reason(
            kind="role",
            effect=ALLOWS if holds and fits and not is_over else NOTHING,
            text=f"{text}.{_through(path)}",
            principal_id=path[-1],
            role_id=binding.role_id,
            path=path,
        )

    def _fits(self, question: Question, binding: Binding) -> bool:
        """Whether the binding holds where it is asked for."""
        resource = question.resource
        if binding.project_id is None or resource is SOMEWHERE:
            return True
        if resource is None:
            return question.action in IN_PROJECT and binding.project_id == question.caller.project_id
        return binding.project_id == resource.project_id

    def _ownership(self, question: Question) -> Iterator[Reason]:
        resource, principal_id = question.resource, question.caller.principal_id
        if resource is None or principal_id is None or resource.owner_id != principal_id:
            return
        holds = question.action in LEVELS.get(resource.type, {}).get(Level.OWNER, ())
        yield Reason(
            kind="ownership",
            effect=ALLOWS if holds else NOTHING,
            text=f"The {resource.type} is its own, which {_gives(holds)} '{question.action}'.",
        )

    def _grants(self, question: Question) -> Iterator[Reason]:
        caller = question.caller
        if caller.principal_id is None:
            return
        paths = {path[-1]: path for path in reversed(self._paths(caller.principal_id))} | {EVERYONE: ()}
        for place in self._places(question, paths):
            for grant in self._directory.grants_on(place):
                path = paths.get(grant.principal_id)
                if path is not None and grant.organisation_id == caller.organisation_id:
                    yield self._grant(question, place, grant, path)

    def _grant(self, question: Question, place: str, grant: Grant, path: tuple[str, ...]) -> Reason:
        type_, _, id_ = place.partition(":")
        if question.resource is not None:
            kind = question.resource.type
        else:
            kind = "deployment" if type_ == "organisation" else type_
        counts = question.resource is not None or question.action in IN_PROJECT
        holds = question.action in LEVELS.get(kind, {}).get(grant.level, ())
        is_over = grant.expires_at is not None and grant.expires_at <= self._clock.wall()
        text = f"'{grant.level}' of the {type_} '{id_}' is granted"
        text += " to everyone" if grant.principal_id == EVERYONE else ""
        text += f" and {_gives(holds)} '{question.action}'"
        if is_over:
            text += f"; it ended {_date(grant.expires_at)}"
        elif holds and not counts:
            text += " there only"
        return Reason(
            kind="grant",
            effect=ALLOWS if holds and counts and not is_over else NOTHING,
            text=f"{text}.{_through(path)}",
            principal_id=grant.principal_id or None,
            path=path,
        )

    def _places(self, question: Question, principals: Iterable[str]) -> list[str]:
        """Return where a grant could decide, as `type:id`."""
        caller, resource = question.caller, question.resource
        places = [f"organisation:{caller.organisation_id}"]
        if resource is not None:
            places += [f"project:{resource.project_id}"] * (resource.project_id is not None)
            places.append(f"{resource.type}:{resource.id}")
            return list(dict.fromkeys(places))
        places.append(f"project:{caller.project_id}")
        if question.deployment is not None:
            return [*places, f"deployment:{question.deployment}"]
        granted = sorted(place for one in principals for place in self._directory.granted_to(one))
        return list(dict.fromkeys([*places, *(place for place in granted if place.startswith("deployment:"))]))

    def _deployment(self, caller: Caller, deployment: str) -> Iterator[Reason]:
        if caller.deployments is not None:
            listed = deployment in caller.deployments
            yield Reason(
                kind="credential",
                effect=NOTHING if listed else REFUSES,
                text=f"The credential's own list {'has' if listed else 'does not have'} '{deployment}'.",
            )
        if deployment in self._authority.deployments_allowed(caller):
            yield Reason(kind="policy", effect=NOTHING, text=f"No policy forbids '{deployment}'.")
        else:
            yield Reason(kind="policy", effect=REFUSES, text=f"'{deployment}' is in no list that is in force.")

    def _paths(self, principal_id: str) -> list[tuple[str, ...]]:
        """Return the shortest way to each group, the principal itself first."""
        paths: dict[str, tuple[str, ...]] = {principal_id: (principal_id,)}
        counting = set(self._directory.groups_of(principal_id))
        edge = [principal_id]
        while edge:
            nearer, edge = edge, []
            for one in nearer:
                for group_id in self._directory.direct_groups_of(one):
                    if group_id in counting and group_id not in paths:
                        paths[group_id] = (*paths[one], group_id)
                        edge.append(group_id)
        return list(paths.values())


def _gives(holds: bool) -> str:
    return "gives" if holds else "does not give"


def _through(path: tuple[str, ...]) -> str:
    return f" By the group{'s' if len(path) > 2 else ''} {', then '.join(path[1:])}." if len(path) > 1 else ""


def _date(moment: float | None) -> str:
    return "" if moment is None else datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
