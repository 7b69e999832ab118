"""The first tables, with one default organisation and project."""

import time

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _create_identity()
    _create_usage()
    _insert_defaults()


def _create_identity() -> None:
    op.create_table(
        "organisations",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "projects",
        sa.Column("organisation_id", sa.Text, sa.ForeignKey("organisations.id"), primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("pepper_id", sa.Text, nullable=False),
        sa.Column("hint", sa.Text, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("deployments", sa.Text),
        sa.Column("requests_per_minute", sa.BigInteger),
        sa.Column("tokens_per_minute", sa.BigInteger),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger),
        sa.Column("revoked_at_ms", sa.BigInteger),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["organisation_id", "project_id"], ["projects.organisation_id", "projects.id"]),
    )
    op.create_index("api_keys_by_digest", "api_keys", ["digest"], unique=True)
    op.create_index("api_keys_by_project", "api_keys", ["organisation_id", "project_id", "created_at_ms", "id"])
    op.create_index("api_keys_by_revision", "api_keys", ["revision"])
    op.create_table(
        "revisions",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )


def _create_usage() -> None:
    op.create_table(
        "usage_records",
        sa.Column("call_id", sa.Text, primary_key=True),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("deployment", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("is_stream", sa.Boolean, nullable=False),
        sa.Column("started_at_ms", sa.BigInteger, nullable=False),
        sa.Column("first_token_ms", sa.BigInteger),
        sa.Column("last_token_ms", sa.BigInteger),
        sa.Column("duration_ms", sa.BigInteger),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("failure", sa.Text),
        sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
        sa.Column("cached_tokens", sa.BigInteger, nullable=False),
        sa.Column("completion_tokens", sa.BigInteger, nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger, nullable=False),
        sa.Column("tokens_are_estimated", sa.Boolean, nullable=False),
        sa.Column("cost_nano", sa.BigInteger),
        sa.Column("currency", sa.Text),
    )
    for name, columns in (
        ("usage_records_by_time", ["organisation_id", "started_at_ms"]),
        ("usage_records_by_key", ["key_id", "started_at_ms"]),
        ("usage_records_by_model", ["model", "started_at_ms"]),
    ):
        op.create_index(name, "usage_records", columns)


def _insert_defaults() -> None:
    now_ms = int(time.time() * 1000)
    op.bulk_insert(
        sa.table("organisations", sa.column("id"), sa.column("name"), sa.column("created_at_ms")),
        [{"id": "org_default", "name": "Default organisation", "created_at_ms": now_ms}],
    )
    op.bulk_insert(
        sa.table(
            "projects", sa.column("organisation_id"), sa.column("id"), sa.column("name"), sa.column("created_at_ms")
        ),
        [
            {
                "organisation_id": "org_default",
                "id": "proj_default",
                "name": "Default project",
                "created_at_ms": now_ms,
            }
        ],
    )
    op.bulk_insert(
        sa.table("revisions", sa.column("name"), sa.column("value")),
        [{"name": "api_keys", "value": 0}],
    )
