"""The role that someone is made with, in the transaction that makes them."""

from mainstay.kit.database import Transaction, Value
from mainstay.kit.ids import new_sortable_id
from mainstay.platform.audit.events import Act
from mainstay.platform.identity.change_feed import Change, ChangeKind
from mainstay.platform.identity.names import clean_id
from mainstay.platform.identity.role_store import lock_role


async def bind_first_role(
    transaction: Transaction,
    act: Act,
    organisation_id: str,
    principal_id: str,
    *,
    role_id: str,
    project_id: str | None = None,
    now_ms: int,
) -> Change:
    """Bind a role to a principal that was made just now; return what views must be told.

    Whether the caller may give the role is asked before. Raises NotFoundError for a role that there is not.
    """
    role_id = clean_id(role_id)
    await lock_role(transaction, organisation_id, role_id)
    values: dict[str, Value] = {
        "id": new_sortable_id("binding_"),
        "organisation_id": organisation_id,
        "principal_id": principal_id,
        "role_id": role_id,
        "scope_type": "organisation" if project_id is None else "project",
        "scope_id": organisation_id if project_id is None else project_id,
        "created_by": act.actor.id,
        "now_ms": now_ms,
    }
    await transaction.execute(
        "INSERT INTO role_bindings (id, organisation_id, principal_id, role_id, scope_type, scope_id, expires_at_ms, "
        "created_by, created_at_ms, version) VALUES (:id, :organisation_id, :principal_id, :role_id, :scope_type, "
        ":scope_id, NULL, :created_by, :now_ms, 1)",
        values,
    )
    return (ChangeKind.BINDINGS, principal_id)
