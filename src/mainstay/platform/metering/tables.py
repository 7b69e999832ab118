"""The table of usage, as the migrations must leave it. Times are Unix milliseconds, UTC."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, Table, Text

metadata = MetaData()

# No foreign keys: a record is never refused because what it names is gone.
usage_records = Table(
    "usage_records",
    metadata,
    Column("call_id", Text, primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("organisation_id", Text, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("deployment", Text, nullable=False),
    Column("provider", Text, nullable=False),
    # The target's own name for the model, not the deployment.
    Column("model", Text, nullable=False),
    Column("is_stream", Boolean, nullable=False),
    Column("started_at_ms", BigInteger, nullable=False),
    # Since the start; null when no token came, or the server died.
    Column("first_token_ms", BigInteger),
    Column("last_token_ms", BigInteger),
    Column("duration_ms", BigInteger),
    # As the caller saw it; 0 when the server died before that was written down.
    Column("status", Integer, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("failure", Text),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("tokens_are_estimated", Boolean, nullable=False),
    # Billionths of the currency's unit; both null when no price was known.
    Column("cost_nano", BigInteger),
    Column("currency", Text),
    # The user or service account whose key or session it was.
    Column("principal_id", Text),
    Index("usage_records_by_time", "organisation_id", "started_at_ms"),
    Index("usage_records_by_key", "key_id", "started_at_ms"),
    Index("usage_records_by_model", "model", "started_at_ms"),
    Index("usage_records_by_principal", "principal_id", "started_at_ms"),
)

# What each scope has used, day by day (UTC), added up in the transaction that records the calls.
spending = Table(
    "spending",
    metadata,
    Column("organisation_id", Text, primary_key=True),
    # organisation, project, group, user or key; `user` is any principal that calls.
    Column("scope_type", Text, primary_key=True),
    Column("scope_id", Text, primary_key=True),
    # Days since 1970-01-01.
    Column("day", Integer, primary_key=True),
    # Empty when no price was known.
    Column("currency", Text, primary_key=True),
    Column("calls", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("cost_nano", BigInteger, nullable=False),
    # When it last changed, so that workers read only what is new to them.
    Column("revision", BigInteger, nullable=False),
    Index("spending_by_revision", "revision"),
)

# Requests and tokens per minute, for all that a scope does together.
limits = Table(
    "limits",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation_id", Text, nullable=False),
    Column("scope_type", Text, nullable=False),
    Column("scope_id", Text, nullable=False),
    Column("requests_per_minute", BigInteger),
    Column("tokens_per_minute", BigInteger),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Index("limits_by_scope", "organisation_id", "scope_type", "scope_id", unique=True),
)

# Tokens and money per day or month.
budgets = Table(
    "budgets",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation_id", Text, nullable=False),
    Column("scope_type", Text, nullable=False),
    Column("scope_id", Text, nullable=False),
    # day or month, UTC.
    Column("period", Text, nullable=False),
    Column("tokens", BigInteger),
    Column("cost_nano", BigInteger),
    Column("currency", Text),
    # block or warn.
    Column("action", Text, nullable=False),
    Column("warn_at_percent", Integer, nullable=False),
    # The period, by its first day, in which the warning was given, and that in which all was used.
    Column("warned_in_day", Integer),
    Column("used_up_in_day", Integer),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Index("budgets_by_scope", "organisation_id", "scope_type", "scope_id", "period", unique=True),
)
