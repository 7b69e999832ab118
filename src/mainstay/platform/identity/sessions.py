"""Sign-in sessions: begun, listed and ended. The database holds a digest of each cookie, never the cookie."""

import base64
import hmac
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Row, Transaction, Value
from mainstay.kit.errors import NotFoundError
from mainstay.kit.ids import new_sortable_id
from mainstay.kit.pages import Page, PageRequest
from mainstay.platform.audit.events import Act, Actor, ActorType, Event, Origin, Target
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.change_feed import Change, ChangeKind
from mainstay.platform.identity.names import clean_id

_SECRET_BYTES = 32
_TAG_BYTES = 16
_USER_AGENT_LENGTH_MAX = 256
_is_secret = re.compile(rb"[A-Za-z0-9_-]{64}").fullmatch
_COLUMNS = (
    "id, organisation_id, principal_id, method, created_at_ms, last_seen_at_ms, expires_at_ms, revoked_at_ms, "
    "address, user_agent"
)
_INSERT = (
    f"INSERT INTO sessions ({_COLUMNS}, digest) "  # noqa: S608 - constants only
    "VALUES (:id, :organisation_id, :principal_id, :method, :created_at_ms, :last_seen_at_ms, :expires_at_ms, "
    ":revoked_at_ms, :address, :user_agent, :digest)"
)
_SELECT = f"SELECT {_COLUMNS} FROM sessions WHERE organisation_id = :organisation_id"  # noqa: S608 - constants only
_IS_USER = "SELECT 1 FROM users WHERE organisation_id = :organisation_id AND principal_id = :id"
_REVOKE = (
    "UPDATE sessions SET revoked_at_ms = :now_ms WHERE organisation_id = :organisation_id AND revoked_at_ms IS NULL"
)


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """What may be known about a session. `method` is password, link or the id of an identity provider."""

    id: str
    organisation_id: str
    principal_id: str
    method: str
    created_at_ms: int
    last_seen_at_ms: int
    expires_at_ms: int
    revoked_at_ms: int | None
    address: str
    user_agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long sessions last: unused, and at most."""

    idle_seconds: int
    max_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """Someone who has proved who he is."""

    organisation_id: str
    principal_id: str
    method: str
    origin: Origin
    replaces: bytes | None = None
    """The cookie that the browser came with, if any: its session ends, so that none is carried over a sign-in."""
    max_seconds: int | None = None
    """How long the session may last at most, where a policy is stricter than the settings."""

    @property
    def act(self) -> Act:
        """The sign-in as an act of the one who signs in."""
        return Act(actor=Actor(type=ActorType.USER, id=self.principal_id), origin=self.origin)


@dataclass(frozen=True, slots=True)
class Begun:
    """A session that was begun, its cookie, and what is to be recorded of it."""

    session: Session
    secret: str
    event: Event
    changes: tuple[Change, ...]


class SessionSecrets:
    """Makes cookies, and knows from one alone whether it was made here: what is forged never reaches the database."""

    def __init__(self, pepper: bytes) -> None:
        self._tag_key = hmac.digest(pepper, b"mainstay session tag", "sha256")
        self._digest_key = hmac.digest(pepper, b"mainstay session digest", "sha256")

    def new(self) -> str:
        """Return a new cookie: 256 random bits and their tag."""
        random = os.urandom(_SECRET_BYTES)
        return base64.urlsafe_b64encode(random + self._tag(random)).decode()

    def digest(self, secret: bytes) -> bytes | None:
        """Return the digest under which a session is stored; None for what is no cookie of ours."""
        if _is_secret(secret) is None:
            return None
        raw = base64.urlsafe_b64decode(secret)
        random, tag = raw[:_SECRET_BYTES], raw[_SECRET_BYTES:]
        if not hmac.compare_digest(tag, self._tag(random)):
            return None
        return hmac.digest(self._digest_key, secret, "sha256")

    def _tag(self, random: bytes) -> bytes:
        return hmac.digest(self._tag_key, random, "sha256")[:_TAG_BYTES]


class Sessions:
    """The sessions of one database."""

    def __init__(
        self, database: Database, acts: Acts, clock: Clock, *, secrets: SessionSecrets, lifetimes: Lifetimes
    ) -> None:
        self._database = database
        self._acts = acts
        self._clock = clock
        self._secrets = secrets
        self._lifetimes = lifetimes

    async def create(self, sign_in: SignIn) -> Begun:
        """Begin a session, in a transaction of its own."""
        async with self._database.transaction() as transaction:
            begun = await self.begin(transaction, sign_in)
            await self._acts.record(
                transaction, sign_in.act, sign_in.organisation_id, events=[begun.event], changes=begun.changes
            )
        return begun

    async def begin(self, transaction: Transaction, sign_in: SignIn) -> Begun:
        """Begin a session in the caller's transaction, who then records its event and its changes."""
        now_ms = self._now_ms()
        longest = min(self._lifetimes.max_seconds, sign_in.max_seconds or self._lifetimes.max_seconds)
        session = Session(
            id=new_sortable_id("sess_"),
            organisation_id=sign_in.organisation_id,
            principal_id=sign_in.principal_id,
            method=sign_in.method,
            created_at_ms=now_ms,
            last_seen_at_ms=now_ms,
            expires_at_ms=now_ms + longest * 1000,
            revoked_at_ms=None,
            address=sign_in.origin.address or "",
            user_agent=(sign_in.origin.user_agent or "")[:_USER_AGENT_LENGTH_MAX],
        )
        ended = await self._end_replaced(transaction, sign_in.replaces, now_ms)
        secret = self._secrets.new()
        values: dict[str, Value] = msgspec.structs.asdict(session)
        await transaction.execute(_INSERT, values | {"digest": self._secrets.digest(secret.encode())})
        event = Event(
            action="session.created",
            target=Target(type="session", id=session.id),
            details={"principal_id": session.principal_id, "method": session.method},
        )
        return Begun(session, secret, event, (*ended, (ChangeKind.SESSION, session.id)))

    async def list(
        self, organisation_id: str, page: PageRequest, *, principal_id: str | None = None, is_open: bool = True
    ) -> Page[Session]:
        """Return sessions of the organisation, or of one of its people; those that are open, or all of them."""
        values: dict[str, Value] = {"organisation_id": organisation_id, **page.values()}
        sql = _SELECT
        if principal_id is not None:
            sql += " AND principal_id = :principal_id"
            values["principal_id"] = clean_id(principal_id)
        if is_open:
            sql += " AND revoked_at_ms IS NULL AND expires_at_ms > :now_ms AND last_seen_at_ms > :idle_since_ms"
            now_ms = self._now_ms()
            values |= {"now_ms": now_ms, "idle_since_ms": now_ms - self._lifetimes.idle_seconds * 1000}
        return page.cut(await self._database.fetch(sql + page.clause(), values), _session)

    async def get(self, organisation_id: str, session_id: str) -> Session:
        """Return one session. Raises NotFoundError, also when it is another organisation's."""
        rows = await self._database.fetch(
            f"{_SELECT} AND id = :id", {"organisation_id": organisation_id, "id": clean_id(session_id)}
        )
        if not rows:
            raise _unknown(session_id)
        return _session(rows[0])

    async def revoke(
        self, act: Act, organisation_id: str, session_id: str, *, principal_id: str | None = None
    ) -> Session:
        """End a session; ending it again changes nothing. With `principal_id`, only if it is that one's.

        Raises NotFoundError.
        """
        session = await self.get(organisation_id, session_id)
        if principal_id not in (None, session.principal_id):
            raise _unknown(session_id)
        now_ms = self._now_ms()
        async with self._database.transaction() as transaction:
            ended = await transaction.execute(
                f"{_REVOKE} AND id = :id", {"organisation_id": organisation_id, "id": session.id, "now_ms": now_ms}
            )
            if ended:
                await self._acts.record(
                    transaction,
                    act,
                    organisation_id,
                    events=[_revoked(session.id, session.principal_id)],
                    changes=[(ChangeKind.SESSION, session.id)],
                )
        return session if session.revoked_at_ms is not None else msgspec.structs.replace(session, revoked_at_ms=now_ms)

    async def revoke_all(self, act: Act, organisation_id: str, principal_id: str, *, but: str | None = None) -> int:
        """End every session of a user, except `but`; return how many there were. Raises NotFoundError."""
        principal_id = clean_id(principal_id)
        async with self._database.transaction() as transaction:
            changes = await end_sessions_of(transaction, organisation_id, principal_id, now_ms=self._now_ms(), but=but)
            if changes:
                event = Event(
                    action="session.revoked",
                    target=Target(type="user", id=principal_id),
                    details={"sessions": [session_id for _, session_id in changes]},
                )
                await self._acts.record(transaction, act, organisation_id, events=[event], changes=changes)
            elif not await transaction.fetch(_IS_USER, {"organisation_id": organisation_id, "id": principal_id}):
                raise NotFoundError(f"There is no user '{principal_id[:80]}'.")
        return len(changes)

    async def _end_replaced(self, transaction: Transaction, secret: bytes | None, now_ms: int) -> Sequence[Change]:
        digest = None if secret is None else self._secrets.digest(secret)
        if digest is None:
            return ()
        rows = await transaction.fetch(
            "UPDATE sessions SET revoked_at_ms = :now_ms WHERE digest = :digest AND revoked_at_ms IS NULL RETURNING id",
            {"now_ms": now_ms, "digest": digest},
        )
        return [(ChangeKind.SESSION, id_) for (id_,) in rows]

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)


async def end_sessions_of(
    transaction: Transaction, organisation_id: str, principal_id: str, *, now_ms: int, but: str | None = None
) -> list[Change]:
    """End every session of someone, except `but`, in the caller's transaction, who then records the changes."""
    rows = await transaction.fetch(
        f"{_REVOKE} AND principal_id = :principal_id AND id <> :but RETURNING id",
        {"organisation_id": organisation_id, "principal_id": principal_id, "now_ms": now_ms, "but": but or ""},
    )
    return [(ChangeKind.SESSION, id_) for (id_,) in rows]


def limited_to(sign_in: SignIn, max_hours: int | None) -> SignIn:
    """Return the sign-in with the longest life that a policy allows its session; None is as the settings say."""
    return sign_in if max_hours is None else replace(sign_in, max_seconds=max_hours * 3600)


def _session(row: Row) -> Session:
    return Session(**dict(zip(Session.__struct_fields__, row, strict=True)))


def _revoked(session_id: str, principal_id: str) -> Event:
    return Event(
        action="session.revoked",
        target=Target(type="session", id=session_id),
        details={"principal_id": principal_id},
    )


def _unknown(session_id: str) -> NotFoundError:
    return NotFoundError(f"There is no session '{session_id[:100]}'.")
