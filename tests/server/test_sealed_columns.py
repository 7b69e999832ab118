"""Every sealed column is known to rotation: a new column of bytes is either sealed and listed, or named here."""

from sqlalchemy import LargeBinary

from mainstay.migrations.tables import METADATA
from mainstay.server.sealed_columns import SEALED_COLUMNS

NOT_SEALED = {
    "api_keys.digest",
    "audit_checkpoints.hash",
    "audit_checkpoints.signature",
    "audit_events.hash",
    "audit_events.previous_hash",
    "audit_heads.hash",
    "data_keys.wrapped",
    "idempotency_keys.request_digest",
    "sessions.digest",
    "sign_in_attempts.state_digest",
    "sign_in_links.digest",
}


def test_every_column_of_bytes_is_sealed_and_listed_or_known_not_to_be() -> None:
    columns = {
        f"{table.name}.{column.name}"
        for metadata in METADATA
        for table in metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, LargeBinary)
    }
    assert columns == NOT_SEALED | {f"{one.table}.{one.column}" for one in SEALED_COLUMNS}


def test_listed_columns_have_the_key_of_their_table_and_an_organisation() -> None:
    tables = {table.name: table for metadata in METADATA for table in metadata.tables.values()}
    for one in SEALED_COLUMNS:
        table = tables[one.table]
        assert {column.name for column in table.primary_key} == set(one.key)
        assert "organisation_id" in table.columns
        assert one.purpose.startswith(f"{one.table}.{one.column}")
