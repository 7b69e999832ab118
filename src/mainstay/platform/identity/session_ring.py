"""All open sessions in memory, so that checking a cookie asks no database."""

import logging
from dataclasses import dataclass, field

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, DatabaseError, Row, Value
from mainstay.kit.errors import UnauthenticatedError
from mainstay.platform.audit.events import ActorType
from mainstay.platform.identity.caller import Caller, Scope
from mainstay.platform.identity.change_feed import Changed, ChangeKind
from mainstay.platform.identity.default_projects import DefaultProjects
from mainstay.platform.identity.sessions import Lifetimes, SessionSecrets

WRITE_SECONDS = 30.0
"""How often it is written down when sessions were last used; other workers may know it so much later."""

_LOG = logging.getLogger(__name__)
_IDS_PER_READ = 200
_COLUMNS = (
    "SELECT id, digest, organisation_id, principal_id, last_seen_at_ms, expires_at_ms, revoked_at_ms FROM sessions"
)
_OPEN = f"{_COLUMNS} WHERE revoked_at_ms IS NULL AND expires_at_ms > :now_ms AND last_seen_at_ms > :idle_since_ms"
_SEEN = "UPDATE sessions SET last_seen_at_ms = :seen WHERE id = :id AND last_seen_at_ms < :seen_too"
_ACTIVE = (
    "UPDATE users SET last_active_at_ms = :seen WHERE principal_id = :id "
    "AND (last_active_at_ms IS NULL OR last_active_at_ms < :seen_too)"
)


@dataclass(slots=True)
class _Open:
    """An open session. Times are Unix seconds."""

    caller: Caller
    digest: bytes
    last_seen: float
    written: float = field(init=False)

    def __post_init__(self) -> None:
        self.written = self.last_seen


class SessionRing:
    """Whose each cookie is. A view of the change feed."""

    kinds = frozenset({ChangeKind.SESSION})

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        secrets: SessionSecrets,
        lifetimes: Lifetimes,
        projects: DefaultProjects,
    ) -> None:
        self._database = database
        self._clock = clock
        self._secrets = secrets
        self._idle_seconds = lifetimes.idle_seconds
        self._projects = projects
        self._open: dict[bytes, _Open] = {}
        self._digests: dict[str, bytes] = {}

    def __len__(self) -> int:
        """The number of sessions in memory, of which some may have run out."""
        return len(self._open)

    def find(self, secret: bytes) -> Caller | None:
        """Return whose cookie `secret` is; None if memory does not say, and `verify` must."""
        digest = self._secrets.digest(secret)
        session = None if digest is None else self._open.get(digest)
        return None if session is None else self._use(session)

    async def verify(self, secret: bytes) -> Caller:
        """Return whose cookie `secret` is, as the database says: it may be as new as this moment, or was last used
        at another worker. Raises UnauthenticatedError or DatabaseError.
        """
        digest = self._secrets.digest(secret)
        if digest is None:
            raise _ended()
        self._take(await self._database.fetch(f"{_COLUMNS} WHERE digest = :digest", {"digest": digest}))
        session = self._open.get(digest)
        caller = None if session is None else self._use(session)
        if caller is None:
            raise _ended()
        return caller

    def current(self, session_id: str) -> Caller | None:
        """Return the caller of an open session, which counts as used; None once it has ended."""
        digest = self._digests.get(session_id)
        session = None if digest is None else self._open.get(digest)
        return None if session is None else self._use(session)

    async def reload(self) -> None:
        """Read every open session."""
        now_ms = int(self._clock.wall() * 1000)
        rows = await self._database.fetch(
            _OPEN, {"now_ms": now_ms, "idle_since_ms": now_ms - self._idle_seconds * 1000}
        )
        seen = {digest: session.last_seen for digest, session in self._open.items()}
        self._open, self._digests = {}, {}
        self._take(rows)
        for digest, session in self._open.items():
            session.last_seen = max(session.last_seen, seen.get(digest, 0.0))

    async def apply(self, changed: Changed) -> None:
        """Read the sessions that were begun or ended."""
        ids = sorted(changed[ChangeKind.SESSION])
        for start in range(0, len(ids), _IDS_PER_READ):
            part = ids[start : start + _IDS_PER_READ]
            values: dict[str, Value] = {f"id{number}": id_ for number, id_ in enumerate(part)}
            names = ", ".join(f":{name}" for name in values)
            rows = await self._database.fetch(f"{_COLUMNS} WHERE id IN ({names})", values)
            for gone in set(part) - {row[0] for row in rows}:
                self._forget(gone)
            self._take(rows)

    async def write_down(self) -> None:
        """Write when sessions were last used, and forget those that have run out. Raises DatabaseError."""
        used = [session for session in self._open.values() if session.last_seen > session.written]
        if used:
            times = [(session, session.last_seen, int(session.last_seen * 1000)) for session in used]
            people = {session.caller.principal_id: seen for session, _, seen in sorted(times, key=lambda one: one[2])}
            async with self._database.transaction() as transaction:
                await transaction.execute_many(_SEEN, [(seen, one.caller.key_id, seen) for one, _, seen in times])
                # In one order, as the use of keys is written: nobody waits for one who waits for him.
                await transaction.execute_many(_ACTIVE, [(seen, who, seen) for who, seen in sorted(people.items())])
            for session, last_seen, _ in times:
                session.written = last_seen
        now = self._clock.wall()
        for session in [one for one in self._open.values() if self._is_over(one, now)]:
            self._forget(session.caller.key_id)

    async def run(self) -> None:
        """Keep writing down until cancelled; what cannot be written is written later."""
        import asyncio

        while True:
            await asyncio.sleep(WRITE_SECONDS)
            try:
                await self.write_down()
            except DatabaseError as error:
                _LOG.warning("sessions: %s It is noted later when they were used.", error.message)

    def _use(self, session: _Open) -> Caller | None:
        now = self._clock.wall()
        if self._is_over(session, now):
            return None
        session.last_seen = now
        return session.caller

    def _is_over(self, session: _Open, now: float) -> bool:
        expires_at = session.caller.expires_at
        return session.last_seen + self._idle_seconds <= now or (expires_at is not None and expires_at <= now)

    def _take(self, rows: list[Row]) -> None:
        for id_, digest, organisation_id, principal_id, last_seen_ms, expires_at_ms, revoked_at_ms in rows:
            if revoked_at_ms is not None:
                self._forget(id_)
                continue
            known = self._open.get(bytes(digest))
            if known is not None:
                known.last_seen = max(known.last_seen, last_seen_ms / 1000)
                continue
            caller = Caller(
                key_id=id_,
                organisation_id=organisation_id,
                project_id=self._projects.of(organisation_id) or "",
                scopes=_SCOPES,
                expires_at=expires_at_ms / 1000,
                principal_id=principal_id,
                actor_type=ActorType.USER,
            )
            self._open[bytes(digest)] = _Open(caller, bytes(digest), last_seen_ms / 1000)
            self._digests[id_] = bytes(digest)

    def _forget(self, session_id: str) -> None:
        digest = self._digests.pop(session_id, None)
        if digest is not None:
            self._open.pop(digest, None)


_SCOPES = frozenset({Scope.INFERENCE, Scope.ADMIN})
"""A session may be used for all that its owner may do."""


def is_session(caller: Caller) -> bool:
    """Whether the caller came with a session's cookie, not with a key or a token."""
    return caller.key_id.startswith("sess_")


def _ended() -> UnauthenticatedError:
    return UnauthenticatedError("This session has ended; sign in again.", code="session_ended")
