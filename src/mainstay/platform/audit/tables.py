"""The tables of the audit log, as the migrations must leave them. Times are Unix milliseconds, UTC."""

from sqlalchemy import BigInteger, Boolean, Column, Index, LargeBinary, MetaData, Table, Text

metadata = MetaData()

# Append-only. No foreign keys: what is written of an act outlives everything that it names.
audit_events = Table(
    "audit_events",
    metadata,
    Column("organisation_id", Text, primary_key=True),
    # 1, 2, 3, ... without gaps.
    Column("sequence", BigInteger, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    # Copies of members of `body` to search by; verification compares them.
    Column("action", Text, nullable=False),
    Column("actor_id", Text, nullable=False),
    Column("target_id", Text),
    # Canonical JSON: exactly the bytes that are hashed.
    Column("body", Text, nullable=False),
    Column("previous_hash", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Index("audit_events_by_time", "organisation_id", "at_ms"),
    Index("audit_events_by_actor", "organisation_id", "actor_id", "sequence"),
    Index("audit_events_by_target", "organisation_id", "target_id", "sequence"),
    Index("audit_events_by_action", "organisation_id", "action", "sequence"),
)

# The end of each chain; its row is locked while an event is appended, so that a chain has one writer at a time.
audit_heads = Table(
    "audit_heads",
    metadata,
    Column("organisation_id", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)

audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("organisation_id", Text, primary_key=True),
    Column("through_sequence", BigInteger, primary_key=True),
    Column("hash", LargeBinary, nullable=False),
    Column("signed_at_ms", BigInteger, nullable=False),
    # Ed25519 over what audit/checkpoints.py says; the key's id is the beginning of the hash of its public half.
    Column("key_id", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
)

audit_webhooks = Table(
    "audit_webhooks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("url", Text, nullable=False),
    # Sealed (see kit/sealing.py); signs the deliveries.
    Column("secret", LargeBinary, nullable=False),
    # JSON array of action prefixes; null is everything.
    Column("actions", Text),
    Column("is_enabled", Boolean, nullable=False),
    # All events up to this one are delivered.
    Column("delivered_through", BigInteger, nullable=False),
    Column("failures", BigInteger, nullable=False),
    Column("last_failure", Text),
    Column("next_attempt_at_ms", BigInteger),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Index("audit_webhooks_by_organisation", "organisation_id", "id"),
)

# Duties that one process at a time does; see kit/lease.py.
leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
)
