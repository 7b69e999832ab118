"""API keys: made, listed, changed, rotated and revoked."""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, replace

import msgspec
from msgspec import UNSET

from mainstay.kit import secrets
from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Transaction, Value
from mainstay.kit.errors import ConflictError, InvalidRequestError, NotFoundError
from mainstay.kit.ids import new_api_key, new_sortable_id
from mainstay.kit.pages import Page, PageRequest
from mainstay.platform.audit.events import Act, Event
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.key_rows import COLUMNS, Key, insert_key, key_of, target_of, update_key
from mainstay.platform.identity.key_wishes import KeyChanges, NewKey, check_key, parse_networks
from mainstay.platform.identity.names import clean_id
from mainstay.platform.identity.organisations import DEFAULT_TENANT, Tenant
from mainstay.platform.identity.principals import PrincipalStatus, PrincipalType, require_version
from mainstay.platform.identity.visibility import NO_CONDITION, Columns, Condition

OVERLAP_SECONDS_DEFAULT = 86_400
OVERLAP_SECONDS_MAX = 90 * 86_400

_SELECT = f"SELECT {COLUMNS} FROM api_keys WHERE organisation_id = :organisation_id"  # noqa: S608 - constants only
_SHOWN = ("scopes", "deployments", "networks", "principal_id", "expires_at_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFilter:
    """Which keys: of a project, of a principal, with a scope, revoked or not."""

    project_id: str | None = None
    principal_id: str | None = None
    scope: str | None = None
    is_revoked: bool | None = None

    def clause(self) -> str:
        """Return the conditions; `values` belongs to it."""
        text = ""
        if self.project_id is not None:
            text += " AND project_id = :project_id"
        if self.principal_id is not None:
            text += " AND principal_id = :principal_id"
        if self.scope is not None:
            text += " AND scopes LIKE :scope"
        if self.is_revoked is not None:
            text += f" AND revoked_at_ms IS {'NOT ' if self.is_revoked else ''}NULL"
        return text

    def values(self) -> dict[str, Value]:
        """Return the values of the clause's placeholders."""
        named = {"project_id": self.project_id, "principal_id": self.principal_id}
        values: dict[str, Value] = {name: clean_id(value) for name, value in named.items() if value is not None}
        return values if self.scope is None else values | {"scope": f'%"{clean_id(self.scope)}"%'}


EVERY_KEY = KeyFilter()
KEY_COLUMNS = Columns(type="project", id="api_keys.project_id", project="api_keys.project_id")
"""What a list of keys is narrowed by: the projects that they are in."""


class Keys:
    """The keys of every organisation; each method keeps to one."""

    def __init__(self, database: Database, pepper: bytes, acts: Acts, clock: Clock) -> None:
        self._database = database
        self._pepper = pepper
        self._acts = acts
        self._clock = clock

    async def create(self, act: Act, wanted: NewKey, tenant: Tenant = DEFAULT_TENANT) -> tuple[Key, str]:
        """Make a key; return it with its secret, which nobody can ask for again.

        Raises InvalidRequestError, or NotFoundError if the project or principal does not exist.
        """
        key, secret = self.make(act, wanted, tenant)
        async with self._database.transaction() as transaction:
            await self.insert(transaction, key, secret)
            event = Event(action="key.created", target=target_of(key), details=_details(key))
            await self._acts.record(transaction, act, tenant.organisation_id, events=[event])
        return key, secret

    async def get(self, organisation_id: str, key_id: str, *, project_id: str | None = None) -> Key:
        """Return one key. Raises NotFoundError, also when it is another organisation's or project's."""
        wanted = KeyFilter(project_id=project_id)
        rows = await self._database.fetch(
            f"{_SELECT} AND id = :id{wanted.clause()}",
            {"organisation_id": organisation_id, "id": clean_id(key_id), **wanted.values()},
        )
        if not rows:
            raise _no_key(key_id)
        return key_of(rows[0])

    async def list(
        self,
        organisation_id: str,
        page: PageRequest,
        wanted: KeyFilter = EVERY_KEY,
        *,
        visible: Condition = NO_CONDITION,
    ) -> Page[Key]:
        """Return a page of the keys, revoked ones too."""
        rows = await self._database.fetch(
            _SELECT + wanted.clause() + visible.clause + page.clause(),
            {"organisation_id": organisation_id, **wanted.values(), **visible.values, **page.values()},
        )
        return page.cut(rows, key_of)

    async def update(
        self, act: Act, organisation_id: str, key_id: str, changes: KeyChanges, *, expected_version: int | None = None
    ) -> Key:
        """Change a key. Raises NotFoundError, VersionMismatchError, or ConflictError for one that is no longer good."""
        async with self._database.transaction() as transaction:
            before = await _locked(transaction, organisation_id, key_id, expected_version)
            self._require_good(before)
            key = self._changed(before, changes)
            changed = {
                name: [getattr(before, name), getattr(key, name)]
                for name in KeyChanges.__slots__
                if getattr(before, name) != getattr(key, name)
            }
            if not changed:
                return before
            key = msgspec.structs.replace(key, version=before.version + 1)
            await update_key(transaction, key)
            event = Event(action="key.updated", target=target_of(key), changed=changed)
            await self._acts.record(transaction, act, organisation_id, events=[event])
        return key

    async def rotate(
        self,
        act: Act,
        organisation_id: str,
        key_id: str,
        *,
        overlap_seconds: int = OVERLAP_SECONDS_DEFAULT,
        expires_at_ms: int | None = None,
        expected_version: int | None = None,
    ) -> tuple[Key, str]:
        """Make a key that replaces another, which stays good for `overlap_seconds`; return it with its secret.

        The new key is good for as long as the old one was made for, unless `expires_at_ms` says otherwise. Raises
        NotFoundError, VersionMismatchError, or ConflictError for a key that is no longer good or was rotated before.
        """
        if not 0 <= overlap_seconds <= OVERLAP_SECONDS_MAX:
            raise InvalidRequestError(
                f"overlap_seconds must be 0 to {OVERLAP_SECONDS_MAX}, not {overlap_seconds}.", param="overlap_seconds"
            )
        found = await self.get(organisation_id, key_id)
        async with self._database.transaction() as transaction:
            # What a key belongs to before the key, as whoever deletes an owner locks them.
            await _require_place(transaction, found)
            old = await _locked(transaction, organisation_id, key_id, expected_version)
            self._require_good(old)
            now_ms = self._now_ms()
            ends_ms = same_lifetime_ms(old, now_ms) if expires_at_ms is None else expires_at_ms
            wanted = replace(_same(old), expires_at_ms=ends_ms)
            new, secret = self.make(act, wanted, Tenant(organisation_id, old.project_id))
            await self.insert(transaction, new, secret)
            await update_key(transaction, _replaced(old, new.id, now_ms, overlap_seconds))
            event = Event(
                action="key.rotated",
                target=target_of(old),
                details={"rotated_to": new.id, "overlap_seconds": overlap_seconds},
            )
            await self._acts.record(transaction, act, organisation_id, events=[event])
        return new, secret

    async def revoke(
        self,
        act: Act,
        organisation_id: str,
        key_id: str,
        *,
        project_id: str | None = None,
        expected_version: int | None = None,
    ) -> Key:
        """Make a key useless for good; again changes nothing. Raises NotFoundError or VersionMismatchError."""
        await self.get(organisation_id, key_id, project_id=project_id)
        async with self._database.transaction() as transaction:
            before = await _locked(transaction, organisation_id, key_id, expected_version)
            if before.revoked_at_ms is not None:
                return before
            key = msgspec.structs.replace(before, revoked_at_ms=self._now_ms(), version=before.version + 1)
            await update_key(transaction, key)
            event = Event(action="key.revoked", target=target_of(key))
            await self._acts.record(transaction, act, organisation_id, events=[event])
        return key

    def make(self, act: Act, wanted: NewKey, tenant: Tenant) -> tuple[Key, str]:
        """Return a new key with its secret; `insert` writes it. Raises InvalidRequestError."""
        check_key(wanted, self._now_ms())
        return _make(act, wanted, tenant, self._now_ms())

    async def insert(self, transaction: Transaction, key: Key, secret: str) -> None:
        """Write a new key's row, in an act that the caller records. Raises NotFoundError."""
        await _require_place(transaction, key)
        digest = secrets.digest(self._pepper, secret.encode())
        await insert_key(transaction, key, digest=digest, pepper_id=pepper_id(self._pepper))

    def _changed(self, before: Key, changes: KeyChanges) -> Key:
        wanted = {name: getattr(changes, name) for name in KeyChanges.__slots__ if getattr(changes, name) is not UNSET}
        merged = msgspec.structs.replace(before, **wanted)
        check_key(_same(merged), self._now_ms())
        return msgspec.structs.replace(
            merged, deployments=_sorted(merged.deployments), networks=_networks(merged.networks)
        )

    def _require_good(self, key: Key) -> None:
        if not key.is_good_at(self._now_ms()) or key.rotated_to is not None:
            what = f"was replaced by '{key.rotated_to}'" if key.rotated_to else "is revoked or has expired"
            raise ConflictError(f"The key '{key.id}' {what}; make a new one.", code="key_not_good")

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)


