"""The one choke point: may this caller do this, to that?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import translate
from math import inf
from re import compile as compile_pattern

from mainstay.kit.clock import Clock
from mainstay.kit.errors import NotFoundError, PermissionDeniedError
from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.caller import Caller, Scope
from mainstay.platform.identity.directory import Directory
from mainstay.platform.identity.grant_levels import LEVELS, RANK, Level, actions_granted
from mainstay.platform.identity.policies import (
    DEPLOYMENTS_ALLOWED,
    ITEM_LENGTH_MAX,
    PROMPTS_LOGGED,
    Policies,
    Subject,
)
from mainstay.platform.identity.standing import IN_PROJECT, NOTHING, Actions, Roles, Standing, roles_of, standing_of

_CALLERS_MAX = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Something that is acted on. It is always in the caller's organisation: stores find nothing elsewhere."""

    type: str
    id: str
    project_id: str | None = None
    """The project that it is in, whose bindings and grants hold for it too."""
    owner_id: str | None = None
    """The principal who made it and may do anything to it."""


SOMEWHERE = Resource(type="", id="")
"""For lists that show only what the caller may see: whoever may do it to anything at all may ask for the list."""


class AllowedDeployments:
    """The deployments that a caller may call: `name in allowed`."""

    def __init__(self, own: frozenset[str] | None, policy: Sequence[str] | None) -> None:
        """`own` is the credential's own list; in that of the policy, `*` stands for any characters."""
        self._own = own
        self._names = None if policy is None else frozenset(policy)
        patterns = [name for name in policy or () if "*" in name]
        self._matches = compile_pattern("|".join(map(_pattern, patterns))).match if patterns else None

    @property
    def is_everything(self) -> bool:
        """Whether there is no limit."""
        return self._own is None and self._names is None

    def __contains__(self, name: str) -> bool:
        if self._own is not None and name not in self._own:
            return False
        if self._names is None or name in self._names:
            return True
        return self._matches is not None and len(name) <= ITEM_LENGTH_MAX and self._matches(name) is not None


def _pattern(name: str) -> str:
    """Return the expression; those of fnmatch do not backtrack over a star, however many there are (Python 3.11)."""
    return translate(name.replace("[", "[[]").replace("?", "[?]"))


class _Known:
    """What has been worked out for one caller."""

    __slots__ = ("allowed", "caller", "standing")

    def __init__(self, caller: Caller, standing: Standing) -> None:
        self.caller = caller
        self.standing = standing
        self.allowed: AllowedDeployments | None = None


