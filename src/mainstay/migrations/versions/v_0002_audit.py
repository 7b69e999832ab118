"""The audit log, its checkpoints and webhooks, and the keys that secrets are sealed with."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _create_audit_checkpoints()
    _create_audit_events()
    _create_audit_heads()
    _create_audit_webhooks()
    _create_data_keys()
    _create_leases()


def _create_audit_checkpoints() -> None:
    op.create_table(
        "audit_checkpoints",
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("through_sequence", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("signed_at_ms", sa.BigInteger, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "through_sequence"),
    )


def _create_audit_events() -> None:
    op.create_table(
        "audit_events",
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("actor_id", sa.Text, nullable=False),
        sa.Column("target_id", sa.Text),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("previous_hash", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "sequence"),
    )
    op.create_index("audit_events_by_action", "audit_events", ["organisation_id", "action", "sequence"])
    op.create_index("audit_events_by_actor", "audit_events", ["organisation_id", "actor_id", "sequence"])
    op.create_index("audit_events_by_target", "audit_events", ["organisation_id", "target_id", "sequence"])
    op.create_index("audit_events_by_time", "audit_events", ["organisation_id", "at_ms"])


def _create_audit_heads() -> None:
    op.create_table(
        "audit_heads",
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id"),
    )


def _create_audit_webhooks() -> None:
    op.create_table(
        "audit_webhooks",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("actions", sa.Text),
        sa.Column("is_enabled", sa.Boolean, nullable=False),
        sa.Column("delivered_through", sa.BigInteger, nullable=False),
        sa.Column("failures", sa.BigInteger, nullable=False),
        sa.Column("last_failure", sa.Text),
        sa.Column("next_attempt_at_ms", sa.BigInteger),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("audit_webhooks_by_organisation", "audit_webhooks", ["organisation_id", "id"])


def _create_data_keys() -> None:
    op.create_table(
        "data_keys",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("root_key_id", sa.Text, nullable=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("retired_at_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("data_keys_by_organisation", "data_keys", ["organisation_id", "id"])


def _create_leases() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
