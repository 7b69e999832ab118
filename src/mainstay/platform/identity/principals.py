"""What users, groups and service accounts have in common: a row, a status, a version, and an end."""

from enum import StrEnum

from mainstay.kit.database import Transaction, Value
from mainstay.kit.errors import NotFoundError, VersionMismatchError
from mainstay.platform.identity.change_feed import Change, ChangeKind
from mainstay.platform.identity.names import clean_id

KEYS_REVISION = "api_keys"
"""Name of the counter that every change to a key raises, in the same transaction."""


class PrincipalType(StrEnum):
    """The kinds of principals; the values are stored."""

    USER = "user"
    GROUP = "group"
    SERVICE_ACCOUNT = "service_account"

    @property
    def shown(self) -> str:
        """The kind in words."""
        return self.value.replace("_", " ")


class PrincipalStatus(StrEnum):
    """Whether a principal may do anything; the values are stored."""

    ACTIVE = "active"
    DEACTIVATED = "deactivated"


async def insert_principal(transaction: Transaction, values: dict[str, Value]) -> None:
    """Write the row of a new principal: `id`, `organisation_id`, `type`, `name`, `status` and `now_ms`."""
    await transaction.execute(
        "INSERT INTO principals (id, organisation_id, type, name, status, created_at_ms, updated_at_ms, version) "
        "VALUES (:id, :organisation_id, :type, :name, :status, :now_ms, :now_ms, 1)",
        values,
    )


async def lock_principal(
    transaction: Transaction,
    organisation_id: str,
    principal_id: str,
    kind: PrincipalType,
    *,
    expected_version: int | None = None,
) -> None:
    """Keep others from changing the principal until the transaction ends.

    Raises NotFoundError, also for another organisation's, or VersionMismatchError.
    """
    rows = await transaction.fetch(
        "UPDATE principals SET version = version "
        "WHERE organisation_id = :organisation_id AND id = :id AND type = :type RETURNING version",
        {"organisation_id": organisation_id, "id": clean_id(principal_id), "type": kind.value},
    )
    if not rows:
        raise no_principal(principal_id, kind)
    require_version(int(rows[0][0]), expected_version, f"The {kind.shown} '{principal_id[:80]}'")


def no_principal(principal_id: str, kind: PrincipalType) -> NotFoundError:
    """Return what is said of a principal that is not in the organisation."""
    return NotFoundError(f"There is no {kind.shown} '{principal_id[:80]}'.")


def require_version(found: int, expected: int | None, what: str) -> None:
    """Raise VersionMismatchError when the caller has read another version than the one that is found."""
    if expected is not None and expected != found:
        raise VersionMismatchError(
            f"{what} has changed since you read it: version {found}, not {expected}. Read it again, then try again."
        )


async def end_sign_ins(transaction: Transaction, principal_id: str, now_ms: int) -> list[Change]:
    """Revoke the principal's sessions and sign-in links; return what views must be told."""
    values: dict[str, Value] = {"id": principal_id, "now_ms": now_ms}
    rows = await transaction.fetch(
        "UPDATE sessions SET revoked_at_ms = :now_ms WHERE principal_id = :id AND revoked_at_ms IS NULL RETURNING id",
        values,
    )
    await transaction.execute("DELETE FROM sign_in_links WHERE principal_id = :id", values)
    return [(ChangeKind.SESSION, str(session_id)) for (session_id,) in rows]


async def delete_principal(
    transaction: Transaction, organisation_id: str, principal_id: str, *, now_ms: int
) -> list[Change]:
    """Delete a principal with all that was given to it; its keys are revoked for good. Lock it first.

    Returns what views must be told. Rows that refer to it go with it; what is written of it in usage and audit stays.
    """
    values: dict[str, Value] = {"organisation_id": organisation_id, "id": principal_id, "now_ms": now_ms}
    changes = await end_sign_ins(transaction, principal_id, now_ms)
    await _revoke_keys(transaction, principal_id, now_ms)
    grants = await transaction.fetch(
        "DELETE FROM grants WHERE organisation_id = :organisation_id AND principal_id = :id "
        "RETURNING resource_type, resource_id",
        values,
    )
    changes += [(ChangeKind.GRANTS, f"{type_}:{resource_id}") for type_, resource_id in grants]
    policies = await transaction.fetch(
        "DELETE FROM policies WHERE organisation_id = :organisation_id AND scope_type IN ('user', 'group') "
        "AND scope_id = :id RETURNING scope_type",
        values,
    )
    changes += [(ChangeKind.POLICY, f"{type_}:{principal_id}") for (type_,) in policies]
    members = await transaction.fetch("SELECT member_id FROM group_members WHERE group_id = :id", values)
    changes += [(ChangeKind.MEMBERS, str(member_id)) for (member_id,) in members]
    await transaction.execute("DELETE FROM principals WHERE id = :id", values)
    own = (ChangeKind.PRINCIPAL, ChangeKind.MEMBERS, ChangeKind.BINDINGS, ChangeKind.IDENTITY)
    return [*changes, *((kind, principal_id) for kind in own)]


async def next_keys_revision(transaction: Transaction) -> int:
    """Raise the counter; its row stays locked until the commit, so revisions are committed in order."""
    rows = await transaction.fetch(
        "UPDATE revisions SET value = value + 1 WHERE name = :name RETURNING value", {"name": KEYS_REVISION}
    )
    return int(rows[0][0])


async def _revoke_keys(transaction: Transaction, principal_id: str, now_ms: int) -> None:
    values: dict[str, Value] = {"id": principal_id, "now_ms": now_ms}
    keys = await transaction.fetch(
        "SELECT id FROM api_keys WHERE principal_id = :id AND revoked_at_ms IS NULL ORDER BY id", values
    )
    if not keys:
        return
    # Keys before the counter, and in order, as everyone locks them.
    await transaction.execute_many("UPDATE api_keys SET version = version WHERE id = :id", keys)
    values["revision"] = await next_keys_revision(transaction)
    await transaction.execute(
        "UPDATE api_keys SET revoked_at_ms = :now_ms, revision = :revision, version = version + 1 "
        "WHERE principal_id = :id AND revoked_at_ms IS NULL",
        values,
    )
