"""What `mainstay admin` can do: an area for each kind of thing, with the routes behind its commands."""

from mainstay.cli.admin.areas_of_models import MODEL_AREAS
from mainstay.cli.admin.building import (
    DESCRIPTION,
    EXPIRES,
    NAME,
    RENAMED,
    ROOT,
    change,
    create,
    delete,
    list_of,
    show,
)
from mainstay.cli.admin.verbs import Area, Field, Kind, Verb

_STATUS = Field("status", "Whether it may do anything.", choices=("active", "deactivated"))
_LEVELS = ("viewer", "editor", "owner")
_POLICY_SCOPES = ("organisation", "group", "project", "user")
_NEW_KEY = (
    NAME,
    Field("project_id", "The project; without it, the default one."),
    Field("scopes", "inference, admin or scim; inference without it.", Kind.NAMES),
    Field("deployments", "The only deployments that it is good for.", Kind.NAMES),
    Field("networks", "The only networks that it is good from, such as 10.0.0.0/8.", Kind.NAMES),
    Field("requests_per_minute", "Requests per minute.", Kind.NUMBER),
    Field("tokens_per_minute", "Tokens per minute.", Kind.NUMBER),
    EXPIRES,
)
_ROTATION = (
    Field("overlap_seconds", "How long the old one stays good; a day without it.", Kind.NUMBER),
    EXPIRES,
)