class Authority:
    """Decides from memory; nothing here waits. What it knows of a caller is good until the directory changes."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self.directory = directory
        self.policies = Policies(directory)
        self._clock = clock
        self._generation = -1
        self._callers: dict[int, _Known] = {}

    def authorize(self, caller: Caller, action: Action, resource: Resource | None = None) -> None:
        """Raise PermissionDeniedError unless the caller may do it, or NotFoundError for what it may not know of."""
        if action is Action.PUBLIC:
            return
        standing = self._known(caller).standing
        if standing.refusal is not None:
            raise PermissionDeniedError(standing.refusal)
        project_id = None if resource is None else resource.project_id
        if project_id is not None and self.directory.project_is_foreign(caller.organisation_id, project_id):
            raise NotFoundError(f"There is no project '{project_id}'.")
        if action in standing.everywhere or self._may(standing, caller, action, resource):
            return
        raise PermissionDeniedError(
            f"This credential may not do '{action}'{_on(resource)}. An administrator can see why at /admin/v1/why."
        )

    def may(self, caller: Caller, action: Action, resource: Resource | None = None) -> bool:
        """Whether `authorize` would let the caller."""
        try:
            self.authorize(caller, action, resource)
        except (PermissionDeniedError, NotFoundError):
            return False
        return True

    def may_use(self, caller: Caller, deployment: str) -> bool:
        """Whether the caller may call `deployment`: by its role or a grant, and by every list that limits it."""
        known = self._known(caller)
        if deployment not in self._allowed(known):
            return False
        standing = known.standing
        if Action.CALL_MODEL in standing.everywhere or self._may_in_own_project(standing, caller, Action.CALL_MODEL):
            return True
        return Action.CALL_MODEL in self._granted(standing, caller, Resource(type="deployment", id=deployment))

    def deployments_allowed(self, caller: Caller) -> AllowedDeployments:
        """Return what the credential's own list and the policies leave of the deployments."""
        return self._allowed(self._known(caller))

    def may_log_prompts(self, caller: Caller) -> bool:
        """Whether the caller's organisation lets the bodies of its calls be logged, where the settings ask for it."""
        return self.policies.value(PROMPTS_LOGGED, subject_of(caller))

    def actions_of(self, caller: Caller, resource: Resource | None = None) -> Actions:
        """Return everything that the caller may do, in the whole organisation or to one resource."""
        standing = self._known(caller).standing
        if resource is None or resource is SOMEWHERE:
            others = IN_PROJECT if resource is None else frozenset(Action)
            return standing.everywhere | {one for one in others if self._may(standing, caller, one, resource)}
        in_project = standing.projects.get(resource.project_id or "", NOTHING)
        return standing.everywhere | in_project | self._granted(standing, caller, resource)

    def standing(self, caller: Caller) -> Standing:
        """Return what scopes and roles let the caller do."""
        return self._known(caller).standing

    def is_valid(self, caller: Caller) -> bool:
        """Whether the credential is good for anything: not expired, its owner and organisation active."""
        if caller.expires_at is not None and caller.expires_at <= self._clock.wall():
            return False
        return self._known(caller).standing.refusal is None

    def is_owner(self, caller: Caller) -> bool:
        """Whether the caller may make and unmake owners of the organisation."""
        return self._known(caller).standing.is_owner

    def require_owner(self, caller: Caller) -> None:
        """Raise PermissionDeniedError unless the caller may make and unmake owners of the organisation."""
        if not self.is_owner(caller):
            raise PermissionDeniedError("Only owners make, change or remove owners of the organisation.")

    def require_covers(self, caller: Caller, actions: Actions, resource: Resource | None = None) -> None:
        """Raise PermissionDeniedError unless the caller itself may do all that it is about to let others do.

        An administrator's credential that calls no models may yet let others call them, if its owner may.
        """
        known = self._known(caller).standing
        held = known.may_give
        if resource is not None and resource.project_id is not None:
            held |= known.may_give_in.get(resource.project_id, NOTHING)
        if resource is not None:
            held |= self._granted(known, caller, resource)
        missing = sorted(actions - held - {Action.SELF, Action.PUBLIC})
        if missing:
            raise PermissionDeniedError(
                f"You cannot give what you may not do yourself: {', '.join(missing)}. Ask someone who may."
            )

    def require_covers_principal(self, caller: Caller, principal_id: str) -> None:
        """Raise PermissionDeniedError unless the caller may do all that the principal may by its roles and grants.

        For whatever makes the caller able to act as the principal, or someone of his choice do as the principal does:
        members of a group, keys, passwords and sign-in links of others.
        """
        roles = self.roles_of(caller.organisation_id, principal_id)
        if roles.is_owner:
            self.require_owner(caller)
        self.require_covers(caller, roles.everywhere)
        for project_id, actions in roles.projects.items():
            self.require_covers(caller, actions, Resource(type="project", id=project_id, project_id=project_id))
        for resource, actions in self._shared_with(caller.organisation_id, principal_id):
            self.require_covers(caller, actions, resource)

    def _shared_with(self, organisation_id: str, principal_id: str) -> Iterator[tuple[Resource, Actions]]:
        """Yield what is granted to the principal and to its groups, and what that lets them do."""
        now = self._clock.wall()
        for holder in (principal_id, *self.directory.groups_of(principal_id)):
            for name in self.directory.granted_to(holder):
                type_, _, id_ = name.partition(":")
                for grant in self.directory.grants_on(name):
                    is_over = grant.expires_at is not None and grant.expires_at <= now
                    if grant.principal_id == holder and grant.organisation_id == organisation_id and not is_over:
                        project_id = id_ if type_ == "project" else None
                        resource = Resource(type=type_, id=id_, project_id=project_id)
                        yield resource, actions_granted(type_, Level(grant.level))

    def roles_of(self, organisation_id: str, principal_id: str) -> Roles:
        """Return what role bindings give a principal, its groups' included, whatever its status."""
        return roles_of(self.directory, organisation_id, principal_id, self._clock.wall())

    def _may(self, standing: Standing, caller: Caller, action: Action, resource: Resource | None) -> bool:
        if resource is None:
            if action not in IN_PROJECT:
                return False
            in_project = self._may_in_own_project(standing, caller, action)
            return in_project or self._may_somewhere(standing, caller, action, "deployment")
        if resource is SOMEWHERE:
            in_a_project = any(action in actions for actions in standing.projects.values())
            return in_a_project or any(self._may_somewhere(standing, caller, action, type_) for type_ in LEVELS)
        if action in standing.projects.get(resource.project_id or "", NOTHING):
            return True
        return action in self._granted(standing, caller, resource)

    def _may_in_own_project(self, standing: Standing, caller: Caller, action: Action) -> bool:
        if action in standing.projects.get(caller.project_id, NOTHING):
            return True
        project = Resource(type="project", id=caller.project_id, project_id=caller.project_id)
        return action in self._granted(standing, caller, project)

    def _may_somewhere(self, standing: Standing, caller: Caller, action: Action, type_: str) -> bool:
        """Whether a grant on any resource of the type lets the caller."""
        if action not in standing.limit:
            return False
        if self._level(standing, caller.organisation_id, f"organisation:{caller.organisation_id}"):
            return action in self._granted(standing, caller, Resource(type=type_, id=""))
        prefix = type_ + ":"
        return any(
            action in self._granted(standing, caller, Resource(type=type_, id=name.removeprefix(prefix)))
            for principal_id in standing.names
            for name in self.directory.granted_to(principal_id)
            if name.startswith(prefix)
        )

    def _granted(self, standing: Standing, caller: Caller, resource: Resource) -> Actions:
        """Return what grants on the resource and on its project let the caller do to it."""
        levels = LEVELS.get(resource.type)
        if levels is None or not standing.names:
            return NOTHING
        if resource.owner_id is not None and resource.owner_id == caller.principal_id:
            return levels[Level.OWNER] & standing.limit
        places = [f"{resource.type}:{resource.id}", f"organisation:{caller.organisation_id}"]
        if resource.project_id is not None:
            places.append(f"project:{resource.project_id}")
        level = max((self._level(standing, caller.organisation_id, place) for place in places), key=_rank)
        return levels[level] & standing.limit if level else NOTHING

    def _level(self, standing: Standing, organisation_id: str, name: str) -> str:
        """Return the highest level that is granted on `type:id`, or nothing."""
        highest = ""
        for grant in self.directory.grants_on(name):
            if grant.organisation_id != organisation_id or grant.principal_id not in standing.names:
                continue
            if grant.expires_at is not None and grant.expires_at <= self._clock.wall():
                continue
            highest = max(highest, grant.level, key=_rank)
        return highest

    def _known(self, caller: Caller) -> _Known:
        """Return what is known of the caller: identified by the object, which is kept, so that no hash is taken."""
        directory = self.directory
        if self._generation != directory.generation:
            self._callers.clear()
            self._generation = directory.generation
        known = self._callers.get(id(caller))
        if known is not None and (known.standing.until == inf or known.standing.until > self._clock.wall()):
            return known
        if len(self._callers) >= _CALLERS_MAX:
            self._callers.clear()
        known = self._callers[id(caller)] = _Known(caller, standing_of(directory, caller, self._clock.wall()))
        return known

    def _allowed(self, known: _Known) -> AllowedDeployments:
        if known.allowed is None:
            caller = known.caller
            own = caller.deployments
            if Scope.OPERATOR in caller.scopes:
                known.allowed = AllowedDeployments(own, None)
            else:
                known.allowed = AllowedDeployments(own, self.policies.value(DEPLOYMENTS_ALLOWED, subject_of(caller)))
        return known.allowed


def _rank(level: str) -> int:
    return RANK.get(level, 0)


def subject_of(caller: Caller) -> Subject:
    """Return whom policies are looked up for when the caller acts."""
    return Subject(
        organisation_id=caller.organisation_id, principal_id=caller.principal_id, project_id=caller.project_id
    )


def _on(resource: Resource | None) -> str:
    return "" if resource is None or resource is SOMEWHERE else f" on the {resource.type} '{resource.id[:100]}'"
