"""Groups and roles that someone has because his identity provider says so, brought up to date when he signs in."""

from dataclasses import dataclass, field

import msgspec

from mainstay.kit.database import Transaction, Value
from mainstay.kit.ids import new_sortable_id
from mainstay.platform.audit.events import Event, Target
from mainstay.platform.identity.change_feed import Change, ChangeKind
from mainstay.platform.identity.oidc.person import Person, mapped
from mainstay.platform.identity.owners import active_owners
from mainstay.platform.identity.roles import BUILT_IN
from mainstay.platform.identity.stored_provider import IdentityProvider, Stored

_PRESENT = (
    "SELECT group_id, source FROM group_members WHERE organisation_id = :organisation_id AND member_id = :user_id"
)
_JOIN = (
    "INSERT INTO group_members (group_id, member_id, organisation_id, source) "
    "SELECT principal_id, :user_id, organisation_id, 'idp' FROM groups WHERE organisation_id = :organisation_id "
    "AND principal_id = :group_id AND source <> 'scim' ON CONFLICT DO NOTHING RETURNING group_id"
)
_LEAVE = (
    "DELETE FROM group_members WHERE organisation_id = :organisation_id AND group_id = :group_id "
    "AND member_id = :user_id AND source = 'idp'"
)
_TOUCH = "UPDATE principals SET version = version + 1, updated_at_ms = :now_ms WHERE id = :group_id"
_OTHER_PROVIDERS = (
    "SELECT p.settings FROM identity_providers p JOIN identities i ON i.provider_id = p.id "
    "WHERE i.principal_id = :user_id AND p.id <> :provider_id AND p.is_enabled"
)
_BOUND = (
    "SELECT id, role_id FROM role_bindings WHERE organisation_id = :organisation_id AND principal_id = :user_id "
    "AND created_by = :provider_id"
)
_BIND = (
    "INSERT INTO role_bindings (id, organisation_id, principal_id, role_id, scope_type, scope_id, created_by, "
    "created_at_ms) VALUES (:id, :organisation_id, :user_id, :role_id, 'organisation', :organisation_id, "
    ":provider_id, :now_ms) ON CONFLICT DO NOTHING RETURNING id"
)


@dataclass(slots=True)
class Written:
    """What was written in a transaction, for the audit log and for those who keep it in memory."""

    events: list[Event] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)


async def bring_up_to_date(
    transaction: Transaction, provider: IdentityProvider, person: Person, user_id: str, *, now_ms: int
) -> Written:
    """Give and take what the provider's settings say; what was given otherwise stays.

    The organisation is locked by the caller.
    """
    values: dict[str, Value] = {
        "organisation_id": provider.organisation_id,
        "provider_id": provider.id,
        "user_id": user_id,
        "now_ms": now_ms,
    }
    written = Written()
    if person.groups is None:
        return written
    await _bring_groups(transaction, provider, person, values, written=written)
    await _bring_roles(transaction, provider, person, values, written=written)
    return written


async def _bring_groups(
    transaction: Transaction, provider: IdentityProvider, person: Person, values: dict[str, Value], *, written: Written
) -> None:
    wanted = mapped(person.groups, provider.settings.groups)
    present = {str(group_id): source for group_id, source in await transaction.fetch(_PRESENT, values)}
    joining = wanted - present.keys()
    leaving = {group_id for group_id, source in present.items() if source == "idp"} - wanted
    if leaving:
        for (settings,) in await transaction.fetch(_OTHER_PROVIDERS, values):
            leaving -= set(msgspec.json.decode(settings, type=Stored).settings.groups.values())
    for group_id in sorted(joining):
        if await transaction.fetch(_JOIN, values | {"group_id": group_id}):
            await _note_member(transaction, values, group_id, "group.member_added", written=written)
    await _leave(transaction, values, leaving, written=written)


async def _leave(transaction: Transaction, values: dict[str, Value], leaving: set[str], *, written: Written) -> None:
    """Take someone out of groups, unless the organisation would lose its last owner by that."""
    organisation_id, now_ms = str(values["organisation_id"]), int(values["now_ms"] or 0)
    for group_id in sorted(leaving):
        had_owner = bool(await active_owners(transaction, organisation_id, now_ms))
        await transaction.execute(_LEAVE, values | {"group_id": group_id})
        if had_owner and not await active_owners(transaction, organisation_id, now_ms):
            await transaction.execute(_JOIN, values | {"group_id": group_id})
            continue
        await _note_member(transaction, values, group_id, "group.member_removed", written=written)


async def _note_member(
    transaction: Transaction, values: dict[str, Value], group_id: str, action: str, *, written: Written
) -> None:
    await transaction.execute(_TOUCH, values | {"group_id": group_id})
    user_id = str(values["user_id"])
    details = {"member_ids": [user_id], "identity_provider": values["provider_id"]}
    written.events.append(Event(action=action, target=Target(type="group", id=group_id), details=details))
    written.changes.append((ChangeKind.MEMBERS, user_id))


async def _bring_roles(
    transaction: Transaction, provider: IdentityProvider, person: Person, values: dict[str, Value], *, written: Written
) -> None:
    settings = provider.settings
    wanted = mapped(person.groups, settings.roles) | ({settings.default_role_id} if settings.default_role_id else set())
    bound = {str(role_id): str(id_) for id_, role_id in await transaction.fetch(_BOUND, values)}
    for role_id in sorted(wanted - bound.keys()):
        if role_id not in BUILT_IN and not await _has_role(transaction, values, role_id):
            continue  # it was deleted since the provider was set up
        id_ = new_sortable_id("binding_")
        if await transaction.fetch(_BIND, values | {"id": id_, "role_id": role_id}):
            _note_role(values, id_, role_id, "binding.created", written=written)
    for role_id in sorted(bound.keys() - wanted):
        await transaction.execute("DELETE FROM role_bindings WHERE id = :id", {"id": bound[role_id]})
        _note_role(values, bound[role_id], role_id, "binding.deleted", written=written)


async def _has_role(transaction: Transaction, values: dict[str, Value], role_id: str) -> bool:
    return bool(
        await transaction.fetch(
            "SELECT 1 FROM roles WHERE organisation_id = :organisation_id AND id = :role_id",
            values | {"role_id": role_id},
        )
    )


def _note_role(values: dict[str, Value], id_: str, role_id: str, action: str, *, written: Written) -> None:
    user_id = str(values["user_id"])
    details = {"principal_id": user_id, "role_id": role_id, "identity_provider": values["provider_id"]}
    written.events.append(Event(action=action, target=Target(type="binding", id=id_), details=details))
    written.changes.append((ChangeKind.BINDINGS, user_id))
