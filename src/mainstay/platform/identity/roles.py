"""The built-in roles: what each may do. An organisation adds its own."""

from collections.abc import Mapping
from dataclasses import dataclass

from mainstay.platform.identity.actions import Action

_NOBODYS = frozenset({Action.PUBLIC, Action.SELF, Action.PROVISION, Action.CREATE_ORGANISATIONS, Action.READ_METRICS})
"""What no role can give: everyone has it, or only the operator or a SCIM token."""

GIVABLE = frozenset(Action) - _NOBODYS
"""What a role may hold."""

_USE = frozenset({Action.CALL_MODEL, Action.READ_MODELS})
_LOOK = frozenset(
    {
        Action.READ_ORGANISATION,
        Action.READ_PROJECTS,
        Action.READ_USERS,
        Action.READ_GROUPS,
        Action.READ_SERVICE_ACCOUNTS,
        Action.READ_ROLES,
        Action.READ_BINDINGS,
        Action.READ_GRANTS,
        Action.READ_POLICIES,
        Action.READ_LIMITS,
        Action.READ_DEPLOYMENTS,
    }
)
_SECURITY = frozenset(
    {
        Action.READ_IDENTITY_PROVIDERS,
        Action.WRITE_IDENTITY_PROVIDERS,
        Action.READ_SESSIONS,
        Action.WRITE_SESSIONS,
        Action.READ_AUDIT,
        Action.EXPORT_AUDIT,
        Action.CONFIGURE_AUDIT,
        Action.READ_KEYS,
        Action.EXPLAIN_ACCESS,
    }
)


@dataclass(frozen=True, slots=True)
class BuiltInRole:
    """A role that every organisation has."""

    id: str
    name: str
    description: str
    actions: frozenset[Action]


def _role(name: str, description: str, actions: frozenset[Action]) -> BuiltInRole:
    return BuiltInRole("role_" + name.lower().replace(" ", "_"), name, description, actions)


OWNER = _role(
    "Owner", "Everything but other people's content; only owners make owners.", GIVABLE - {Action.READ_CONTENT}
)
ADMIN = _role(
    "Admin",
    "People, projects, keys, roles, models and budgets; not sign-in, not the audit log's destinations.",
    GIVABLE
    - {
        Action.READ_CONTENT,
        Action.WRITE_IDENTITY_PROVIDERS,
        Action.CONFIGURE_AUDIT,
        Action.EXPORT_AUDIT,
    },
)
SECURITY_ADMIN = _role(
    "Security admin",
    "Sign-in, sessions, users' access, policies and the audit log; calls no models.",
    _LOOK | _SECURITY | {Action.WRITE_KEYS, Action.WRITE_POLICIES, Action.WRITE_USERS, Action.WRITE_GROUPS},
)
COMPLIANCE_OFFICER = _role(
    "Compliance officer",
    "Reads the audit log and, with a reason that is written down, other people's content.",
    _LOOK | {Action.READ_AUDIT, Action.EXPORT_AUDIT, Action.READ_CONTENT, Action.READ_USAGE, Action.EXPLAIN_ACCESS},
)
ANALYST = _role("Analyst", "Reads usage and cost.", frozenset({Action.READ_USAGE, Action.READ_PROJECTS}))
BUILDER = _role(
    "Builder",
    "Uses models, and makes the deployments, service accounts and keys of projects.",
    _USE
    | {
        Action.READ_PROJECTS,
        Action.READ_USAGE,
        Action.READ_DEPLOYMENTS,
        Action.WRITE_DEPLOYMENTS,
        Action.READ_PROVIDERS,
        Action.READ_SERVICE_ACCOUNTS,
        Action.WRITE_SERVICE_ACCOUNTS,
        Action.READ_KEYS,
        Action.WRITE_KEYS,
        Action.READ_LIMITS,
    },
)
MEMBER = _role("Member", "Uses models.", _USE)
GUEST = _role("Guest", "Signs in; uses only what is shared with it.", frozenset({Action.READ_MODELS}))

BUILT_IN: Mapping[str, BuiltInRole] = {
    role.id: role for role in (OWNER, ADMIN, SECURITY_ADMIN, COMPLIANCE_OFFICER, ANALYST, BUILDER, MEMBER, GUEST)
}
