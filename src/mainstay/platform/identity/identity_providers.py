"""Identity providers of organisations: several at once, in the database; their client secrets sealed."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from msgspec import UNSET, UnsetType

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Transaction, Value
from mainstay.kit.errors import ConflictError, InvalidRequestError, NotFoundError
from mainstay.kit.ids import new_sortable_id
from mainstay.kit.pages import Page, PageRequest
from mainstay.kit.sealing import Sealer
from mainstay.platform.audit.events import Act, Event, Target
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.change_feed import Change, ChangeKind
from mainstay.platform.identity.names import clean_id, clean_name, is_printable
from mainstay.platform.identity.oidc.discovery import checked_issuer
from mainstay.platform.identity.oidc.settings import ClientAuthentication, ProviderSettings
from mainstay.platform.identity.owners import lock_organisation
from mainstay.platform.identity.principals import require_version
from mainstay.platform.identity.provider_references import require_known, require_own_audiences
from mainstay.platform.identity.stored_provider import COLUMNS, Ceiling, IdentityProvider, Stored, provider_of

CLIENT_ID_LENGTH_MAX = 300
SECRET_LENGTH_MAX = 4096
PROVIDERS_MAX = 100
"""Of one organisation."""

_SELECT = f"SELECT {COLUMNS} FROM identity_providers WHERE organisation_id = :organisation_id"  # noqa: S608 - constants only
_INSERT = (
    "INSERT INTO identity_providers (id, organisation_id, type, name, issuer, client_id, client_secret, settings, "
    "is_enabled, created_at_ms, updated_at_ms, version) VALUES (:id, :organisation_id, :type, :name, :issuer, "
    ":client_id, :client_secret, :settings, :is_enabled, :created_at_ms, :updated_at_ms, :version)"
)
_UPDATE = (
    "UPDATE identity_providers SET name = :name, client_id = :client_id, client_secret = :client_secret, "
    "settings = :settings, is_enabled = :is_enabled, updated_at_ms = :updated_at_ms, version = :version WHERE id = :id"
)
_LOCK = (
    "UPDATE identity_providers SET version = version WHERE organisation_id = :organisation_id AND id = :id "  # noqa: S608 - constants only
    f"RETURNING {COLUMNS}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProvider:
    """What an identity provider shall be."""

    name: str
    issuer: str
    client_id: str
    client_secret: str | None
    settings: ProviderSettings
    ceiling: Ceiling
    is_enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderChanges:
    """What shall be otherwise; UNSET stays as it is. The issuer stays: its subjects are known by it."""

    name: str | UnsetType = UNSET
    client_id: str | UnsetType = UNSET
    client_secret: str | UnsetType | None = UNSET
    settings: ProviderSettings | UnsetType = UNSET
    ceiling: Ceiling | UnsetType = UNSET
    is_enabled: bool | UnsetType = UNSET


class IdentityProviders:
    """The providers of every organisation; each method keeps to one."""

    def __init__(self, database: Database, acts: Acts, clock: Clock, sealer: Sealer) -> None:
        self._database = database
        self._acts = acts
        self._clock = clock
        self._sealer = sealer

    async def create(self, act: Act, organisation_id: str, wanted: NewProvider) -> IdentityProvider:
        """Set a provider up. Raises InvalidRequestError, NotFoundError for what its settings name, or ConflictError."""
        now_ms, id_ = self._now_ms(), new_sortable_id("idp_")
        provider = IdentityProvider(
            id=id_,
            organisation_id=organisation_id,
            name=clean_name(wanted.name, "An identity provider"),
            issuer=checked_issuer(wanted.issuer),
            client_id=_clean_client_id(wanted.client_id),
            sealed_secret=await self._sealed(organisation_id, id_, wanted.client_secret),
            settings=wanted.settings.checked(),
            ceiling=wanted.ceiling,
            is_enabled=wanted.is_enabled,
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
            version=1,
        )
        _require_whole(provider)
        async with self._database.transaction() as transaction:
            await lock_organisation(transaction, organisation_id)
            await self._require_room(transaction, organisation_id)
            await require_known(transaction, organisation_id, provider.settings)
            await require_own_audiences(transaction, provider)
            await transaction.execute(_INSERT, _values(provider))
            event = Event(
                action="identity_provider.created",
                target=_target(provider),
                details={"issuer": provider.issuer, "client_id": provider.client_id},
            )
            await self._record(transaction, act, provider, event)
        return provider

    async def get(self, organisation_id: str, provider_id: str) -> IdentityProvider:
        """Return one provider. Raises NotFoundError, also for another organisation's."""
        rows = await self._database.fetch(
            f"{_SELECT} AND id = :id", {"organisation_id": organisation_id, "id": clean_id(provider_id)}
        )
        if not rows:
            raise no_provider(provider_id)
        return provider_of(rows[0])

    async def list(self, organisation_id: str, page: PageRequest) -> Page[IdentityProvider]:
        """Return a page of the providers."""
        rows = await self._database.fetch(
            _SELECT + page.clause(), {"organisation_id": organisation_id, **page.values()}
        )
        return page.cut(rows, provider_of)

    async def update(
        self,
        act: Act,
        organisation_id: str,
        provider_id: str,
        changes: ProviderChanges,
        *,
        expected_version: int | None = None,
    ) -> IdentityProvider:
        """Change a provider; one that is switched off ends the sessions that it began.

        Raises NotFoundError, VersionMismatchError, InvalidRequestError or ConflictError.
        """
        sealed = None
        if isinstance(changes.client_secret, str):
            sealed = await self._sealed(organisation_id, clean_id(provider_id), changes.client_secret)
        async with self._database.transaction() as transaction:
            await lock_organisation(transaction, organisation_id)
            before = await self._locked(transaction, organisation_id, provider_id, expected_version)
            wanted = _changed(before, changes, sealed)
            _require_whole(wanted)
            if wanted == before:
                return before
            after = msgspec.structs.replace(wanted, version=before.version + 1, updated_at_ms=self._now_ms())
            await _require_same_subjects(transaction, before, after)
            await require_known(transaction, organisation_id, after.settings, before=before.settings)
            await require_own_audiences(transaction, after)
            await transaction.execute(_UPDATE, _values(after))
            ended = () if after.is_enabled else await self._end_sessions(transaction, after)
            event = Event(
                action="identity_provider.updated", target=_target(after), changed=_shown_changes(before, after)
            )
            await self._record(transaction, act, after, event, *ended)
        return after

    async def delete(
        self, act: Act, organisation_id: str, provider_id: str, *, expected_version: int | None = None
    ) -> None:
        """Remove a provider and who its subjects are here, and end the sessions that it began; the users stay, with
        the groups and roles that they have. Raises NotFoundError or VersionMismatchError.
        """
        async with self._database.transaction() as transaction:
            await lock_organisation(transaction, organisation_id)
            provider = await self._locked(transaction, organisation_id, provider_id, expected_version)
            await transaction.execute("DELETE FROM sign_in_attempts WHERE provider_id = :id", {"id": provider.id})
            await transaction.execute("DELETE FROM identity_providers WHERE id = :id", {"id": provider.id})
            ended = await self._end_sessions(transaction, provider)
            event = Event(
                action="identity_provider.deleted", target=_target(provider), details={"sessions_ended": len(ended)}
            )
            await self._record(transaction, act, provider, event, *ended)

    async def secret(self, provider: IdentityProvider) -> str | None:
        """Return the client secret, to be sent to the provider and nowhere else."""
        if provider.sealed_secret is None:
            return None
        plain = await self._sealer.open(
            provider.organisation_id, provider.sealed_secret, purpose=secret_purpose(provider.id)
        )
        return plain.decode()

    async def _sealed(self, organisation_id: str, provider_id: str, secret: str | None) -> bytes | None:
        if secret is None:
            return None
        if not 1 <= len(secret) <= SECRET_LENGTH_MAX or not secret.isprintable():
            raise InvalidRequestError(
                f"A client secret has 1 to {SECRET_LENGTH_MAX} printable characters.", param="client_secret"
            )
        return await self._sealer.seal(organisation_id, secret.encode(), purpose=secret_purpose(provider_id))

    async def _locked(
        self, transaction: Transaction, organisation_id: str, provider_id: str, expected_version: int | None
    ) -> IdentityProvider:
        rows = await transaction.fetch(_LOCK, {"organisation_id": organisation_id, "id": clean_id(provider_id)})
        if not rows:
            raise no_provider(provider_id)
        provider = provider_of(rows[0])
        require_version(provider.version, expected_version, f"The identity provider '{provider.name}'")
        return provider

    async def _require_room(self, transaction: Transaction, organisation_id: str) -> None:
        ((count,),) = await transaction.fetch(
            "SELECT COUNT(*) FROM identity_providers WHERE organisation_id = :organisation_id",
            {"organisation_id": organisation_id},
        )
        if count >= PROVIDERS_MAX:
            raise ConflictError(f"An organisation can have {PROVIDERS_MAX} identity providers; remove one first.")

    async def _end_sessions(self, transaction: Transaction, provider: IdentityProvider) -> tuple[Change, ...]:
        rows = await transaction.fetch(
            "UPDATE sessions SET revoked_at_ms = :now_ms WHERE organisation_id = :organisation_id AND method = :id "
            "AND revoked_at_ms IS NULL RETURNING id",
            {"now_ms": self._now_ms(), "organisation_id": provider.organisation_id, "id": provider.id},
        )
        return tuple((ChangeKind.SESSION, str(session_id)) for (session_id,) in rows)

    async def _record(
        self,
        transaction: Transaction,
        act: Act,
        provider: IdentityProvider,
        event: Event,
        *more: Change,
    ) -> None:
        changes = [(ChangeKind.IDENTITY_PROVIDER, provider.id), *more]
        await self._acts.record(transaction, act, provider.organisation_id, events=[event], changes=changes)

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)


