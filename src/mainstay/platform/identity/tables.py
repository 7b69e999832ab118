"""The tables of identity, as the migrations must leave them. Times are Unix milliseconds, UTC."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

metadata = MetaData()

organisations = Table(
    "organisations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("status", Text, nullable=False, server_default="active"),
    Column("version", BigInteger, nullable=False, server_default="1"),
)

projects = Table(
    "projects",
    metadata,
    Column("organisation_id", Text, ForeignKey("organisations.id"), primary_key=True),
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("archived_at_ms", BigInteger),
    Column("version", BigInteger, nullable=False, server_default="1"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation_id", Text, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    # HMAC-SHA-256 of the key; the key itself is nowhere.
    Column("digest", LargeBinary, nullable=False),
    # Which pepper made the digest, so that a lost or swapped pepper can be named as such.
    Column("pepper_id", Text, nullable=False),
    Column("hint", Text, nullable=False),
    # JSON arrays of text; `deployments` is null when the key is good for all.
    Column("scopes", Text, nullable=False),
    Column("deployments", Text),
    Column("requests_per_minute", BigInteger),
    Column("tokens_per_minute", BigInteger),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger),
    Column("revoked_at_ms", BigInteger),
    # The revision at which this row last changed, so that keyrings read only what is new to them.
    Column("revision", BigInteger, nullable=False),
    # Whose key it is: a user or a service account. Null: the project's own, good for what its scopes say.
    Column("principal_id", Text),
    # JSON array of networks such as "10.0.0.0/8"; null is from anywhere.
    Column("networks", Text),
    Column("created_by", Text),
    # The key that replaces this one, which is then good until it expires.
    Column("rotated_to", Text),
    Column("last_used_at_ms", BigInteger),
    Column("version", BigInteger, nullable=False, server_default="1"),
    ForeignKeyConstraint(["organisation_id", "project_id"], ["projects.organisation_id", "projects.id"]),
    Index("api_keys_by_digest", "digest", unique=True),
    Index("api_keys_by_project", "organisation_id", "project_id", "created_at_ms", "id"),
    Index("api_keys_by_revision", "revision"),
    Index("api_keys_by_principal", "principal_id"),
)

# Counters that go up by one in the transaction of any change to what they name.
revisions = Table(
    "revisions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# What changed, for the views that workers keep in memory; a row for each thing that an act has touched.
changes = Table(
    "changes",
    metadata,
    Column("revision", BigInteger, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("id", Text, primary_key=True),
)

# Everyone and everything that may be given rights: users, groups and service accounts, in one space of ids.
principals = Table(
    "principals",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation_id", Text, ForeignKey("organisations.id"), nullable=False),
    Column("type", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Index("principals_by_organisation", "organisation_id", "type", "id"),
    Index("principals_by_name", "organisation_id", "type", "name"),
)

users = Table(
    "users",
    metadata,
    Column("principal_id", Text, ForeignKey("principals.id", ondelete="CASCADE"), primary_key=True),
    Column("organisation_id", Text, nullable=False),
    Column("email", Text, nullable=False),
    # Case-folded NFKC: what must be unique.
    Column("email_normal", Text, nullable=False),
    # Name and address in one, as `names.search_text` makes it.
    Column("search_text", Text, nullable=False),
    # As the organisation's directory knows the user, case-folded; unique where it is set.
    Column("user_name", Text),
    Column("external_id", Text),
    # What SCIM was told and Mainstay has no column for, as JSON.
    Column("attributes", Text, nullable=False, server_default="{}"),
    Column("password_hash", Text),
    Column("failed_attempts", Integer, nullable=False, server_default="0"),
    Column("locked_until_ms", BigInteger),
    Column("last_active_at_ms", BigInteger),
    # What tells users apart comes first, so that PostgreSQL takes these indexes before it has statistics.
    Index("users_by_email", "email_normal", "organisation_id", unique=True),
    # What is searched, in the order in which lists are cut.
    Index("users_by_id", "organisation_id", "principal_id", "search_text"),
    Index("users_by_user_name", "user_name", "organisation_id", unique=True),
    Index("users_by_external_id", "external_id", "organisation_id"),
)

service_accounts = Table(
    "service_accounts",
    metadata,
    Column("principal_id", Text, ForeignKey("principals.id", ondelete="CASCADE"), primary_key=True),
    Column("organisation_id", Text, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Index("service_accounts_by_project", "organisation_id", "project_id", "principal_id"),
)

groups = Table(
    "groups",
    metadata,
    Column("principal_id", Text, ForeignKey("principals.id", ondelete="CASCADE"), primary_key=True),
    Column("organisation_id", Text, nullable=False),
    # Who keeps its members: local, scim or idp.
    Column("source", Text, nullable=False),
    Column("external_id", Text),
    Index("groups_by_external_id", "external_id", "organisation_id"),
)

# A member is a user, a service account or a group; circles are refused when one would arise.
group_members = Table(
    "group_members",
    metadata,
    Column("group_id", Text, ForeignKey("principals.id", ondelete="CASCADE"), primary_key=True),
    Column("member_id", Text, ForeignKey("principals.id", ondelete="CASCADE"), primary_key=True),
    Column("organisation_id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Index("group_members_by_member", "member_id", "group_id"),
)

# The organisation's own roles; the built-in ones are in roles.py.
roles = Table(
    "roles",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation_id", Text, ForeignKey("organisations.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    # JSON array of actions.
    Column("actions", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Index("roles_by_name", "organisation_id", "name", unique=True),
)

role_bindings = Table(
    "role_bindings",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation_id", Text, ForeignKey("organisations.id"), nullable=False),
    Column("principal_id", Text, ForeignKey("principals.id", ondelete="CASCADE"), nullable=False),
    Column("role_id", Text, nullable=False),
    # organisation or project, and its id.
    Column("scope_type", Text, nullable=False),
    Column("scope_id", Text, nullable=False),
    Column("expires_at_ms", BigInteger),
    Column("created_by", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False, server_default="1"),
    Index("role_bindings_by_principal", "principal_id", "role_id", "scope_type", "scope_id", unique=True),
    Index("role_bindings_by_organisation", "organisation_id", "id"),
    Index("role_bindings_by_scope", "organisation_id", "scope_type", "scope_id", "role_id"),
)

# viewer, editor or owner of one resource. An empty principal_id is everyone in the organisation.
grants = Table(
    "grants",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation_id", Text, ForeignKey("organisations.id"), nullable=False),
    Column("resource_type", Text, nullable=False),
    Column("resource_id", Text, nullable=False),
    Column("principal_id", Text, nullable=False),
    Column("level", Text, nullable=False),
    Column("expires_at_ms", BigInteger),
    Column("created_by", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False, server_default="1"),
    Index("grants_by_resource", "organisation_id", "resource_type", "resource_id", "principal_id", unique=True),
    Index("grants_by_principal", "organisation_id", "principal_id", "resource_type"),
)

policies = Table(
    "policies",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation_id", Text, ForeignKey("organisations.id"), nullable=False),
    # organisation, group, project or user, and its id.
    Column("scope_type", Text, nullable=False),
    Column("scope_id", Text, nullable=False),
    Column("key", Text, nullable=False),
    # JSON.
    Column("value", Text, nullable=False),
    Column("is_locked", Boolean, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Index("policies_by_scope", "organisation_id", "scope_type", "scope_id", "key", unique=True),
)

identity_providers = Table(
    "identity_providers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation_id", Text, ForeignKey("organisations.id"), nullable=False),
    # oidc; saml and ldap would be others.
    Column("type", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("client_id", Text, nullable=False),
    # Sealed; null for a public client.
    Column("client_secret", LargeBinary),
    # JSON: scopes, group claim, role mapping, audiences of API tokens and the like; see providers of identity.
    Column("settings", Text, nullable=False),
    Column("is_enabled", Boolean, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Index("identity_providers_by_organisation", "organisation_id", "id"),
    Index("identity_providers_by_issuer", "issuer"),
)

# Who a provider's subject is here.
identities = Table(
    "identities",
    metadata,
    Column("provider_id", Text, ForeignKey("identity_providers.id", ondelete="CASCADE"), primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("organisation_id", Text, nullable=False),
    Column("principal_id", Text, ForeignKey("principals.id", ondelete="CASCADE"), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("last_seen_at_ms", BigInteger, nullable=False),
    Index("identities_by_principal", "principal_id"),
)

# Mail domains; a verified one belongs to one organisation only.
domains = Table(
    "domains",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation_id", Text, ForeignKey("organisations.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("verification", Text, nullable=False),
    Column("verified_at_ms", BigInteger),
    # The name once more when verified, else null: unique across organisations.
    Column("verified_name", Text, unique=True),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Index("domains_by_name", "organisation_id", "name", unique=True),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation_id", Text, nullable=False),
    Column("principal_id", Text, ForeignKey("principals.id", ondelete="CASCADE"), nullable=False),
    # HMAC-SHA-256 of the cookie.
    Column("digest", LargeBinary, nullable=False),
    # password, link or the id of an identity provider.
    Column("method", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("last_seen_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("revoked_at_ms", BigInteger),
    Column("address", Text, nullable=False),
    Column("user_agent", Text, nullable=False),
    Index("sessions_by_digest", "digest", unique=True),
    Index("sessions_by_principal", "principal_id", "id"),
)

# Sign-ins that a browser has begun at an identity provider; taken out when it comes back, once.
sign_in_attempts = Table(
    "sign_in_attempts",
    metadata,
    Column("state_digest", LargeBinary, primary_key=True),
    Column("organisation_id", Text, nullable=False),
    Column("provider_id", Text, nullable=False),
    # Sealed JSON: nonce, PKCE verifier, where to go afterwards.
    Column("details", LargeBinary, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
)

# Links that sign someone in once.
sign_in_links = Table(
    "sign_in_links",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("organisation_id", Text, nullable=False),
    Column("principal_id", Text, ForeignKey("principals.id", ondelete="CASCADE"), nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
)

# POSTs that were carried out, so that one that is sent again is not carried out again.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("organisation_id", Text, primary_key=True),
    Column("caller_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    # Of method, path and body.
    Column("request_digest", LargeBinary, nullable=False),
    Column("target_id", Text),
    # Null until the response is known; sealed, since it may hold a new secret.
    Column("status", Integer),
    Column("response", LargeBinary),
    Column("created_at_ms", BigInteger, nullable=False),
    Index("idempotency_keys_by_time", "created_at_ms"),
)
