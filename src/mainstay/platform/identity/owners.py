"""An organisation that has an owner keeps one: whatever takes an owner away is done inside `keeping_an_owner`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mainstay.kit.database import Transaction, Value
from mainstay.kit.errors import ConflictError
from mainstay.platform.identity.roles import OWNER

# Groups in groups included; UNION ends even where there were a circle.
_OWNERS = (
    "WITH RECURSIVE holders (id) AS ("
    "SELECT principal_id FROM role_bindings WHERE organisation_id = :organisation_id AND scope_type = 'organisation' "
    "AND scope_id = :organisation_id AND role_id = :role_id AND (expires_at_ms IS NULL OR expires_at_ms > :now_ms) "
    "UNION SELECT members.member_id FROM group_members members JOIN holders ON members.group_id = holders.id) "
    "SELECT principals.id FROM principals JOIN holders ON holders.id = principals.id "
    "WHERE principals.type = 'user'"
)
_ACTIVE = " AND principals.status = 'active'"


async def lock_organisation(transaction: Transaction, organisation_id: str) -> None:
    """Let one transaction at a time change groups and owners of the organisation. Take it before other locks."""
    await transaction.execute("UPDATE organisations SET version = version WHERE id = :id", {"id": organisation_id})


async def active_owners(transaction: Transaction, organisation_id: str, now_ms: int) -> frozenset[str]:
    """Return the ids of the active users who own the organisation, by themselves or through groups."""
    return await _owners(transaction, _OWNERS + _ACTIVE, organisation_id, now_ms)


async def all_owners(transaction: Transaction, organisation_id: str, now_ms: int) -> frozenset[str]:
    """Return the ids of the users who own the organisation; those, too, who would if they were active again."""
    return await _owners(transaction, _OWNERS, organisation_id, now_ms)


async def _owners(transaction: Transaction, statement: str, organisation_id: str, now_ms: int) -> frozenset[str]:
    values: dict[str, Value] = {"organisation_id": organisation_id, "role_id": OWNER.id, "now_ms": now_ms}
    return frozenset(str(id_) for (id_,) in await transaction.fetch(statement, values))


@asynccontextmanager
async def keeping_an_owner(transaction: Transaction, organisation_id: str, now_ms: int) -> AsyncIterator[None]:
    """Run what may take an owner away, and raise ConflictError if it took the last one.

    Enter it before anything else is locked; leave it before the act is recorded.
    """
    await lock_organisation(transaction, organisation_id)
    had_one = bool(await active_owners(transaction, organisation_id, now_ms))
    yield
    if had_one and not await active_owners(transaction, organisation_id, now_ms):
        raise ConflictError(
            "This would leave the organisation without an active owner; make someone else an owner first.",
            code="last_owner",
        )