def no_provider(provider_id: str) -> NotFoundError:
    """Return what is said of a provider that is not there."""
    return NotFoundError(f"There is no identity provider '{provider_id[:80]}'.")


def secret_purpose(provider_id: str) -> str:
    """Return the place that a client secret is sealed for."""
    return f"identity_providers.client_secret/{provider_id}"


def _changed(before: IdentityProvider, changes: ProviderChanges, sealed: bytes | None) -> IdentityProvider:
    after = before
    if changes.name is not UNSET:
        after = msgspec.structs.replace(after, name=clean_name(changes.name, "An identity provider"))
    if changes.client_id is not UNSET:
        after = msgspec.structs.replace(after, client_id=_clean_client_id(changes.client_id))
    if changes.client_secret is not UNSET:
        after = msgspec.structs.replace(after, sealed_secret=sealed)
    if changes.settings is not UNSET:
        after = msgspec.structs.replace(after, settings=changes.settings.checked())
    if changes.ceiling is not UNSET:
        after = msgspec.structs.replace(after, ceiling=changes.ceiling)
    if changes.is_enabled is not UNSET:
        after = msgspec.structs.replace(after, is_enabled=changes.is_enabled)
    return after


def _require_whole(provider: IdentityProvider) -> None:
    has_secret = provider.sealed_secret is not None
    if has_secret is (provider.settings.client_authentication is ClientAuthentication.NONE):
        what = "has no client secret" if not has_secret else "has a client secret that it does not use"
        raise InvalidRequestError(
            f"The provider authenticates by {provider.settings.client_authentication} and {what}.",
            param="client_secret",
        )


