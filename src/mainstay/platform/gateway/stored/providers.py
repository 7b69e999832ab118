"""The store of providers: credentials are sealed, and never leave it but for calls to the provider itself."""

import asyncio
import contextlib
from typing import Any

import msgspec

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database, Row, Transaction, Value
from mainstay.kit.endpoints import header_fault
from mainstay.kit.errors import ConflictError, InvalidRequestError, NotFoundError, VersionMismatchError
from mainstay.kit.http import AddressGuard, DnsFailure, Origin, Url
from mainstay.kit.ids import new_sortable_id
from mainstay.kit.pages import Page, PageRequest
from mainstay.kit.sealing import Sealer
from mainstay.platform.audit.events import Act, Event, Target
from mainstay.platform.gateway.provider import ProviderKind
from mainstay.platform.gateway.router import LOCAL
from mainstay.platform.gateway.stored.records import (
    Credentials,
    NewProvider,
    ProviderChanges,
    ProviderOptions,
    StoredProvider,
    wanted_of,
)
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.change_feed import ChangeKind
from mainstay.platform.identity.names import clean_id

PROVIDERS_MAX = 500
"""Of one organisation: every worker keeps all of them in memory."""

_LOOK_UP_SECONDS = 5.0
_HINT_FROM_LENGTH = 16
_COLUMNS = "id, organisation_id, name, kind, base_url, settings, is_enabled, created_at_ms, updated_at_ms, version"
_OF = "organisation_id = :organisation_id"
_SELECT = f"SELECT {_COLUMNS} FROM providers WHERE {_OF}"  # noqa: S608 - constants only
_INSERT = (
    f"INSERT INTO providers ({_COLUMNS}, credentials) "  # noqa: S608 - constants only
    "VALUES (:id, :organisation_id, :name, :kind, :base_url, :settings, :is_enabled, :created_at_ms, :updated_at_ms, "
    ":version, :credentials) ON CONFLICT (organisation_id, name) DO NOTHING RETURNING id"
)
_UPDATE = (
    "UPDATE providers SET kind = :kind, base_url = :base_url, settings = :settings, is_enabled = :is_enabled, "  # noqa: S608 - constants only
    "updated_at_ms = :updated_at_ms, version = :version, credentials = :credentials "
    f"WHERE {_OF} AND id = :id AND version = :before"
)
_USERS = f"SELECT name, targets FROM deployments WHERE {_OF}"  # noqa: S608 - constants only


