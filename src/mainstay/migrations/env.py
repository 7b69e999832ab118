"""What Alembic runs to get from a configuration to a migrated database; `upgrade.py` hands it a connection."""

from alembic import context

from mainstay.migrations.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,
    transaction_per_migration=False,
)
context.run_migrations()
