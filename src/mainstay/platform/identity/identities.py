"""Who the subjects of identity providers are here: shown, entered and separated by administrators."""

import msgspec

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Row, Transaction, Value
from mainstay.kit.errors import ConflictError, InvalidRequestError, NotFoundError
from mainstay.kit.pages import Page, PageRequest
from mainstay.platform.audit.events import Act, Event, Target
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.change_feed import ChangeKind
from mainstay.platform.identity.identity_providers import no_provider
from mainstay.platform.identity.names import clean_id, is_printable
from mainstay.platform.identity.owners import lock_organisation
from mainstay.platform.identity.principals import PrincipalType, end_sign_ins, no_principal

SUBJECT_LENGTH_MAX = 255
"""OpenID Connect Core, 2."""

_COLUMNS = "provider_id, subject, organisation_id, principal_id, created_at_ms, last_seen_at_ms"
_SELECT = f"SELECT {_COLUMNS} FROM identities WHERE organisation_id = :organisation_id AND provider_id = :provider_id"  # noqa: S608 - constants only
_INSERT = (
    f"INSERT INTO identities ({_COLUMNS}) "  # noqa: S608 - constants only
    "SELECT p.id, :subject, p.organisation_id, :user_id, :now_ms, :now_ms FROM identity_providers p "
    "WHERE p.organisation_id = :organisation_id AND p.id = :provider_id ON CONFLICT DO NOTHING RETURNING subject"
)
_LINKED = "SELECT 1 FROM identities WHERE provider_id = :provider_id AND principal_id = :user_id"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """A subject of a provider, and the user that it is. Times are Unix milliseconds."""

    provider_id: str
    subject: str
    organisation_id: str
    user_id: str
    created_at_ms: int
    last_seen_at_ms: int


class Identities:
    """The identities of every organisation; each method keeps to one."""

    def __init__(self, database: Database, acts: Acts, clock: Clock) -> None:
        self._database = database
        self._acts = acts
        self._clock = clock

    async def list(
        self, organisation_id: str, provider_id: str, page: PageRequest, *, user_id: str | None = None
    ) -> Page[Identity]:
        """Return a page of a provider's identities, by the user that they are."""
        values: dict[str, Value] = {"organisation_id": organisation_id, "provider_id": clean_id(provider_id)}
        sql = _SELECT
        if user_id is not None:
            sql += " AND principal_id = :user_id"
            values["user_id"] = clean_id(user_id)
        return page.cut(
            await self._database.fetch(sql + page.clause("principal_id"), values | page.values()), _identity
        )

    async def link(self, act: Act, organisation_id: str, provider_id: str, *, subject: str, user_id: str) -> Identity:
        """Let a subject be a user. Raises NotFoundError, InvalidRequestError, or ConflictError if either is linked."""
        if not 1 <= len(subject) <= SUBJECT_LENGTH_MAX or not is_printable(subject):
            raise InvalidRequestError(f"A subject has 1 to {SUBJECT_LENGTH_MAX} printable characters.", param="subject")
        now_ms = int(self._clock.wall() * 1000)
        identity = Identity(
            provider_id=clean_id(provider_id),
            subject=subject,
            organisation_id=organisation_id,
            user_id=clean_id(user_id),
            created_at_ms=now_ms,
            last_seen_at_ms=now_ms,
        )
        values: dict[str, Value] = msgspec.structs.asdict(identity) | {"now_ms": now_ms}
        async with self._database.transaction() as transaction:
            await lock_organisation(transaction, organisation_id)
            await _require_both(transaction, values)
            linked = await transaction.fetch(_LINKED, values)
            if linked or not await transaction.fetch(_INSERT, values):
                raise ConflictError(
                    "The subject or the user is linked already; separate them first.", code="already_linked"
                )
            event = Event(
                action="identity.linked",
                target=Target(type="user", id=identity.user_id),
                details={"identity_provider": identity.provider_id, "subject": subject},
            )
            await self._acts.record(
                transaction, act, organisation_id, events=[event], changes=[(ChangeKind.IDENTITY, identity.user_id)]
            )
        return identity

    async def separate(self, act: Act, organisation_id: str, provider_id: str, user_id: str) -> None:
        """Let a provider's subject be a user no more, and end the user's sessions. Raises NotFoundError."""
        user_id = clean_id(user_id)
        values: dict[str, Value] = {
            "organisation_id": organisation_id,
            "provider_id": clean_id(provider_id),
            "user_id": user_id,
        }
        async with self._database.transaction() as transaction:
            gone = await transaction.fetch(
                "DELETE FROM identities WHERE organisation_id = :organisation_id AND provider_id = :provider_id "
                "AND principal_id = :user_id RETURNING subject",
                values,
            )
            if not gone:
                raise NotFoundError(f"The user '{user_id[:80]}' is not linked with this identity provider.")
            changes = await end_sign_ins(transaction, user_id, int(self._clock.wall() * 1000))
            event = Event(
                action="identity.separated",
                target=Target(type="user", id=user_id),
                details={"identity_provider": provider_id, "subjects": [subject for (subject,) in gone]},
            )
            await self._acts.record(
                transaction,
                act,
                organisation_id,
                events=[event],
                changes=[(ChangeKind.IDENTITY, user_id), *changes],
            )


async def _require_both(transaction: Transaction, values: dict[str, Value]) -> None:
    """Raise NotFoundError unless the provider and the user are the organisation's."""
    provider_id, user_id = str(values["provider_id"]), str(values["user_id"])
    if not await transaction.fetch(
        "SELECT 1 FROM identity_providers WHERE organisation_id = :organisation_id AND id = :provider_id", values
    ):
        raise no_provider(provider_id)
    if not await transaction.fetch(
        "SELECT 1 FROM principals WHERE organisation_id = :organisation_id AND id = :user_id AND type = 'user'", values
    ):
        raise no_principal(user_id, PrincipalType.USER)


def _identity(row: Row) -> Identity:
    return Identity(**dict(zip(Identity.__struct_fields__, row, strict=True)))