class Providers:
    """The providers of every organisation; each method keeps to one."""

    def __init__(self, database: Database, acts: Acts, clock: Clock, *, sealer: Sealer, guard: AddressGuard) -> None:
        self._database = database
        self._acts = acts
        self._clock = clock
        self._sealer = sealer
        self._guard = guard

    async def create(self, act: Act, organisation_id: str, wanted: NewProvider) -> StoredProvider:
        """Make a provider.

        Raises InvalidRequestError, ForbiddenAddressError for an address that leads inside, or ConflictError: the name
        is taken, or there are too many.
        """
        if wanted.name == LOCAL:
            raise InvalidRequestError(f'"{LOCAL}" means the models that run here; choose another name.', param="name")
        now_ms = self._now_ms()
        credentials = Credentials(api_key=wanted.api_key, headers=wanted.headers)
        provider = StoredProvider(
            id=new_sortable_id("prov_"),
            organisation_id=organisation_id,
            name=wanted.name,
            kind=wanted.kind,
            base_url=await self._checked_url(wanted.base_url),
            options=_with_hints(
                ProviderOptions(
                    api_version=wanted.api_version, timeouts=wanted.timeouts, max_connections=wanted.max_connections
                ),
                credentials,
            ),
            is_enabled=wanted.is_enabled,
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
            version=1,
        )
        _check(provider, credentials)
        sealed = await self._seal(provider, credentials)
        async with self._database.transaction() as transaction:
            await _require_room(transaction, organisation_id)
            if not await transaction.fetch(_INSERT, _values(provider, sealed)):
                raise ConflictError(f"There is a provider '{provider.name}' already; choose another name.")
            details = {"kind": provider.kind.value, "base_url": provider.base_url}
            await self._record(transaction, act, provider, Event(action="provider.created", details=details))
        return provider

    async def get(self, organisation_id: str, provider_id: str) -> StoredProvider:
        """Return one provider. Raises NotFoundError, also for another organisation's."""
        rows = await self._database.fetch(
            f"{_SELECT} AND id = :id", {"organisation_id": organisation_id, "id": clean_id(provider_id)}
        )
        if not rows:
            raise no_provider(provider_id)
        return provider_of(rows[0])

    async def list(self, organisation_id: str, page: PageRequest, *, name: str | None = None) -> Page[StoredProvider]:
        """Return a page of the providers."""
        values: dict[str, Value] = {"organisation_id": organisation_id, **page.values()}
        condition = ""
        if name is not None:
            condition, values["name"] = " AND name = :name", clean_id(name)
        return page.cut(await self._database.fetch(_SELECT + condition + page.clause(), values), provider_of)

    async def update(
        self,
        act: Act,
        organisation_id: str,
        provider_id: str,
        changes: ProviderChanges,
        *,
        expected_version: int | None = None,
    ) -> StoredProvider:
        """Change a provider. Whoever gives it another host must give its credentials anew: they are for no other.

        Raises as `create` does, or NotFoundError, VersionMismatchError.
        """
        while True:
            before = await self.get(organisation_id, provider_id)
            if expected_version not in (None, before.version):
                raise _changed_meanwhile(before)
            after = await self._changed(act, before, changes)
            if after is not None:
                return after
            # Someone else was faster: what they left is read, and changed in turn.

    async def delete(
        self, act: Act, organisation_id: str, provider_id: str, *, expected_version: int | None = None
    ) -> None:
        """Delete a provider with its credentials.

        Raises NotFoundError, VersionMismatchError, or ConflictError while deployments have targets there.
        """
        async with self._database.transaction() as transaction:
            wanted: dict[str, Value] = {"organisation_id": organisation_id, "id": clean_id(provider_id)}
            rows = await transaction.fetch(f"{_SELECT} AND id = :id", wanted)
            if not rows:
                raise no_provider(provider_id)
            provider = provider_of(rows[0])
            if expected_version not in (None, provider.version):
                raise _changed_meanwhile(provider)
            users = [
                str(name)
                for name, targets in await transaction.fetch(_USERS, {"organisation_id": organisation_id})
                if any(target["provider"] == provider.name for target in msgspec.json.decode(targets))
            ]
            if users:
                shown = ", ".join(sorted(users)[:5]) + (", ..." if len(users) > 5 else "")
                raise ConflictError(f"Provider '{provider.name}' is used by deployments: {shown}. Change them first.")
            await transaction.execute(f"DELETE FROM providers WHERE {_OF} AND id = :id", wanted)  # noqa: S608 - constants only
            await self._record(transaction, act, provider, Event(action="provider.deleted"))

    async def credentials(self, provider: StoredProvider) -> Credentials:
        """Open what is sent to the provider. Raises MainstayError if it does not open."""
        rows = await self._database.fetch(
            f"SELECT credentials FROM providers WHERE {_OF} AND id = :id",  # noqa: S608 - constants only
            {"organisation_id": provider.organisation_id, "id": provider.id},
        )
        return await open_credentials(self._sealer, provider, rows[0][0] if rows else None)

    async def _changed(self, act: Act, before: StoredProvider, changes: ProviderChanges) -> StoredProvider | None:
        """Return what the provider has become, or None if it is not any more what it was `before`."""
        wanted = wanted_of(changes)
        known = await self.credentials(before)
        credentials = msgspec.structs.replace(
            known, **{k: wanted.pop(k) for k in ("api_key", "headers") if k in wanted}
        )
        if "base_url" in wanted:
            wanted["base_url"] = await self._checked_url(wanted["base_url"])
            _require_credentials_anew(before, wanted["base_url"], changes)
        options = {name: wanted.pop(name) for name in ProviderOptions.__struct_fields__ if name in wanted}
        after = msgspec.structs.replace(
            before, **wanted, options=_with_hints(msgspec.structs.replace(before.options, **options), credentials)
        )
        _check(after, credentials)
        shown = _shown_changes(before, after)
        if credentials != known:
            shown["credentials"] = ["changed", "changed"]
        if not shown:
            return before
        after = msgspec.structs.replace(after, updated_at_ms=self._now_ms(), version=before.version + 1)
        sealed = await self._seal(after, credentials)
        async with self._database.transaction() as transaction:
            if not await transaction.execute(_UPDATE, _values(after, sealed) | {"before": before.version}):
                return None
            await self._record(transaction, act, after, Event(action="provider.updated", changed=shown))
        return after

    async def _seal(self, provider: StoredProvider, credentials: Credentials) -> bytes | None:
        if credentials == Credentials():
            return None
        plain = msgspec.json.encode(credentials)
        return await self._sealer.seal(provider.organisation_id, plain, purpose=purpose_of(provider.id))

    async def _checked_url(self, text: str) -> str:
        """Return the base URL as it is kept. A name that nobody knows yet may be entered; calls are checked again."""
        try:
            url = Url.parse(text)
        except InvalidRequestError as error:
            error.param = "base_url"
            raise
        if "?" in url.target:
            raise InvalidRequestError(
                "The base_url ends with a query; leave it out (api_version is a member of its own).", param="base_url"
            )
        with contextlib.suppress(DnsFailure, TimeoutError):
            async with asyncio.timeout(_LOOK_UP_SECONDS):
                await self._guard.addresses(url.origin.host)
        return f"{url.origin}{url.target.rstrip('/')}"

    async def _record(self, transaction: Transaction, act: Act, provider: StoredProvider, event: Event) -> None:
        target = Target(type="provider", id=provider.id, name=provider.name)
        await self._acts.record(
            transaction,
            act,
            provider.organisation_id,
            events=[msgspec.structs.replace(event, target=target)],
            changes=[(ChangeKind.PROVIDER, provider.id)],
        )

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)


