"""What a caller may do, worked out from the directory and good until something changes or expires."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf

from mainstay.platform.identity.actions import Action
from mainstay.platform.identity.caller import Caller, Scope
from mainstay.platform.identity.directory import EVERYONE, Directory
from mainstay.platform.identity.organisations import DEFAULT_ORGANISATION_ID
from mainstay.platform.identity.roles import ADMIN, GIVABLE, OWNER

Actions = frozenset[Action]

NOTHING: Actions = frozenset()
IN_PROJECT: Actions = frozenset({Action.CALL_MODEL, Action.READ_MODELS})
"""What a credential does in its own project, so that rights in that project suffice."""
_OPERATOR: Actions = frozenset(Action) - {Action.READ_CONTENT, Action.PROVISION}
_OWN_OF_SCOPE: Mapping[str, Actions] = {
    Scope.INFERENCE: IN_PROJECT | {Action.SELF},
    Scope.ADMIN: ADMIN.actions - {Action.CALL_MODEL} | {Action.SELF},
    Scope.SCIM: frozenset({Action.PROVISION}),
}
"""What a credential that is nobody's may do."""
LIMIT_OF_SCOPE: Mapping[str, Actions] = {
    Scope.INFERENCE: IN_PROJECT | {Action.SELF},
    Scope.ADMIN: GIVABLE - {Action.CALL_MODEL} | {Action.SELF},
}
"""What a credential lets its owner do, if he may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """What role bindings give someone: everywhere in the organisation, and more in some projects."""

    everywhere: Actions
    projects: Mapping[str, Actions]
    is_owner: bool
    until: float
    """Unix time in seconds at which a binding expires."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a caller may do by scopes and roles. Grants on single resources come on top, within `limit`."""

    refusal: str | None
    """Why the caller may do nothing at all, if so."""
    everywhere: Actions = NOTHING
    projects: Mapping[str, Actions]
    limit: Actions = NOTHING
    """What grants may add."""
    names: frozenset[str] = frozenset()
    """The principals whose grants hold for the caller: itself, its groups, everyone."""
    may_give: Actions = NOTHING
    """What the caller may let others do in the whole organisation."""
    may_give_in: Mapping[str, Actions]
    """The same for single projects."""
    is_owner: bool = False
    until: float = inf


def actions_of_scopes(scopes: Iterable[str]) -> Actions:
    """Return what a credential with these scopes, that is nobody's, may do of what can be given."""
    actions = frozenset[Action]().union(*(_OWN_OF_SCOPE.get(scope, NOTHING) for scope in scopes))
    return actions - {Action.SELF}


def roles_of(directory: Directory, organisation_id: str, principal_id: str, now: float) -> Roles:
    """Return what is bound to the principal and to its groups."""
    everywhere: set[Action] = set()
    projects: dict[str, Actions] = {}
    is_owner, until = False, inf
    for holder in (principal_id, *directory.groups_of(principal_id)):
        for binding in directory.bindings_of(holder):
            if binding.expires_at is not None:
                if binding.expires_at <= now:
                    continue
                until = min(until, binding.expires_at)
            role = directory.role(organisation_id, binding.role_id)
            if role is None:
                continue
            if binding.project_id is None:
                everywhere |= role.actions
                is_owner = is_owner or role.id == OWNER.id
            else:
                projects[binding.project_id] = projects.get(binding.project_id, NOTHING) | role.actions
    return Roles(everywhere=frozenset(everywhere), projects=projects, is_owner=is_owner, until=until)


def standing_of(directory: Directory, caller: Caller, now: float) -> Standing:
    """Return what the caller may do."""
    if Scope.OPERATOR in caller.scopes:
        return Standing(
            refusal=None,
            everywhere=_OPERATOR,
            projects={},
            may_give=GIVABLE | {Action.PROVISION},
            may_give_in={},
            is_owner=True,
        )
    refusal = refusal_of(directory, caller)
    if refusal is not None:
        return Standing(refusal=refusal, projects={}, may_give_in={})
    if caller.principal_id is None:
        return _of_project_key(caller)
    return _of_principal(directory, caller, caller.principal_id, now)


def refusal_of(directory: Directory, caller: Caller) -> str | None:
    """Return why the caller may do nothing, whatever his roles say; None if that is not so."""
    if not directory.organisation_is_active(caller.organisation_id):
        return f"The organisation '{caller.organisation_id}' is suspended or does not exist; ask the server's operator."
    if caller.principal_id is None:
        if directory.project_is_open(caller.organisation_id, caller.project_id) is False:
            return f"The project '{caller.project_id}' is archived; use a key of another project."
        return None
    principal = directory.principal(caller.principal_id)
    if principal is None or principal.organisation_id != caller.organisation_id:
        return "The account of this credential does not exist any more; ask an administrator of your organisation."
    if not principal.is_active:
        return "The account of this credential is deactivated; ask an administrator of your organisation."
    return None


def _of_project_key(caller: Caller) -> Standing:
    own = frozenset[Action]().union(*(_OWN_OF_SCOPE.get(scope, NOTHING) for scope in caller.scopes))
    is_admin = Scope.ADMIN in caller.scopes
    if is_admin and caller.organisation_id == DEFAULT_ORGANISATION_ID:
        own |= {Action.READ_METRICS}
    calls = own & {Action.CALL_MODEL} if is_admin else own & IN_PROJECT
    in_project = {caller.project_id: calls} if calls else {}
    # An admin key calls no model, but lets others do so.
    return Standing(
        refusal=None,
        everywhere=own - calls,
        projects=in_project,
        may_give=(ADMIN.actions if is_admin else own - calls) & GIVABLE,
        may_give_in=in_project,
    )


def _of_principal(directory: Directory, caller: Caller, principal_id: str, now: float) -> Standing:
    roles = roles_of(directory, caller.organisation_id, principal_id, now)
    limit = frozenset[Action]().union(*(LIMIT_OF_SCOPE.get(scope, NOTHING) for scope in caller.scopes))
    gives = limit | {Action.CALL_MODEL} if Scope.ADMIN in caller.scopes else limit
    is_owner = roles.is_owner and Scope.ADMIN in caller.scopes
    may_give = roles.everywhere & gives
    if Action.WRITE_IDENTITY_PROVIDERS in may_give:
        may_give |= {Action.PROVISION}
    if is_owner:
        # Owners appoint those who may read content, and cannot read it themselves: both stand in the audit log.
        may_give |= {Action.READ_CONTENT}
    may = roles.everywhere & limit | (limit & {Action.SELF})
    projects = {project_id: actions & limit for project_id, actions in roles.projects.items()}
    if directory.project_is_open(caller.organisation_id, caller.project_id) is False:
        may -= {Action.CALL_MODEL}
        limit -= {Action.CALL_MODEL}
        projects = {project_id: actions - {Action.CALL_MODEL} for project_id, actions in projects.items()}
    return Standing(
        refusal=None,
        everywhere=may,
        projects=projects,
        limit=limit,
        names=frozenset({principal_id, EVERYONE, *directory.groups_of(principal_id)}),
        may_give=may_give,
        may_give_in={project_id: actions & gives for project_id, actions in roles.projects.items()},
        is_owner=is_owner,
        until=roles.until,
    )
