"""Is the database's schema the one that this code needs?"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mainstay.kit.database import Database, Dialect
from mainstay.kit.errors import ConfigurationError

VERSIONS = Path(__file__).with_name("versions")

TABLES = frozenset(
    {
        "api_keys",
        "audit_checkpoints",
        "audit_events",
        "audit_heads",
        "audit_webhooks",
        "budgets",
        "changes",
        "data_keys",
        "deployments",
        "domains",
        "grants",
        "group_members",
        "groups",
        "idempotency_keys",
        "identities",
        "identity_providers",
        "leases",
        "limits",
        "organisations",
        "policies",
        "principals",
        "projects",
        "providers",
        "revisions",
        "role_bindings",
        "roles",
        "service_accounts",
        "sessions",
        "sign_in_attempts",
        "sign_in_links",
        "spending",
        "usage_records",
        "users",
    }
)
"""All tables at the newest version; a test compares this with what the migrations create."""

_VERSION_TABLE = "alembic_version"
_TABLE_NAMES = {
    Dialect.SQLITE: "SELECT name FROM sqlite_master WHERE type = 'table'",
    Dialect.POSTGRESQL: "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()",
}


class SchemaError(ConfigurationError):
    """The database cannot be used with this version of Mainstay as it is."""

    code = "database_schema"


class SchemaState(StrEnum):
    """Where a database stands in relation to the code."""

    EMPTY = "empty"
    BEHIND = "behind"
    CURRENT = "current"


@dataclass(frozen=True, slots=True)
class Schema:
    """What was found: the database's version (None if it has none) and the newest that the code knows."""

    state: SchemaState
    version: str | None
    newest: str


async def ensure_current(database: Database) -> Schema:
    """Bring the schema up to date if it is behind; return what was found before.

    Raises SchemaError as `inspect_schema` does, and DatabaseError when the database cannot be reached; an
    upgrade that fails or is killed leaves the database as it was.
    """
    found = await inspect_schema(database)
    if found.state is not SchemaState.CURRENT:
        from mainstay.migrations.upgrade import upgrade

        await upgrade(database)
        await require_current(database)
    return found


async def require_current(database: Database) -> None:
    """Raise SchemaError unless the schema is exactly the one that this code needs."""
    found = await inspect_schema(database)
    if found.state is not SchemaState.CURRENT:
        raise SchemaError(
            f"The database is at schema version {found.version or 'none'} and this program needs {found.newest}; "
            "start `mainstay serve` once, it upgrades the database."
        )


async def inspect_schema(database: Database, versions: Path = VERSIONS) -> Schema:
    """Say how the schema relates to the code. Raises SchemaError if it is ahead of it, half migrated or foreign."""
    known = known_versions(versions)
    newest = known[-1]
    tables = {str(row[0]) for row in await database.fetch(_TABLE_NAMES[database.dialect])}
    if _VERSION_TABLE not in tables:
        _refuse_foreign(tables)
        return Schema(SchemaState.EMPTY, None, newest)
    rows = await database.fetch("SELECT version_num FROM alembic_version")
    if not rows:
        _refuse_foreign(tables - {_VERSION_TABLE})
        return Schema(SchemaState.EMPTY, None, newest)
    version = _one_version([str(row[0]) for row in rows], known)
    if version != newest:
        return Schema(SchemaState.BEHIND, version, newest)
    missing = TABLES - tables
    if missing and versions is VERSIONS:
        raise SchemaError(
            f"The database says that it has schema version {version}, but the tables {', '.join(sorted(missing))} "
            "are missing: it was restored or migrated by halves. Restore a complete backup."
        )
    return Schema(SchemaState.CURRENT, version, newest)


def known_versions(versions: Path = VERSIONS) -> list[str]:
    """Return the versions that the code knows, oldest first: the number that each file's name begins with."""
    return sorted(path.stem.split("_")[1] for path in versions.glob("v_*.py"))


def _one_version(found: list[str], known: list[str]) -> str:
    if len(found) > 1:
        raise SchemaError(
            f"The database has {len(found)} schema versions at once ({', '.join(sorted(found))}): it is half "
            "migrated. Restore a backup from before the last upgrade."
        )
    if found[0] not in known:
        raise SchemaError(
            f"The database is at schema version {found[0]}, which this program does not know (its newest is "
            f"{known[-1]}): a newer Mainstay has upgraded it. Run that version, or restore an older backup."
        )
    return found[0]


def _refuse_foreign(tables: set[str]) -> None:
    ours = sorted(tables & TABLES)
    if ours:
        raise SchemaError(
            f"The database has the tables {', '.join(ours)} but no schema version: it is half restored, or belongs "
            "to another program. Restore a complete backup, or name an empty database."
        )
