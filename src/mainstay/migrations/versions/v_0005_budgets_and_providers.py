"""Limits, budgets and spending; providers and deployments that administrators make."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    _create_limits()
    _create_budgets()
    _create_spending()
    _add_up_spending()
    _extend_usage_records()
    _create_providers()
    _create_deployments()


def _create_limits() -> None:
    op.create_table(
        "limits",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("scope_type", sa.Text, nullable=False),
        sa.Column("scope_id", sa.Text, nullable=False),
        sa.Column("requests_per_minute", sa.BigInteger),
        sa.Column("tokens_per_minute", sa.BigInteger),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("limits_by_scope", "limits", ["organisation_id", "scope_type", "scope_id"], unique=True)


def _create_budgets() -> None:
    op.create_table(
        "budgets",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("scope_type", sa.Text, nullable=False),
        sa.Column("scope_id", sa.Text, nullable=False),
        sa.Column("period", sa.Text, nullable=False),
        sa.Column("tokens", sa.BigInteger),
        sa.Column("cost_nano", sa.BigInteger),
        sa.Column("currency", sa.Text),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("warn_at_percent", sa.Integer, nullable=False),
        sa.Column("warned_in_day", sa.Integer),
        sa.Column("used_up_in_day", sa.Integer),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("budgets_by_scope", "budgets", ["organisation_id", "scope_type", "scope_id", "period"], unique=True)


def _create_spending() -> None:
    op.create_table(
        "spending",
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("scope_type", sa.Text, nullable=False),
        sa.Column("scope_id", sa.Text, nullable=False),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sa.Column("cost_nano", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "scope_type", "scope_id", "day", "currency"),
    )
    op.create_index("spending_by_revision", "spending", ["revision"])
    op.bulk_insert(sa.table("revisions", sa.column("name"), sa.column("value")), [{"name": "spending", "value": 0}])


def _add_up_spending() -> None:
    """Begin with what the calls of before have used, so that a budget counts the whole of its first month."""
    # No call has honestly used more than the bounds; with them, sums stay within 64 bits.
    prompt, completion, cost = (
        f"CASE WHEN {column} > {most} THEN {most} ELSE {column} END"
        for column, most in (("prompt_tokens", 2**40), ("completion_tokens", 2**40), ("COALESCE(cost_nano, 0)", 2**50))
    )
    for scope_type, column in (("organisation", "organisation_id"), ("project", "project_id"), ("key", "key_id")):
        op.execute(
            "INSERT INTO spending "  # noqa: S608 - constants only
            "(organisation_id, scope_type, scope_id, day, currency, calls, tokens, cost_nano, revision) "
            f"SELECT organisation_id, '{scope_type}', {column}, started_at_ms / 86400000, COALESCE(currency, ''), "
            f"COUNT(*), SUM(({prompt}) + ({completion})), SUM({cost}), 0 FROM usage_records "
            f"GROUP BY organisation_id, {column}, started_at_ms / 86400000, COALESCE(currency, '')"
        )


def _extend_usage_records() -> None:
    op.add_column("usage_records", sa.Column("principal_id", sa.Text))
    op.create_index("usage_records_by_principal", "usage_records", ["principal_id", "started_at_ms"])


def _create_providers() -> None:
    op.create_table(
        "providers",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("base_url", sa.Text, nullable=False),
        sa.Column("credentials", sa.LargeBinary),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("is_enabled", sa.Boolean, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("providers_by_name", "providers", ["organisation_id", "name"], unique=True)


def _create_deployments() -> None:
    op.create_table(
        "deployments",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("targets", sa.Text, nullable=False),
        sa.Column("prices", sa.Text),
        sa.Column("is_enabled", sa.Boolean, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("deployments_by_name", "deployments", ["organisation_id", "name"], unique=True)
