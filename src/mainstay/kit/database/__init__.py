"""A database of either kind behind one narrow door: SQLite in WAL mode, or PostgreSQL.

SQL is written once, with `:name` placeholders, in the common subset of both. SQLAlchemy stays out of this
module on purpose: importing it costs 0.6 s of start-up on the reference machine; migrations load it on demand.
"""

from mainstay.kit.database.interface import Database, DatabaseError, Dialect, Row, Transaction, Value, Values
from mainstay.kit.database.opening import open_database

__all__ = ["Database", "DatabaseError", "Dialect", "Row", "Transaction", "Value", "Values", "open_database"]
