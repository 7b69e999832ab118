"""The tables of identity, as the migrations must leave them. Times are Unix milliseconds, UTC."""

from sqlalchemy import BigInteger, Column, ForeignKey, ForeignKeyConstraint, Index, LargeBinary, MetaData, Table, Text

metadata = MetaData()

organisations = Table(
    "organisations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
)

projects = Table(
    "projects",
    metadata,
    Column("organisation_id", Text, ForeignKey("organisations.id"), primary_key=True),
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
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
    ForeignKeyConstraint(["organisation_id", "project_id"], ["projects.organisation_id", "projects.id"]),
    Index("api_keys_by_digest", "digest", unique=True),
    Index("api_keys_by_project", "organisation_id", "project_id", "created_at_ms", "id"),
    Index("api_keys_by_revision", "revision"),
)

# Counters that go up by one in the transaction of any change to what they name.
revisions = Table(
    "revisions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
