"""Mail domains of organisations: whose addresses an identity provider may vouch for.

A domain is proved by a record in the DNS or attested by the server's operator, and then belongs to one organisation.
"""

import hmac
import secrets

import msgspec

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Row, Transaction
from mainstay.kit.errors import ConflictError, NotFoundError
from mainstay.kit.ids import new_sortable_id
from mainstay.kit.pages import Page, PageRequest
from mainstay.platform.audit.events import Act, Event, Target
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.domain_names import TextRecords, clean_domain, record_name
from mainstay.platform.identity.names import clean_id
from mainstay.platform.identity.owners import lock_organisation
from mainstay.platform.identity.principals import require_version

DOMAINS_MAX = 1000
"""Of one organisation."""
RECORD_PREFIX = "mainstay-domain-verification="

_COLUMNS = "id, organisation_id, name, verification, verified_at_ms, created_at_ms, version"
_SELECT = f"SELECT {_COLUMNS} FROM domains WHERE organisation_id = :organisation_id"  # noqa: S608 - constants only
_INSERT = (
    f"INSERT INTO domains ({_COLUMNS}) "  # noqa: S608 - constants only
    "VALUES (:id, :organisation_id, :name, :verification, :verified_at_ms, :created_at_ms, :version) "
    "ON CONFLICT DO NOTHING RETURNING id"
)
_LOCK = (
    "UPDATE domains SET version = version WHERE organisation_id = :organisation_id AND id = :id "  # noqa: S608 - constants only
    f"RETURNING {_COLUMNS}"
)
_VERIFY = (
    "UPDATE domains SET verified_at_ms = :now_ms, verified_name = name, version = version + 1 WHERE id = :id "
    "AND NOT EXISTS (SELECT 1 FROM domains others WHERE others.verified_name = domains.name) RETURNING id"
)


class Domain(msgspec.Struct, frozen=True, kw_only=True):
    """A domain. `verification` is what the record in the DNS must say after its prefix. Times are Unix milliseconds."""

    id: str
    organisation_id: str
    name: str
    verification: str
    verified_at_ms: int | None
    created_at_ms: int
    version: int

    @property
    def record_name(self) -> str:
        """The name of the TXT record."""
        return record_name(self.name)

    @property
    def record_text(self) -> str:
        """What one of its values must be."""
        return RECORD_PREFIX + self.verification


