"""The table of data keys, as the migrations must leave it. Times are Unix milliseconds, UTC."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, MetaData, Table, Text

metadata = MetaData()

# Data keys, each sealed by a root key that is in a file of its own; what they seal are secrets of one organisation.
data_keys = Table(
    "data_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation_id", Text, nullable=False),
    Column("root_key_id", Text, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    # Null for the one that new secrets are sealed with.
    Column("retired_at_ms", BigInteger),
    Index("data_keys_by_organisation", "organisation_id", "id"),
)
