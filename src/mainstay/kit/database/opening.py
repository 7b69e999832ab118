"""From a URL to a database."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from mainstay.kit.database.interface import Database
from mainstay.kit.database.sqlite import SQLiteDatabase
from mainstay.kit.errors import ConfigurationError


def open_database(url: str, *, timeout_seconds: float = 30.0) -> Database:
    """Return the database at `url`: `sqlite:////absolute/path` or `postgresql://user:password@host/name`.

    Nothing is connected yet. `timeout_seconds` bounds every statement. Raises ConfigurationError.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return SQLiteDatabase(_sqlite_path(url, parts.netloc, parts.path), timeout_seconds=timeout_seconds)
    if parts.scheme in ("postgresql", "postgres"):
        # asyncpg takes 60 ms to import; installations on SQLite never need it.
        from mainstay.kit.database.postgresql import PostgreSQLDatabase

        return PostgreSQLDatabase(url, timeout_seconds=timeout_seconds)
    raise ConfigurationError(
        f"The database URL has the scheme {parts.scheme!r}; "
        "write sqlite:////absolute/path/to/file or postgresql://user:password@host/name."
    )


def _sqlite_path(url: str, netloc: str, path: str) -> Path:
    """Three slashes and an absolute path, as SQLAlchemy writes it, so that nobody depends on the working folder."""
    name = unquote(path[1:])
    if netloc or not name.startswith("/"):
        raise ConfigurationError(f"The database URL {url!r} is not absolute; write sqlite:////absolute/path/to/file.")
    return Path(name)
