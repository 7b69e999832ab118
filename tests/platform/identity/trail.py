"""What tests read of the audit log and of the changes that views are told."""

import msgspec

from mainstay.kit.database import Database


async def audited(database: Database, organisation_id: str = "org_default") -> list[dict[str, object]]:
    """Return the events of an organisation, oldest first."""
    rows = await database.fetch(
        "SELECT body FROM audit_events WHERE organisation_id = :organisation_id ORDER BY sequence",
        {"organisation_id": organisation_id},
    )
    return [msgspec.json.decode(body) for (body,) in rows]


async def actions(database: Database, organisation_id: str = "org_default") -> list[str]:
    """Return what was done, oldest first."""
    return [str(event["action"]) for event in await audited(database, organisation_id)]


async def told(database: Database) -> set[tuple[str, str]]:
    """Return every kind and id that views were told of."""
    return {(kind, id_) for kind, id_ in await database.fetch("SELECT kind, id FROM changes")}


async def make_owner(database: Database, principal_id: str, organisation_id: str = "org_default") -> None:
    """Bind a principal to the role of an owner."""
    async with database.transaction() as transaction:
        await transaction.execute(
            "INSERT INTO role_bindings (id, organisation_id, principal_id, role_id, scope_type, scope_id, created_by, "
            "created_at_ms) VALUES (:id, :organisation_id, :principal_id, 'role_owner', 'organisation', "
            ":organisation_id, 'system', 0)",
            {"id": f"binding_{principal_id}", "organisation_id": organisation_id, "principal_id": principal_id},
        )