_ORGANISATIONS = Area(
    "organisations",
    "Tenants of this installation; making one is the machine owner's.",
    (
        list_of("/organisations", "all organisations", ("id", "name", "status", "created_at")),
        create(
            "/organisations",
            "an organisation with a first project",
            NAME,
            Field("owner", 'Its first owner: {"email": ..., "name": ...}.', Kind.JSON),
        ),
        show("/organisations/{organisation}", "an organisation"),
        change(
            "/organisations/{organisation}",
            "an organisation",
            RENAMED,
            Field("status", "Nobody of a suspended one gets in.", choices=("active", "suspended")),
        ),
    ),
)
_ORGANISATION = Area(
    "organisation",
    "Your own organisation.",
    (show("/organisation", "your organisation"), change("/organisation", "your organisation", RENAMED)),
)
_PROJECTS = Area(
    "projects",
    "What keys, service accounts and usage belong to.",
    (
        list_of(
            "/projects",
            "projects",
            ("id", "name", "is_archived", "created_at"),
            Field("archived", "true for those that are archived."),
        ),
        create("/projects", "a project", NAME, DESCRIPTION),
        show("/projects/{project}", "a project"),
        change(
            "/projects/{project}",
            "a project",
            RENAMED,
            DESCRIPTION,
            Field("is_archived", "true archives it: its keys are refused. false restores it.", Kind.SWITCH),
        ),
        Verb(
            name="bindings",
            method="GET",
            path=ROOT + "/projects/{project}/bindings",
            help="List who has which role in a project.",
            columns=("id", "principal_id", "role_id", "expires_at"),
        ),
    ),
)
_USERS = Area(
    "users",
    "People.",
    (
        list_of(
            "/users",
            "users",
            ("id", "email", "name", "status", "last_active_at"),
            Field("search", "Part of a name or address."),
            Field("email", "An address."),
            _STATUS,
            Field("project", "Those with a role in a project."),
        ),
        create(
            "/users",
            "a user",
            Field("email", "The mail address.", is_required=True),
            NAME,
            Field("role", "A role in the whole organisation, such as role_member."),
        ),
        show("/users/{user}", "a user"),
        change("/users/{user}", "a user", Field("email", "The mail address."), RENAMED, _STATUS),
        delete("/users/{user}", "a user and all that the user was given"),
        Verb(
            name="sign-in-link",
            method="POST",
            path=ROOT + "/users/{user}/sign_in_links",
            help="Make a link that signs a user in once.",
            once="url",
        ),
        delete("/users/{user}/sessions", "", name="sign-out", help="End every session of a user."),
    ),
)
_GROUPS = Area(
    "groups",
    "Users, service accounts and other groups, taken together.",
    (
        list_of(
            "/groups",
            "groups",
            ("id", "name", "source", "created_at"),
            Field("name", "A name."),
            Field("member", "Those that name someone as a member."),
        ),
        create("/groups", "a group", NAME),
        show("/groups/{group}", "a group"),
        change("/groups/{group}", "a group", RENAMED),
        delete("/groups/{group}", "a group; its members stay"),
        Verb(
            name="members",
            method="GET",
            path=ROOT + "/groups/{group}/members",
            help="List the members of a group.",
            columns=("id", "type", "name", "email", "status"),
        ),
        Verb(
            name="add",
            method="POST",
            path=ROOT + "/groups/{group}/members",
            help="Put members into a group.",
            fields=(Field("member_ids", "Ids of users, service accounts or groups.", Kind.NAMES, is_required=True),),
        ),
        delete("/groups/{group}/members/{member}", "", name="remove", help="Take a member out of a group."),
    ),
)
_SERVICE_ACCOUNTS = Area(
    "service-accounts",
    "Programs that call models, each in a project.",
    (
        list_of(
            "/service_accounts",
            "service accounts",
            ("id", "name", "project_id", "status"),
            Field("project", "Those of a project."),
        ),
        create(
            "/service_accounts",
            "a service account",
            NAME,
            Field("project_id", "Its project.", is_required=True),
            DESCRIPTION,
            Field("role", "Its role in the project; role_member without it."),
        ),
        show("/service_accounts/{service_account}", "a service account"),
        change("/service_accounts/{service_account}", "a service account", RENAMED, DESCRIPTION, _STATUS),
        delete("/service_accounts/{service_account}", "a service account and its keys"),
    ),
)
_KEYS = Area(
    "keys",
    "API keys of everyone.",
    (
        list_of(
            "/keys",
            "keys",
            ("id", "name", "hint", "project_id", "principal_id", "scopes", "expires_at", "last_used_at", "revoked_at"),
            Field("project", "Those of a project."),
            Field("principal", "Those of a user or service account."),
            Field("scope", "Those with a scope."),
            Field("revoked", "true or false."),
        ),
        create(
            "/keys",
            "a key",
            *_NEW_KEY,
            Field("principal_id", "The user or service account it acts as."),
            once="value",
            thing="Key",
        ),
        show("/keys/{key}", "a key"),
        change(
            "/keys/{key}",
            "a key",
            RENAMED,
            *(field for field in _NEW_KEY if field.name not in {"name", "project_id", "scopes"}),
        ),
        delete("/keys/{key}", "", name="revoke", help="Revoke a key, for good."),
        Verb(
            name="rotate",
            method="POST",
            path=ROOT + "/keys/{key}/rotate",
            help="Make a key that replaces this one, which stays good for a while.",
            fields=_ROTATION,
            once="value",
            thing="Key",
        ),
    ),
)
_MY_KEYS = Area(
    "my-keys",
    "API keys of your own.",
    (
        list_of("/my/keys", "your keys", ("id", "name", "hint", "project_id", "scopes", "expires_at", "last_used_at")),
        create("/my/keys", "a key of your own", *_NEW_KEY, once="value", thing="Key"),
        show("/my/keys/{key}", "one of your keys"),
        delete("/my/keys/{key}", "", name="revoke", help="Revoke one of your keys, for good."),
        Verb(
            name="rotate",
            method="POST",
            path=ROOT + "/my/keys/{key}/rotate",
            help="Replace one of your keys; the old one stays good for a while.",
            fields=_ROTATION,
            once="value",
            thing="Key",
        ),
    ),
)
_ROLES = Area(
    "roles",
    "What someone may do: built in, and your own.",
    (
        list_of("/roles", "roles", ("id", "name", "description")),
        create(
            "/roles",
            "a role",
            NAME,
            Field("actions", "What it may do, such as users:read,users:write.", Kind.NAMES, is_required=True),
            DESCRIPTION,
        ),
        show("/roles/{role}", "a role"),
        change("/roles/{role}", "a role", RENAMED, Field("actions", "What it may do.", Kind.NAMES), DESCRIPTION),
        delete("/roles/{role}", "a role that nobody has"),
    ),
)
_BINDINGS = Area(
    "bindings",
    "Who has which role, in the organisation or one project.",
    (
        list_of(
            "/bindings",
            "role bindings",
            ("id", "principal_id", "role_id", "project_id", "expires_at"),
            Field("principal", "Those of someone."),
            Field("role", "Those of a role."),
            Field("project", "Those in a project."),
        ),
        create(
            "/bindings",
            "a role binding",
            Field("principal_id", "A user, group or service account.", is_required=True),
            Field("role_id", "The role.", is_required=True),
            Field("project_id", "In this project alone."),
            EXPIRES,
        ),
        show("/bindings/{binding}", "a role binding"),
        change("/bindings/{binding}", "until when a role is had", EXPIRES),
        delete("/bindings/{binding}", "", name="delete", help="Take a role away."),
    ),
)
_GRANTS = Area(
    "grants",
    "Who may view, edit or own one resource.",
    (
        list_of(
            "/grants",
            "grants",
            ("id", "resource_type", "resource_id", "principal_id", "level", "expires_at"),
            Field("resource_type", "The kind of resource."),
            Field("resource_id", "The resource."),
            Field("principal", "Those of someone."),
        ),
        create(
            "/grants",
            "a grant",
            Field("resource_type", "deployment, project or organisation.", is_required=True),
            Field("resource_id", "The resource.", is_required=True),
            Field("principal_id", "A user, group or service account, or everyone.", is_required=True),
            Field("level", "How much.", is_required=True, choices=_LEVELS),
            EXPIRES,
        ),
        show("/grants/{grant}", "a grant"),
        change("/grants/{grant}", "a grant", Field("level", "How much.", choices=_LEVELS), EXPIRES),
        delete("/grants/{grant}", "", name="delete", help="Take a grant back."),
    ),
)
_POLICIES = Area(
    "policies",
    "Rules that cascade: organisation, group, project, user.",
    (
        list_of(
            "/policies",
            "policies that are set",
            ("id", "scope_type", "scope_id", "key", "value", "is_locked"),
            Field("scope_type", "Where.", choices=_POLICY_SCOPES),
            Field("scope_id", "Which one."),
            Field("key", "Which policy."),
        ),
        Verb(
            name="known",
            method="GET",
            path=ROOT + "/policies/known",
            help="List the policies that can be set, and what they mean.",
            columns=("id", "takes", "default", "description"),
            is_paged=False,
        ),
        Verb(
            name="effective",
            method="GET",
            path=ROOT + "/policies/effective",
            help="Show what is in force for someone, and why.",
            filters=(
                Field("principal", "A user or service account.", is_required=True),
                Field("project", "In this project."),
                Field("key", "Only this policy."),
            ),
        ),
        Verb(
            name="create",
            method="POST",
            path=ROOT + "/policies",
            help="Set a policy.",
            fields=(
                Field("scope_type", "Where.", is_required=True, choices=_POLICY_SCOPES),
                Field("scope_id", "Which one.", is_required=True),
                Field("key", "Which policy; see `known`.", is_required=True),
                Field("value", "Its value.", Kind.JSON, is_required=True),
                Field("is_locked", "true: nothing narrower may differ.", Kind.SWITCH),
            ),
        ),
        show("/policies/{policy}", "a policy"),
        change(
            "/policies/{policy}",
            "a policy",
            Field("value", "Its value.", Kind.JSON),
            Field("is_locked", "true: nothing narrower may differ.", Kind.SWITCH),
        ),
        delete("/policies/{policy}", "", name="delete", help="Set a policy no longer there."),
    ),
)
_SESSIONS = Area(
    "sessions",
    "Who is signed in.",
    (
        list_of(
            "/sessions",
            "sessions",
            ("id", "user_id", "method", "created_at", "last_seen_at", "address"),
            Field("user", "Those of a user."),
            Field("open", "false shows those that have ended too."),
        ),
        show("/sessions/{session}", "a session"),
        delete("/sessions/{session}", "", name="end", help="End a session and what is being answered to it."),
    ),
)

AREAS = (
    _ORGANISATIONS,
    _ORGANISATION,
    _PROJECTS,
    _USERS,
    _GROUPS,
    _SERVICE_ACCOUNTS,
    _KEYS,
    _MY_KEYS,
    _ROLES,
    _BINDINGS,
    _GRANTS,
    _POLICIES,
    _SESSIONS,
    *MODEL_AREAS,
)
