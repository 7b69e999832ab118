"""What Alembic runs to get from a configuration to a migrated database; `upgrade.py` hands it a connection."""

from alembic import context

from mainstay.platform.identity import tables as identity
from mainstay.platform.metering import tables as metering

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=[identity.metadata, metering.metadata],
    transactional_ddl=True,
    transaction_per_migration=False,
)
context.run_migrations()