def pepper_id(pepper: bytes) -> str:
    """Return a name for the pepper that says nothing about it, to tell a wrong one from a wrong key."""
    return hmac.digest(pepper, b"mainstay pepper id", "sha256")[:8].hex()


def _make(act: Act, wanted: NewKey, tenant: Tenant, now_ms: int) -> tuple[Key, str]:
    secret = new_api_key()
    key = Key(
        id=new_sortable_id("key_"),
        organisation_id=tenant.organisation_id,
        project_id=tenant.project_id,
        name=wanted.name,
        hint=f"{secret[:5]}…{secret[-4:]}",
        scopes=tuple(sorted(set(wanted.scopes))),
        deployments=_sorted(wanted.deployments),
        requests_per_minute=wanted.requests_per_minute,
        tokens_per_minute=wanted.tokens_per_minute,
        created_at_ms=now_ms,
        expires_at_ms=wanted.expires_at_ms,
        revoked_at_ms=None,
        principal_id=wanted.principal_id,
        networks=_networks(wanted.networks),
        created_by=act.actor.id,
    )
    return key, secret


def _sorted(names: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(sorted(set(names)))


def _networks(texts: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if texts is None else tuple(str(network) for network in parse_networks(texts))


def _same(key: Key) -> NewKey:
    return NewKey(**{name: getattr(key, name) for name in NewKey.__slots__})


def same_lifetime_ms(key: Key, now_ms: int) -> int | None:
    """Return until when a key that is made now is good for as long as `key` was when it was made; None is for ever."""
    return None if key.expires_at_ms is None else now_ms + key.expires_at_ms - key.created_at_ms


def _replaced(old: Key, new_id: str, now_ms: int, overlap_seconds: int) -> Key:
    ends_ms = now_ms + overlap_seconds * 1000
    return msgspec.structs.replace(
        old,
        rotated_to=new_id,
        expires_at_ms=ends_ms if old.expires_at_ms is None else min(old.expires_at_ms, ends_ms),
        version=old.version + 1,
    )


def _details(key: Key) -> dict[str, object]:
    return {"project_id": key.project_id} | {
        name: value for name in _SHOWN if (value := getattr(key, name)) is not None
    }


async def _locked(transaction: Transaction, organisation_id: str, key_id: str, expected_version: int | None) -> Key:
    values: dict[str, Value] = {"organisation_id": organisation_id, "id": clean_id(key_id)}
    rows = await transaction.fetch(
        "UPDATE api_keys SET version = version WHERE organisation_id = :organisation_id AND id = :id "  # noqa: S608 - constants only
        f"RETURNING {COLUMNS}",
        values,
    )
    if not rows:
        raise _no_key(key_id)
    key = key_of(rows[0])
    require_version(key.version, expected_version, f"The key '{key.id}'")
    return key


async def _require_place(transaction: Transaction, key: Key) -> None:
    """Raise NotFoundError unless the key's project and principal exist, and ConflictError for those that have ended."""
    values: dict[str, Value] = {"organisation_id": key.organisation_id, "id": clean_id(key.project_id)}
    # Locked for the transaction, so that no key is made for what ends meanwhile.
    rows = await transaction.fetch(
        "UPDATE projects SET version = version WHERE organisation_id = :organisation_id AND id = :id "
        "RETURNING archived_at_ms",
        values,
    )
    if not rows:
        raise NotFoundError(
            f"There is no project '{key.project_id[:80]}' in the organisation '{key.organisation_id}'.",
            param="project_id",
        )
    if rows[0][0] is not None:
        raise ConflictError(f"The project '{key.project_id}' is archived.", code="project_archived")
    if key.principal_id is not None:
        await _require_principal(transaction, key)


async def _require_principal(transaction: Transaction, key: Key) -> None:
    rows = await transaction.fetch(
        "UPDATE principals SET version = version WHERE organisation_id = :organisation_id AND id = :id "
        "RETURNING type, status",
        {"organisation_id": key.organisation_id, "id": clean_id(key.principal_id or "")},
    )
    if not rows or rows[0][0] == PrincipalType.GROUP:
        raise NotFoundError(
            f"There is no user or service account '{(key.principal_id or '')[:80]}'.", param="principal_id"
        )
    type_, status = rows[0]
    if status != PrincipalStatus.ACTIVE:
        raise ConflictError(
            f"The {PrincipalType(type_).shown} '{key.principal_id}' is deactivated.", code="principal_not_active"
        )
    if type_ == PrincipalType.SERVICE_ACCOUNT:
        await _require_same_project(transaction, key)


async def _require_same_project(transaction: Transaction, key: Key) -> None:
    rows = await transaction.fetch(
        "SELECT project_id FROM service_accounts WHERE principal_id = :id", {"id": key.principal_id}
    )
    if rows and rows[0][0] != key.project_id:
        raise ConflictError(
            f"The service account '{key.principal_id}' is in the project '{rows[0][0]}'; make its keys there.",
            param="project_id",
        )


def _no_key(key_id: str) -> NotFoundError:
    return NotFoundError(f"There is no key '{key_id[:80]}'; `mainstay keys list` shows the keys.")
