"""Users, groups, service accounts, roles, grants and policies; what changed, for views in memory."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    _create_principals()
    _create_users()
    _create_service_accounts()
    _create_groups()
    _create_group_members()
    _create_roles()
    _create_role_bindings()
    _create_grants()
    _create_policies()
    _create_changes()
    _create_idempotency_keys()
    _extend_organisations()
    _extend_projects()
    _extend_api_keys()
    op.bulk_insert(sa.table("revisions", sa.column("name"), sa.column("value")), [{"name": "changes", "value": 0}])


def _create_principals() -> None:
    op.create_table(
        "principals",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("principals_by_name", "principals", ["organisation_id", "type", "name"])
    op.create_index("principals_by_organisation", "principals", ["organisation_id", "type", "id"])


def _create_users() -> None:
    op.create_table(
        "users",
        sa.Column("principal_id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("email_normal", sa.Text, nullable=False),
        sa.Column("search_text", sa.Text, nullable=False),
        sa.Column("user_name", sa.Text),
        sa.Column("external_id", sa.Text),
        sa.Column("attributes", sa.Text, server_default="{}", nullable=False),
        sa.Column("password_hash", sa.Text),
        sa.Column("failed_attempts", sa.Integer, server_default="0", nullable=False),
        sa.Column("locked_until_ms", sa.BigInteger),
        sa.Column("last_active_at_ms", sa.BigInteger),
        sa.ForeignKeyConstraint(["principal_id"], ["principals.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("principal_id"),
    )
    op.create_index("users_by_id", "users", ["organisation_id", "principal_id", "search_text"])
    op.create_index("users_by_email", "users", ["email_normal", "organisation_id"], unique=True)
    op.create_index("users_by_external_id", "users", ["external_id", "organisation_id"])
    op.create_index("users_by_user_name", "users", ["user_name", "organisation_id"], unique=True)


def _create_service_accounts() -> None:
    op.create_table(
        "service_accounts",
        sa.Column("principal_id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("description", sa.Text, server_default="", nullable=False),
        sa.ForeignKeyConstraint(["principal_id"], ["principals.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("principal_id"),
    )
    op.create_index(
        "service_accounts_by_project", "service_accounts", ["organisation_id", "project_id", "principal_id"]
    )


def _create_groups() -> None:
    op.create_table(
        "groups",
        sa.Column("principal_id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("external_id", sa.Text),
        sa.ForeignKeyConstraint(["principal_id"], ["principals.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("principal_id"),
    )
    op.create_index("groups_by_external_id", "groups", ["external_id", "organisation_id"])


def _create_group_members() -> None:
    op.create_table(
        "group_members",
        sa.Column("group_id", sa.Text, nullable=False),
        sa.Column("member_id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["group_id"], ["principals.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["member_id"], ["principals.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("group_id", "member_id"),
    )
    op.create_index("group_members_by_member", "group_members", ["member_id", "group_id"])


def _create_roles() -> None:
    op.create_table(
        "roles",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, server_default="", nullable=False),
        sa.Column("actions", sa.Text, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("roles_by_name", "roles", ["organisation_id", "name"], unique=True)


def _create_role_bindings() -> None:
    op.create_table(
        "role_bindings",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("principal_id", sa.Text, nullable=False),
        sa.Column("role_id", sa.Text, nullable=False),
        sa.Column("scope_type", sa.Text, nullable=False),
        sa.Column("scope_id", sa.Text, nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="1"),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"]),
        sa.ForeignKeyConstraint(["principal_id"], ["principals.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("role_bindings_by_organisation", "role_bindings", ["organisation_id", "id"])
    op.create_index(
        "role_bindings_by_principal",
        "role_bindings",
        ["principal_id", "role_id", "scope_type", "scope_id"],
        unique=True,
    )
    op.create_index("role_bindings_by_scope", "role_bindings", ["organisation_id", "scope_type", "scope_id", "role_id"])


def _create_grants() -> None:
    op.create_table(
        "grants",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("resource_type", sa.Text, nullable=False),
        sa.Column("resource_id", sa.Text, nullable=False),
        sa.Column("principal_id", sa.Text, nullable=False),
        sa.Column("level", sa.Text, nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="1"),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("grants_by_principal", "grants", ["organisation_id", "principal_id", "resource_type"])
    op.create_index(
        "grants_by_resource", "grants", ["organisation_id", "resource_type", "resource_id", "principal_id"], unique=True
    )


def _create_policies() -> None:
    op.create_table(
        "policies",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("scope_type", sa.Text, nullable=False),
        sa.Column("scope_id", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("is_locked", sa.Boolean, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("policies_by_scope", "policies", ["organisation_id", "scope_type", "scope_id", "key"], unique=True)


def _create_changes() -> None:
    op.create_table(
        "changes",
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("revision", "kind", "id"),
    )


def _create_idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("caller_id", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("request_digest", sa.LargeBinary, nullable=False),
        sa.Column("target_id", sa.Text),
        sa.Column("status", sa.Integer),
        sa.Column("response", sa.LargeBinary),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "caller_id", "key"),
    )
    op.create_index("idempotency_keys_by_time", "idempotency_keys", ["created_at_ms"])


def _extend_organisations() -> None:
    op.add_column("organisations", sa.Column("status", sa.Text, server_default="active", nullable=False))
    op.add_column("organisations", sa.Column("version", sa.BigInteger, server_default="1", nullable=False))


def _extend_projects() -> None:
    op.add_column("projects", sa.Column("description", sa.Text, server_default="", nullable=False))
    op.add_column("projects", sa.Column("archived_at_ms", sa.BigInteger))
    op.add_column("projects", sa.Column("version", sa.BigInteger, server_default="1", nullable=False))


def _extend_api_keys() -> None:
    op.add_column("api_keys", sa.Column("principal_id", sa.Text))
    op.add_column("api_keys", sa.Column("networks", sa.Text))
    op.add_column("api_keys", sa.Column("created_by", sa.Text))
    op.add_column("api_keys", sa.Column("rotated_to", sa.Text))
    op.add_column("api_keys", sa.Column("last_used_at_ms", sa.BigInteger))
    op.add_column("api_keys", sa.Column("version", sa.BigInteger, server_default="1", nullable=False))
    op.create_index("api_keys_by_principal", "api_keys", ["principal_id"])
