"""A key as it lies in the database: a digest and a hint, never the key."""

from typing import Any

import msgspec

from mainstay.kit.database import Row, Transaction, Value
from mainstay.platform.audit.events import Target
from mainstay.platform.identity.principals import next_keys_revision

COLUMNS = (
    "id, organisation_id, project_id, name, hint, scopes, deployments, requests_per_minute, tokens_per_minute, "
    "created_at_ms, expires_at_ms, revoked_at_ms, principal_id, networks, created_by, rotated_to, last_used_at_ms, "
    "version"
)
_NAMES = COLUMNS.split(", ")
_INSERT = (
    f"INSERT INTO api_keys ({COLUMNS}, digest, pepper_id, revision) "  # noqa: S608 - constants only
    f"VALUES ({', '.join(':' + name for name in _NAMES)}, :digest, :pepper_id, :revision)"
)
_CHANGED = (
    "name",
    "deployments",
    "requests_per_minute",
    "tokens_per_minute",
    "expires_at_ms",
    "revoked_at_ms",
    "networks",
    "rotated_to",
    "version",
)
_UPDATE = (
    f"UPDATE api_keys SET {', '.join(f'{name} = :{name}' for name in _CHANGED)}, revision = :revision "  # noqa: S608 - constants only
    "WHERE id = :id"
)
_LISTS = ("scopes", "deployments", "networks")


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What may be known about a key after it was made. Times are Unix milliseconds."""

    id: str
    organisation_id: str
    project_id: str
    name: str
    hint: str
    scopes: tuple[str, ...]
    deployments: tuple[str, ...] | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    created_at_ms: int
    expires_at_ms: int | None
    revoked_at_ms: int | None
    principal_id: str | None = None
    """Whose it is; None is the project's own."""
    networks: tuple[str, ...] | None = None
    created_by: str | None = None
    rotated_to: str | None = None
    """The key that replaces it."""
    last_used_at_ms: int | None = None
    version: int = 1

    def is_good_at(self, now_ms: int) -> bool:
        """Whether the key is neither revoked nor expired."""
        return self.revoked_at_ms is None and (self.expires_at_ms is None or self.expires_at_ms > now_ms)


async def insert_key(transaction: Transaction, key: Key, *, digest: bytes, pepper_id: str) -> None:
    """Write a new key's row under the next revision."""
    own: dict[str, Value] = {"digest": digest, "pepper_id": pepper_id}
    own["revision"] = await next_keys_revision(transaction)
    await transaction.execute(_INSERT, _values(key) | own)


async def update_key(transaction: Transaction, key: Key) -> None:
    """Write what can change of a key's row under the next revision."""
    revision = await next_keys_revision(transaction)
    await transaction.execute(_UPDATE, _values(key) | {"revision": revision})


def key_of(row: Row) -> Key:
    """Return the key of a row of COLUMNS."""
    values: dict[str, Any] = dict(zip(_NAMES, row, strict=True))  # Any: values of columns
    for name in _LISTS:
        if values[name] is not None:
            values[name] = msgspec.json.decode(values[name], type=tuple[str, ...])
    return Key(**values)


def target_of(key: Key) -> Target:
    """Return the key as an audit event names it."""
    return Target(type="key", id=key.id, name=key.name)


def _values(key: Key) -> dict[str, Value]:
    values: dict[str, Any] = {name: getattr(key, name) for name in _NAMES}  # Any: values of columns
    for name in _LISTS:
        if values[name] is not None:
            values[name] = msgspec.json.encode(values[name]).decode()
    return values
