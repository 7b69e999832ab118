"""What the tests of signing in share: a clock that stands, people in organisations, and what was audited."""

from dataclasses import dataclass

from mainstay.kit.database import Database
from mainstay.platform.audit.events import Origin
from mainstay.platform.audit.ledger import Ledger
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.default_projects import DefaultProjects
from mainstay.platform.identity.password_sign_in import Lockout, PasswordSignIn
from mainstay.platform.identity.passwords import Passwords
from mainstay.platform.identity.session_ring import SessionRing
from mainstay.platform.identity.sessions import Lifetimes, Sessions, SessionSecrets
from mainstay.platform.identity.sign_in_links import SignInLinks
from mainstay.platform.identity.throttle import Throttle

NOW = 1_800_000_000.0
PEPPER = b"p" * 32
ORGANISATION = "org_default"
LIFETIMES = Lifetimes(idle_seconds=3600, max_seconds=86_400)
HERE = Origin(address="192.0.2.1", user_agent="Browser/1")


class Clock:
    """A clock that stands until it is turned."""

    def __init__(self) -> None:
        self.now = NOW

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


class Rules:
    """Policies as a test wants them."""

    def __init__(self) -> None:
        self.is_password_allowed = True
        self.max_hours: int | None = None

    def password_allowed(self, organisation_id: str, principal_id: str | None) -> bool:
        return self.is_password_allowed

    def session_max_hours(self, organisation_id: str, principal_id: str) -> int | None:
        return self.max_hours


@dataclass
class Door:
    """Everything by which one signs in, on one database."""

    database: Database
    clock: Clock
    rules: Rules
    passwords: Passwords
    secrets: SessionSecrets
    sessions: Sessions
    links: SignInLinks
    by_password: PasswordSignIn
    projects: DefaultProjects
    acts: Acts

    def ring(self) -> SessionRing:
        """Another worker's memory of sessions."""
        return SessionRing(self.database, self.clock, secrets=self.secrets, lifetimes=LIFETIMES, projects=self.projects)

    async def add_user(
        self, email: str = "ann@example.com", *, password: str | None = None, organisation_id: str = ORGANISATION
    ) -> str:
        """Add an active user and return the id."""
        id_ = f"user_{email.partition('@')[0]}_{organisation_id}"
        hashed = None if password is None else await self.passwords.hash(password)
        values = {"id": id_, "organisation_id": organisation_id, "email": email, "hash": hashed}
        async with self.database.transaction() as transaction:
            await transaction.execute(
                "INSERT INTO principals (id, organisation_id, type, name, status, created_at_ms, updated_at_ms, "
                "version) VALUES (:id, :organisation_id, 'user', 'Ann', 'active', 1, 1, 1)",
                values,
            )
            await transaction.execute(
                "INSERT INTO users (principal_id, organisation_id, email, email_normal, search_text, password_hash) "
                "VALUES (:id, :organisation_id, :email, :email, :email, :hash)",
                values,
            )
        return id_

    async def add_organisation(self, organisation_id: str) -> None:
        """Add an organisation with one project."""
        values = {"id": organisation_id, "project": f"proj_of_{organisation_id}"}
        async with self.database.transaction() as transaction:
            await transaction.execute(
                "INSERT INTO organisations (id, name, created_at_ms) VALUES (:id, :id, 1)", values
            )
            await transaction.execute(
                "INSERT INTO projects (organisation_id, id, name, created_at_ms) VALUES (:id, :project, 'First', 1)",
                values,
            )
        await self.projects.reload()

    async def set_status(self, principal_id: str, status: str) -> None:
        """Deactivate a user, or activate."""
        async with self.database.transaction() as transaction:
            await transaction.execute(
                "UPDATE principals SET status = :status WHERE id = :id", {"id": principal_id, "status": status}
            )

    async def audited(self, organisation_id: str = ORGANISATION) -> list[str]:
        """The actions in the organisation's audit log."""
        rows = await self.database.fetch(
            "SELECT action FROM audit_events WHERE organisation_id = :id ORDER BY sequence", {"id": organisation_id}
        )
        return [action for (action,) in rows]

    async def audit_text(self, organisation_id: str = ORGANISATION) -> str:
        """Everything that the organisation's audit log says."""
        rows = await self.database.fetch(
            "SELECT body FROM audit_events WHERE organisation_id = :id ORDER BY sequence", {"id": organisation_id}
        )
        return "\n".join(str(body) for (body,) in rows)


async def open_door(database: Database, *, attempts: int = 3, attempts_per_address: int = 100) -> Door:
    """Build everything, with passwords that are quick to check."""
    clock, rules = Clock(), Rules()
    acts = Acts(Ledger(clock), clock)
    secrets = SessionSecrets(PEPPER)
    sessions = Sessions(database, acts, clock, secrets=secrets, lifetimes=LIFETIMES)
    passwords = Passwords(memory_kib=8)
    by_password = PasswordSignIn(
        database,
        acts,
        clock,
        passwords=passwords,
        sessions=sessions,
        throttle=Throttle(clock, failures=attempts_per_address, seconds=900),
        rules=rules,
        lockout=Lockout(attempts=attempts, seconds=900),
    )
    by_password.answer_seconds = 0
    links = SignInLinks(database, acts, clock, pepper=PEPPER, sessions=sessions, rules=rules, good_for_seconds=600)
    projects = DefaultProjects(database)
    await projects.reload()
    return Door(database, clock, rules, passwords, secrets, sessions, links, by_password, projects, acts)