class Domains:
    """The domains of every organisation; each method keeps to one."""

    def __init__(self, database: Database, acts: Acts, clock: Clock, records: TextRecords) -> None:
        self._database = database
        self._acts = acts
        self._clock = clock
        self._records = records

    async def create(self, act: Act, organisation_id: str, name: str) -> Domain:
        """Enter a domain, to be verified. Raises InvalidRequestError or ConflictError."""
        domain = Domain(
            id=new_sortable_id("domain_"),
            organisation_id=organisation_id,
            name=clean_domain(name),
            verification=secrets.token_urlsafe(24),
            verified_at_ms=None,
            created_at_ms=self._now_ms(),
            version=1,
        )
        async with self._database.transaction() as transaction:
            await lock_organisation(transaction, organisation_id)
            ((count,),) = await transaction.fetch(
                "SELECT COUNT(*) FROM domains WHERE organisation_id = :organisation_id",
                {"organisation_id": organisation_id},
            )
            if count >= DOMAINS_MAX:
                raise ConflictError(f"An organisation can have {DOMAINS_MAX} domains; remove one first.")
            if not await transaction.fetch(_INSERT, msgspec.structs.asdict(domain)):
                raise ConflictError(
                    f"The domain '{domain.name}' is entered already.", param="name", code="already_exists"
                )
            event = Event(action="domain.created", target=_target(domain))
            await self._acts.record(transaction, act, organisation_id, events=[event])
        return domain

    async def get(self, organisation_id: str, domain_id: str) -> Domain:
        """Return one domain. Raises NotFoundError, also for another organisation's."""
        rows = await self._database.fetch(
            f"{_SELECT} AND id = :id", {"organisation_id": organisation_id, "id": clean_id(domain_id)}
        )
        if not rows:
            raise _no_domain(domain_id)
        return _domain(rows[0])

    async def list(self, organisation_id: str, page: PageRequest) -> Page[Domain]:
        """Return a page of the domains."""
        rows = await self._database.fetch(
            _SELECT + page.clause(), {"organisation_id": organisation_id, **page.values()}
        )
        return page.cut(rows, _domain)

    async def verify(self, act: Act, organisation_id: str, domain_id: str) -> Domain:
        """Look for the record in the DNS, and take the domain if it is there.

        Raises NotFoundError, UnavailableError when the name servers do not answer, or ConflictError: no record, or the
        domain is another organisation's.
        """
        domain = await self.get(organisation_id, domain_id)
        if domain.verified_at_ms is not None:
            return domain
        found = await self._records.texts(domain.record_name)
        wanted = domain.record_text.encode()
        if not any(hmac.compare_digest(text.strip().encode("utf-8", "replace"), wanted) for text in found):
            raise ConflictError(
                f"The DNS has no TXT record '{domain.record_text}' at {domain.record_name} yet; add it, and try again "
                "when the name servers know it.",
                code="record_not_found",
            )
        return await self._verified(act, organisation_id, domain, by="dns")

    async def attest(self, act: Act, organisation_id: str, domain_id: str) -> Domain:
        """Take the domain on the word of the server's operator, who alone may do so. Raises as `verify` does."""
        domain = await self.get(organisation_id, domain_id)
        if domain.verified_at_ms is not None:
            return domain
        return await self._verified(act, organisation_id, domain, by="operator")

    async def delete(
        self, act: Act, organisation_id: str, domain_id: str, *, expected_version: int | None = None
    ) -> None:
        """Give a domain up. Who is linked already stays so. Raises NotFoundError or VersionMismatchError."""
        async with self._database.transaction() as transaction:
            domain = await self._locked(transaction, organisation_id, domain_id, expected_version)
            await transaction.execute("DELETE FROM domains WHERE id = :id", {"id": domain.id})
            event = Event(action="domain.deleted", target=_target(domain))
            await self._acts.record(transaction, act, organisation_id, events=[event])

    async def _verified(self, act: Act, organisation_id: str, domain: Domain, *, by: str) -> Domain:
        now_ms = self._now_ms()
        try:
            async with self._database.transaction() as transaction:
                locked = await self._locked(transaction, organisation_id, domain.id, None)
                if locked.verified_at_ms is not None:
                    return locked
                if not await transaction.fetch(_VERIFY, {"id": domain.id, "now_ms": now_ms}):
                    raise _taken(domain)
                event = Event(action="domain.verified", target=_target(domain), details={"by": by})
                await self._acts.record(transaction, act, organisation_id, events=[event])
        except ConflictError as error:
            if error.__cause__ is None:
                raise
            raise _taken(domain) from error  # the database's own word: another was quicker
        return msgspec.structs.replace(locked, verified_at_ms=now_ms, version=locked.version + 1)

    async def _locked(
        self, transaction: Transaction, organisation_id: str, domain_id: str, expected_version: int | None
    ) -> Domain:
        rows = await transaction.fetch(_LOCK, {"organisation_id": organisation_id, "id": clean_id(domain_id)})
        if not rows:
            raise _no_domain(domain_id)
        domain = _domain(rows[0])
        require_version(domain.version, expected_version, f"The domain '{domain.name}'")
        return domain

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)


def _target(domain: Domain) -> Target:
    return Target(type="domain", id=domain.id, name=domain.name)


def _taken(domain: Domain) -> ConflictError:
    return ConflictError(
        f"The domain '{domain.name}' is verified by another organisation of this server.", code="domain_taken"
    )


def _no_domain(domain_id: str) -> NotFoundError:
    return NotFoundError(f"There is no domain '{domain_id[:80]}'.")


def _domain(row: Row) -> Domain:
    return Domain(**dict(zip(Domain.__struct_fields__, row, strict=True)))
