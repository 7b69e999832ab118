"""API keys: made, listed and revoked. The database holds a digest and a hint of each, never the key."""

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from mainstay.kit import secrets
from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Row, Transaction
from mainstay.kit.errors import ConflictError, InvalidRequestError, NotFoundError
from mainstay.kit.ids import new_api_key, new_id
from mainstay.platform.identity.caller import Scope
from mainstay.platform.identity.organisations import DEFAULT_TENANT, Tenant

REVISION = "api_keys"
"""Name of the counter that every change to a key raises, in the same transaction."""

NAME_LENGTH_MAX = 200
DEPLOYMENTS_MAX = 1000
PAGE_MAX = 1000
LIMIT_MAX = 10**12

_COLUMNS = (
    "id, organisation_id, project_id, name, hint, scopes, deployments, requests_per_minute, tokens_per_minute, "
    "created_at_ms, expires_at_ms, revoked_at_ms"
)
_INSERT = (
    f"INSERT INTO api_keys ({_COLUMNS}, digest, pepper_id, revision) "  # noqa: S608 - constants only
    "VALUES (:id, :organisation_id, :project_id, :name, :hint, :scopes, :deployments, :requests_per_minute, "
    ":tokens_per_minute, :created_at_ms, :expires_at_ms, :revoked_at_ms, :digest, :pepper_id, :revision)"
)
_OF_TENANT = "organisation_id = :organisation_id AND project_id = :project_id"
_SELECT = f"SELECT {_COLUMNS} FROM api_keys WHERE {_OF_TENANT}"  # noqa: S608 - constants only
_REVOKE = (
    "UPDATE api_keys SET revoked_at_ms = :now_ms, revision = :revision "  # noqa: S608 - constants only
    f"WHERE {_OF_TENANT} AND id = :id AND revoked_at_ms IS NULL"
)
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f]+")


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


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a key shall be. None of the limits is a limit when it is None."""

    name: str
    scopes: Sequence[str] = (Scope.INFERENCE,)
    deployments: Sequence[str] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    expires_at_ms: int | None = None


class Keys:
    """The keys of one database."""

    def __init__(self, database: Database, pepper: bytes, clock: Clock) -> None:
        self._database = database
        self._pepper = pepper
        self._clock = clock

    async def create(self, wanted: NewKey, tenant: Tenant = DEFAULT_TENANT) -> tuple[Key, str]:
        """Make a key; return it with its secret, which nobody can ask for again.

        Raises InvalidRequestError, or NotFoundError if the tenant does not exist.
        """
        now_ms = int(self._clock.wall() * 1000)
        _check(wanted, now_ms)
        secret = new_api_key()
        key = Key(
            id=new_id("key_"),
            organisation_id=tenant.organisation_id,
            project_id=tenant.project_id,
            name=wanted.name,
            hint=f"{secret[:5]}…{secret[-4:]}",
            scopes=tuple(sorted(set(wanted.scopes))),
            deployments=None if wanted.deployments is None else tuple(sorted(set(wanted.deployments))),
            requests_per_minute=wanted.requests_per_minute,
            tokens_per_minute=wanted.tokens_per_minute,
            created_at_ms=now_ms,
            expires_at_ms=wanted.expires_at_ms,
            revoked_at_ms=None,
        )
        try:
            await self._insert(key, secret)
        except ConflictError as error:
            raise NotFoundError(
                f"There is no project '{tenant.project_id}' in the organisation '{tenant.organisation_id}'."
            ) from error
        return key, secret

    async def list(self, tenant: Tenant = DEFAULT_TENANT, *, after: Key | None = None, limit: int = 100) -> list[Key]:
        """Return up to `limit` keys, oldest first, those that follow `after`; revoked ones too."""
        rows = await self._database.fetch(
            f"{_SELECT} AND (created_at_ms, id) > (:after_ms, :after_id) ORDER BY created_at_ms, id LIMIT :limit",
            {
                "organisation_id": tenant.organisation_id,
                "project_id": tenant.project_id,
                "after_ms": after.created_at_ms if after else -1,
                "after_id": after.id if after else "",
                "limit": min(limit, PAGE_MAX),
            },
        )
        return [_key(row) for row in rows]

    async def get(self, key_id: str, tenant: Tenant = DEFAULT_TENANT) -> Key:
        """Return one key. Raises NotFoundError, also when it is another tenant's."""
        rows = await self._database.fetch(f"{_SELECT} AND id = :id", _named(key_id, tenant))
        if not rows:
            raise NotFoundError(f"There is no key '{key_id}'; `mainstay keys list` shows the keys.")
        return _key(rows[0])

    async def revoke(self, key_id: str, tenant: Tenant = DEFAULT_TENANT) -> Key:
        """Make a key useless for good; revoking it again changes nothing. Raises NotFoundError."""
        now_ms = int(self._clock.wall() * 1000)
        async with self._database.transaction() as transaction:
            revision = await _next_revision(transaction)
            await transaction.execute(_REVOKE, {**_named(key_id, tenant), "now_ms": now_ms, "revision": revision})
        return await self.get(key_id, tenant)

    async def _insert(self, key: Key, secret: str) -> None:
        async with self._database.transaction() as transaction:
            values = msgspec.structs.asdict(key)
            values |= {
                "scopes": msgspec.json.encode(key.scopes).decode(),
                "deployments": None if key.deployments is None else msgspec.json.encode(key.deployments).decode(),
                "digest": secrets.digest(self._pepper, secret.encode()),
                "pepper_id": pepper_id(self._pepper),
                "revision": await _next_revision(transaction),
            }
            await transaction.execute(_INSERT, values)