async def open_credentials(sealer: Sealer, provider: StoredProvider, sealed: bytes | None) -> Credentials:
    """Return what was sealed of a provider. Raises MainstayError if it does not open."""
    if sealed is None:
        return Credentials()
    plain = await sealer.open(provider.organisation_id, bytes(sealed), purpose=purpose_of(provider.id))
    return msgspec.json.decode(plain, type=Credentials)


def purpose_of(provider_id: str) -> str:
    """Return the place that credentials are sealed for."""
    return f"providers.credentials/{provider_id}"


def provider_of(row: Row) -> StoredProvider:
    """Make a provider of a row of the columns, in their order."""
    id_, organisation_id, name, kind, base_url, options, is_enabled, *times_and_version = row[:10]
    created_at_ms, updated_at_ms, version = times_and_version
    return StoredProvider(
        id=id_,
        organisation_id=organisation_id,
        name=name,
        kind=ProviderKind(kind),
        base_url=base_url,
        options=msgspec.json.decode(options, type=ProviderOptions),
        is_enabled=bool(is_enabled),
        created_at_ms=created_at_ms,
        updated_at_ms=updated_at_ms,
        version=version,
    )


def no_provider(provider_id: str) -> NotFoundError:
    """Return the error for an id that the organisation does not have."""
    return NotFoundError(f"There is no provider '{provider_id[:100]}'.")


def _values(provider: StoredProvider, sealed: bytes | None) -> dict[str, Value]:
    values: dict[str, Any] = msgspec.structs.asdict(provider)  # Any: values of columns
    settings = msgspec.json.encode(values.pop("options")).decode()
    return values | {"kind": provider.kind.value, "settings": settings, "credentials": sealed}


def _check(provider: StoredProvider, credentials: Credentials) -> None:
    if provider.kind is ProviderKind.OPENAI and provider.options.api_version is not None:
        message = 'Only kind "azure" has an api_version; remove it, or change the kind.'
        raise InvalidRequestError(message, param="api_version")
    key = credentials.api_key
    if key is not None and (" " in key or header_fault("authorization", key)):
        message = "The api_key has a space or a character that no header can hold; copy it again."
        raise InvalidRequestError(message, param="api_key")
    for name, value in credentials.headers.items():
        if fault := header_fault(name, value):
            raise InvalidRequestError(fault, param="headers")


def _with_hints(options: ProviderOptions, credentials: Credentials) -> ProviderOptions:
    """Note what may be known of the credentials: the end of a key that is long enough, and names of headers."""
    key = credentials.api_key
    return msgspec.structs.replace(
        options,
        has_api_key=key is not None,
        api_key_hint=f"…{key[-4:]}" if key is not None and len(key) >= _HINT_FROM_LENGTH else None,
        header_names=tuple(sorted(credentials.headers)),
    )


def _require_credentials_anew(before: StoredProvider, base_url: str, changes: ProviderChanges) -> None:
    """Refuse to send what is sealed to another host than it was entered for, where it could be read."""
    if Origin.split(before.base_url)[0] == Origin.split(base_url)[0]:
        return
    options = before.options
    missing = [
        name
        for name, is_there in (("api_key", options.has_api_key), ("headers", bool(options.header_names)))
        if is_there and getattr(changes, name) is msgspec.UNSET
    ]
    if missing:
        raise InvalidRequestError(
            f"The new base_url leads to another server than the {' and '.join(missing)} of provider '{before.name}' "
            "were entered for; send them again along with it (null or {} for none).",
            param=missing[0],
        )


def _shown_changes(before: StoredProvider, after: StoredProvider) -> dict[str, Any]:  # Any: values of the members
    old, new = ({**msgspec.to_builtins(one), **msgspec.to_builtins(one.options)} for one in (before, after))
    return {name: [old[name], value] for name, value in new.items() if name != "options" and old[name] != value}


async def _require_room(transaction: Transaction, organisation_id: str) -> None:
    ((count,),) = await transaction.fetch(
        f"SELECT COUNT(*) FROM providers WHERE {_OF}",  # noqa: S608 - constants only
        {"organisation_id": organisation_id},
    )
    if count >= PROVIDERS_MAX:
        raise ConflictError(f"There are {count} providers already, the most of one organisation; delete one first.")


def _changed_meanwhile(provider: StoredProvider) -> VersionMismatchError:
    return VersionMismatchError(f"Provider '{provider.name}' has changed since you read it; read it again.")
