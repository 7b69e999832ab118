"""The areas of `mainstay admin` around models, money, and how people sign in."""

from mainstay.cli.admin.building import DESCRIPTION, ENABLED, NAME, RENAMED, ROOT, change, create, delete, list_of, show
from mainstay.cli.admin.verbs import Area, Field, Kind, Verb

_SCOPE = Field("scope", "organisation, project, group, user or key, and its id.", Kind.SCOPE, is_required=True)
_SCOPE_FILTERS = (
    Field("scope_type", "Of what.", choices=("organisation", "project", "group", "user", "key")),
    Field("scope_id", "Which one."),
)
_PER_MINUTE = (
    Field("requests_per_minute", "Requests per minute; none is no limit.", Kind.NUMBER),
    Field("tokens_per_minute", "Tokens per minute; none is no limit.", Kind.NUMBER),
)
_BUDGET = (
    Field("tokens", "Tokens in a period; none is no limit.", Kind.NUMBER),
    Field("cost", "Money in a period; none is no limit.", Kind.NUMBER),
    Field("currency", "Of the cost, such as EUR."),
    Field("action", "block refuses calls beyond it, warn only says so.", choices=("block", "warn")),
    Field("warn_at_percent", "When the audit log is told.", Kind.NUMBER),
)
_KINDS = ("openai", "azure")
_PROVIDER = (
    Field("api_key", "The vendor's key; it is never shown again.", Kind.SECRET),
    Field("api_version", "Azure's, such as 2024-10-21."),
    Field("headers", 'Headers to add: {"name": "value"}.', Kind.JSON),
    Field("timeouts", 'Seconds: {"connect_seconds": 10, ...}.', Kind.JSON),
    Field("max_connections", "Most connections of one worker.", Kind.NUMBER),
    ENABLED,
)
_DEPLOYMENT = (
    DESCRIPTION,
    Field("prices", 'What a million tokens cost: {"input_per_million": 2, ...}.', Kind.JSON),
    ENABLED,
)
_TARGETS = 'What may answer: [{"provider": "openai", "model": "gpt-4o"}].'
_ACTIONS = Field("actions", "The actions to send, such as user.,key.created; all without it.", Kind.NAMES)
_IDENTITY_PROVIDER = (
    Field("client_secret", "Its secret; it is never shown again.", Kind.SECRET),
    Field("settings", "Group claim, roles, audiences and the like, as in the guide.", Kind.JSON),
    ENABLED,
)