def pepper_id(pepper: bytes) -> str:
    """Return a name for the pepper that says nothing about it, to tell a wrong one from a wrong key."""
    return hmac.digest(pepper, b"mainstay pepper id", "sha256")[:8].hex()


async def _next_revision(transaction: Transaction) -> int:
    """Raise the counter; its row stays locked until the commit, so revisions are committed in order."""
    rows = await transaction.fetch(
        "UPDATE revisions SET value = value + 1 WHERE name = :name RETURNING value", {"name": REVISION}
    )
    return int(rows[0][0])


def _check(wanted: NewKey, now_ms: int) -> None:
    if len(wanted.name) > NAME_LENGTH_MAX or not _PRINTABLE.fullmatch(wanted.name):
        raise InvalidRequestError(f"A key needs a name of 1 to {NAME_LENGTH_MAX} printable characters.", param="name")
    unknown = sorted(set(wanted.scopes) - set(Scope))
    if unknown or not wanted.scopes:
        what = f"There is no scope '{unknown[0]}'" if unknown else "A key needs a scope"
        raise InvalidRequestError(f"{what}; the scopes are {', '.join(Scope)}.", param="scopes")
    if wanted.deployments is not None:
        _check_deployments(wanted.deployments)
    for name in ("requests_per_minute", "tokens_per_minute"):
        limit = getattr(wanted, name)
        if limit is not None and not 1 <= limit <= LIMIT_MAX:
            raise InvalidRequestError(f"{name} is {limit}; it must be between 1 and {LIMIT_MAX}.", param=name)
    if wanted.expires_at_ms is not None and wanted.expires_at_ms <= now_ms:
        raise InvalidRequestError("The key would have expired already; choose a time to come.", param="expires_at")


def _check_deployments(deployments: Sequence[str]) -> None:
    if not 1 <= len(deployments) <= DEPLOYMENTS_MAX:
        raise InvalidRequestError(
            f"A key may be limited to 1 to {DEPLOYMENTS_MAX} deployments, not {len(deployments)}.", param="deployments"
        )
    for name in deployments:
        if len(name) > NAME_LENGTH_MAX or not _PRINTABLE.fullmatch(name):
            raise InvalidRequestError(f"{name[:80]!r} cannot be the name of a deployment.", param="deployments")


def _named(key_id: str, tenant: Tenant) -> dict[str, str]:
    # PostgreSQL's text cannot hold NUL, so no key has one in its id.
    clean = key_id.replace("\x00", "\ufffd")
    return {"id": clean, "organisation_id": tenant.organisation_id, "project_id": tenant.project_id}


def _key(row: Row) -> Key:
    values = dict(zip(Key.__struct_fields__, row, strict=True))
    values["scopes"] = msgspec.json.decode(values["scopes"], type=tuple[str, ...])
    if values["deployments"] is not None:
        values["deployments"] = msgspec.json.decode(values["deployments"], type=tuple[str, ...])
    return Key(**values)
