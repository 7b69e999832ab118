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
    Index("usage_records_by_time", "organisation_id", "started_at_ms"),
    Index("usage_records_by_key", "key_id", "started_at_ms"),
    Index("usage_records_by_model", "model", "started_at_ms"),
)
