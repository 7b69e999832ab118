"""The schema of the database: what it must be, and how it gets there.

Looking whether a database is current costs one SELECT or two; Alembic and SQLAlchemy are imported only when
it is not.
"""

from mainstay.migrations.schema import SchemaError, SchemaState, ensure_current, inspect_schema, require_current

__all__ = ["SchemaError", "SchemaState", "ensure_current", "inspect_schema", "require_current"]