_PROVIDERS = Area(
    "providers",
    "Vendors' accounts and other servers that models are called at.",
    (
        list_of("/providers", "providers", ("id", "name", "kind", "base_url", "source", "is_enabled")),
        create(
            "/providers",
            "a provider",
            NAME,
            Field("kind", "What it speaks.", is_required=True, choices=_KINDS),
            Field("base_url", "Its address.", is_required=True),
            *_PROVIDER,
        ),
        show("/providers/{provider}", "a provider"),
        change(
            "/providers/{provider}",
            "a provider",
            Field("kind", "What it speaks.", choices=_KINDS),
            Field("base_url", "Its address."),
            *_PROVIDER,
        ),
        delete("/providers/{provider}", "a provider that no deployment uses"),
        Verb(
            name="test",
            method="POST",
            path=ROOT + "/providers/{provider}/test",
            help="Ask a provider for its models, to see whether it answers.",
            fails_unless="is_ok",
        ),
    ),
)
_DEPLOYMENTS = Area(
    "deployments",
    "The names that callers use, and what answers to them.",
    (
        list_of("/deployments", "deployments", ("id", "name", "targets", "source", "is_enabled", "hides")),
        create(
            "/deployments", "a deployment", NAME, Field("targets", _TARGETS, Kind.JSON, is_required=True), *_DEPLOYMENT
        ),
        show("/deployments/{deployment}", "a deployment"),
        change("/deployments/{deployment}", "a deployment", Field("targets", _TARGETS, Kind.JSON), *_DEPLOYMENT),
        delete("/deployments/{deployment}", "a deployment"),
    ),
)
_LIMITS = Area(
    "limits",
    "Requests and tokens per minute.",
    (
        list_of("/limits", "limits", ("id", "scope", "requests_per_minute", "tokens_per_minute"), *_SCOPE_FILTERS),
        create("/limits", "a limit", _SCOPE, *_PER_MINUTE),
        show("/limits/{limit}", "a limit"),
        change("/limits/{limit}", "a limit", *_PER_MINUTE),
        delete("/limits/{limit}", "", help="Lift a limit."),
        Verb(
            name="of-project",
            method="GET",
            path=ROOT + "/projects/{project}/limits",
            help="List the limit of a project.",
            columns=("id", "scope", "requests_per_minute", "tokens_per_minute"),
        ),
    ),
)
_BUDGETS = Area(
    "budgets",
    "Tokens and money per day or month.",
    (
        list_of(
            "/budgets",
            "budgets",
            ("id", "scope", "period", "tokens", "used_tokens", "cost", "used_cost", "action"),
            *_SCOPE_FILTERS,
        ),
        create(
            "/budgets",
            "a budget",
            _SCOPE,
            Field("period", "How often it begins anew.", is_required=True, choices=("day", "month")),
            *_BUDGET,
        ),
        show("/budgets/{budget}", "a budget and what is used of it"),
        change("/budgets/{budget}", "a budget", *_BUDGET),
        delete("/budgets/{budget}", "", help="Take a budget away."),
        Verb(
            name="own",
            method="GET",
            path=ROOT + "/budgets/own",
            help="List the budgets that your own calls count against.",
            columns=("id", "scope", "period", "tokens", "used_tokens", "cost", "used_cost"),
            is_paged=False,
        ),
        Verb(
            name="of-project",
            method="GET",
            path=ROOT + "/projects/{project}/budgets",
            help="List the budgets of a project.",
            columns=("id", "scope", "period", "tokens", "used_tokens", "cost", "used_cost"),
        ),
    ),
)
_IDENTITY_PROVIDERS = Area(
    "identity-providers",
    "Where people sign in with OpenID Connect.",
    (
        list_of("/identity_providers", "identity providers", ("id", "name", "issuer", "is_enabled")),
        create(
            "/identity_providers",
            "an identity provider",
            NAME,
            Field("issuer", "Its issuer, such as https://login.example.org.", is_required=True),
            Field("client_id", "What it knows this server as.", is_required=True),
            *_IDENTITY_PROVIDER,
        ),
        show("/identity_providers/{identity_provider}", "an identity provider"),
        change(
            "/identity_providers/{identity_provider}",
            "an identity provider",
            RENAMED,
            Field("client_id", "What it knows this server as."),
            *_IDENTITY_PROVIDER,
        ),
        delete("/identity_providers/{identity_provider}", "an identity provider"),
        Verb(
            name="test",
            method="POST",
            path=ROOT + "/identity_providers/{identity_provider}/test",
            help="See whether a provider can be reached and used.",
            fails_unless="is_ok",
        ),
        Verb(
            name="identities",
            method="GET",
            path=ROOT + "/identity_providers/{identity_provider}/identities",
            help="List who a provider's subjects are here.",
            columns=("subject", "user_id", "last_seen_at"),
            filters=(Field("user", "Those of a user."),),
        ),
        Verb(
            name="link",
            method="POST",
            path=ROOT + "/identity_providers/{identity_provider}/identities",
            help="Let a subject be a user.",
            fields=(
                Field("subject", "The subject.", is_required=True),
                Field("user_id", "The user.", is_required=True),
            ),
        ),
        delete(
            "/identity_providers/{identity_provider}/identities/{user}",
            "",
            name="unlink",
            help="Let a subject be a user no more, and end the user's sessions.",
        ),
    ),
)
_DOMAINS = Area(
    "domains",
    "Mail domains that are yours.",
    (
        list_of("/domains", "mail domains", ("id", "name", "is_verified", "verified_at")),
        create("/domains", "a mail domain, to be verified", NAME),
        show("/domains/{domain}", "a mail domain and how to verify it"),
        delete("/domains/{domain}", "a mail domain"),
        Verb(
            name="verify",
            method="POST",
            path=ROOT + "/domains/{domain}/verify",
            help="Look for the record in the DNS.",
        ),
        Verb(
            name="attest",
            method="POST",
            path=ROOT + "/domains/{domain}/attest",
            help="Verify a domain on the word of the machine's owner.",
        ),
    ),
)
_AUDIT_WEBHOOKS = Area(
    "audit-webhooks",
    "Where audit events are sent as they happen.",
    (
        list_of(
            "/audit/webhooks", "webhooks", ("id", "name", "url", "is_enabled", "delivered_through", "last_failure")
        ),
        create(
            "/audit/webhooks",
            "a webhook",
            NAME,
            Field("url", "Where to send events.", is_required=True),
            _ACTIONS,
            Field("after_sequence", "Begin after this event; now without it.", Kind.NUMBER),
            once="secret",
            thing="Webhook",
        ),
        show("/audit/webhooks/{webhook}", "a webhook"),
        change(
            "/audit/webhooks/{webhook}", "a webhook", RENAMED, Field("url", "Where to send events."), _ACTIONS, ENABLED
        ),
        delete("/audit/webhooks/{webhook}", "a webhook"),
        Verb(
            name="test",
            method="POST",
            path=ROOT + "/audit/webhooks/{webhook}/test",
            help="Send a message that is only a test.",
            fails_unless="is_delivered",
        ),
        Verb(
            name="new-secret",
            method="POST",
            path=ROOT + "/audit/webhooks/{webhook}/secret",
            help="Give a webhook another secret.",
            once="secret",
            thing="Webhook",
        ),
    ),
)

MODEL_AREAS = (
    _PROVIDERS,
    _DEPLOYMENTS,
    _LIMITS,
    _BUDGETS,
    _IDENTITY_PROVIDERS,
    _DOMAINS,
    _AUDIT_WEBHOOKS,
)