async def _require_same_subjects(transaction: Transaction, before: IdentityProvider, after: IdentityProvider) -> None:
    if before.settings.subject_claim == after.settings.subject_claim:
        return
    if await transaction.fetch("SELECT 1 FROM identities WHERE provider_id = :id LIMIT 1", {"id": before.id}):
        raise ConflictError(
            "People are known by the present 'subject_claim' already; set another provider up instead.",
            param="settings.subject_claim",
        )


def _clean_client_id(text: str) -> str:
    if not 1 <= len(text) <= CLIENT_ID_LENGTH_MAX or not is_printable(text) or text != text.strip():
        raise InvalidRequestError(
            f"A client id has 1 to {CLIENT_ID_LENGTH_MAX} printable characters.", param="client_id"
        )
    return text


def _shown_changes(before: IdentityProvider, after: IdentityProvider) -> dict[str, Sequence[object]]:
    shown: dict[str, Sequence[object]] = {}
    for name in ("name", "client_id", "is_enabled"):
        if getattr(before, name) != getattr(after, name):
            shown[name] = [getattr(before, name), getattr(after, name)]
    if before.sealed_secret != after.sealed_secret:
        shown["client_secret"] = ["changed", "changed"]
    if before.ceiling.is_owner != after.ceiling.is_owner:
        shown["links_owners"] = [before.ceiling.is_owner, after.ceiling.is_owner]
    for name in ProviderSettings.__struct_fields__:
        old, new = (msgspec.to_builtins(getattr(one.settings, name)) for one in (before, after))
        if old != new:
            shown[f"settings.{name}"] = [old, new]
    return shown


def _values(provider: IdentityProvider) -> dict[str, Value]:
    return {
        "id": provider.id,
        "organisation_id": provider.organisation_id,
        "type": "oidc",
        "name": provider.name,
        "issuer": provider.issuer,
        "client_id": provider.client_id,
        "client_secret": provider.sealed_secret,
        "settings": msgspec.json.encode(Stored(settings=provider.settings, ceiling=provider.ceiling)).decode(),
        "is_enabled": provider.is_enabled,
        "created_at_ms": provider.created_at_ms,
        "updated_at_ms": provider.updated_at_ms,
        "version": provider.version,
    }


def _target(provider: IdentityProvider) -> Target:
    return Target(type="identity_provider", id=provider.id, name=provider.name)
