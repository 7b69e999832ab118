"""All keys in memory, so that checking one asks no database.

A key is found by its HMAC-SHA-256 in a dict: what an attacker could time is the comparison of digests that he
cannot choose. Under 3 us per check on the reference machine.
"""

import asyncio
import hmac
import ipaddress
import logging
import re
from collections.abc import Callable, Iterable

import msgspec

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, DatabaseError, Row
from mainstay.kit.errors import UnauthenticatedError
from mainstay.platform.audit.events import ActorType
from mainstay.platform.identity.caller import Caller, Network, Scope
from mainstay.platform.identity.keys import pepper_id
from mainstay.platform.identity.principals import KEYS_REVISION

POLL_SECONDS = 1.0

_log = logging.getLogger(__name__)
_is_key = re.compile(rb"sk-[A-Za-z0-9_-]{43}").fullmatch
_LOAD = (
    "SELECT digest, pepper_id, id, organisation_id, project_id, scopes, deployments, requests_per_minute, "
    "tokens_per_minute, expires_at_ms, principal_id, networks, revoked_at_ms FROM api_keys WHERE revision > :revision"
)
# Rows turned into callers before other tasks get their turn: about a millisecond.
_ROWS_PER_TURN = 200


class Keyring:
    """Who each key belongs to."""

    def __init__(self, database: Database, pepper: bytes, clock: Clock, *, poll_seconds: float = POLL_SECONDS) -> None:
        self._database = database
        self._pepper = pepper
        self._pepper_id = pepper_id(pepper)
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._callers: dict[bytes, Caller] = {}
        self._revoked: set[bytes] = set()
        self._revision = 0
        self._is_reachable = True
        self._refreshing = asyncio.Lock()
        self._by_id: dict[str, Caller] = {}
        self._used: dict[str, str | None] = {}
        self.on_change: list[Callable[[], None]] = []
        """Called after keys have changed."""

    def __len__(self) -> int:
        """The number of keys that are not revoked."""
        return len(self._callers)

    def find(self, secret: bytes) -> Caller:
        """Return whose key `secret` is. Raises UnauthenticatedError if it is unknown, expired or revoked."""
        if _is_key(secret) is None:
            raise _unknown()
        digest = hmac.digest(self._pepper, secret, "sha256")
        caller = self._callers.get(digest)
        if caller is None:
            if digest in self._revoked:
                raise UnauthenticatedError("This API key has been revoked. Use another one.")
            raise _unknown()
        if caller.expires_at is not None and caller.expires_at <= self._clock.wall():
            raise UnauthenticatedError("This API key has expired. Use another one.")
        self._used[caller.key_id] = caller.principal_id
        return caller

    def current(self, key_id: str) -> Caller | None:
        """Return what a key is good for now, None if it is revoked or expired: for calls that it began."""
        caller = self._by_id.get(key_id)
        if caller is None or (caller.expires_at is not None and caller.expires_at <= self._clock.wall()):
            return None
        return caller

    def take_used(self) -> dict[str, str | None]:
        """Return the keys that were used since this was last asked, with whose they are."""
        used, self._used = self._used, {}
        return used

    async def refresh(self) -> None:
        """Read what changed since the last time. Raises DatabaseError; what is known stays known."""
        async with self._refreshing:
            # The revision first: what is committed between the two reads is then read once more, not missed.
            rows = await self._database.fetch("SELECT value FROM revisions WHERE name = :name", {"name": KEYS_REVISION})
            revision = int(rows[0][0]) if rows else 0
            if revision == self._revision:
                return
            # Backwards: the database was restored from a backup, so everything is read again.
            is_partial = revision > self._revision
            await self._load(since=self._revision if is_partial else 0, is_partial=is_partial)
            self._revision = revision
        for tell in self.on_change:
            tell()

    async def run(self) -> None:
        """Keep refreshing until cancelled. An unreachable database is logged once and refuses nobody."""
        while True:
            await asyncio.sleep(self._poll_seconds)
            try:
                await self.refresh()
            except DatabaseError as error:
                if self._is_reachable:
                    _log.error("keys: %s The %d known keys stay good.", error.message, len(self))
                self._is_reachable = False
            else:
                if not self._is_reachable:
                    _log.warning("keys: The database answers again.")
                self._is_reachable = True

    async def _load(self, *, since: int, is_partial: bool) -> None:
        rows = await self._database.fetch(_LOAD, {"revision": since})
        callers = self._callers if is_partial else {}
        by_id = self._by_id if is_partial else {}
        revoked = self._revoked if is_partial else set()
        foreign = 0
        for number, row in enumerate(rows):
            digest, made_with, *values, revoked_at_ms = row
            foreign += made_with != self._pepper_id
            if revoked_at_ms is None:
                caller = _caller(tuple(values))
                callers[bytes(digest)] = by_id[caller.key_id] = caller
            else:
                callers.pop(bytes(digest), None)
                by_id.pop(values[0], None)
                revoked.add(bytes(digest))
            if number % _ROWS_PER_TURN == _ROWS_PER_TURN - 1:
                await asyncio.sleep(0)
        self._callers, self._by_id, self._revoked = callers, by_id, revoked
        if foreign:
            _log.error(
                "keys: %d of %d keys were made with another pepper and cannot be used; restore the file that held "
                "it, or create new keys.",
                foreign,
                len(rows),
            )


def _caller(row: Row) -> Caller:
    key_id, organisation_id, project_id, scopes, deployments, requests, tokens, expires_at_ms, *rest = row
    principal_id, networks = rest
    decoded_scopes = msgspec.json.decode(scopes, type=frozenset[str])
    return Caller(
        key_id=key_id,
        organisation_id=organisation_id,
        project_id=project_id,
        scopes=decoded_scopes,
        deployments=None if deployments is None else msgspec.json.decode(deployments, type=frozenset[str]),
        requests_per_minute=requests,
        tokens_per_minute=tokens,
        expires_at=None if expires_at_ms is None else expires_at_ms / 1000,
        principal_id=principal_id,
        actor_type=_actor_type(decoded_scopes, principal_id),
        networks=None if networks is None else _networks(msgspec.json.decode(networks, type=list[str])),
    )


def _actor_type(scopes: frozenset[str], principal_id: str | None) -> ActorType:
    if Scope.SCIM in scopes:
        return ActorType.DIRECTORY
    if principal_id is None:
        return ActorType.KEY
    return ActorType.SERVICE_ACCOUNT if principal_id.startswith("sa_") else ActorType.USER


def _networks(texts: Iterable[str]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


def _unknown() -> UnauthenticatedError:
    return UnauthenticatedError("Incorrect API key provided. `mainstay keys list` shows the keys that exist.")
