"""Providers and deployments that administrators have made, as the migrations must leave them.

Those of mainstay.toml are in no table. Times are Unix milliseconds, UTC.
"""

from sqlalchemy import BigInteger, Boolean, Column, Index, LargeBinary, MetaData, Table, Text

metadata = MetaData()

providers = Table(
    "providers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("base_url", Text, nullable=False),
    # Sealed JSON: the key, and headers that may hold credentials.
    Column("credentials", LargeBinary),
    # JSON: api_version, timeouts and the like.
    Column("settings", Text, nullable=False),
    Column("is_enabled", Boolean, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Index("providers_by_name", "organisation_id", "name", unique=True),
)

deployments = Table(
    "deployments",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    # JSON arrays and objects as in mainstay.toml.
    Column("targets", Text, nullable=False),
    Column("prices", Text),
    Column("is_enabled", Boolean, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Index("deployments_by_name", "organisation_id", "name", unique=True),
)
