"""Acts whose every trace can be counted afterwards: a row, an audit event, a change and a claimed key each."""

import json
from collections.abc import Iterable

from mainstay.kit.clock import SystemClock
from mainstay.kit.database import Database
from mainstay.platform.audit.events import Act, Actor, ActorType, Event, Target
from mainstay.platform.audit.ledger import Ledger
from mainstay.platform.audit.signing import PublicKeys
from mainstay.platform.audit.stored import verify_stored
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.change_feed import ChangeKind

ORGANISATION = "org_default"


async def perform(database: Database, name: str) -> None:
    """Make an organisation of that name; when this returns, it is there for good."""
    clock = SystemClock()
    acts = Acts(Ledger(clock), clock)
    act = Act(actor=Actor(type=ActorType.USER, id="user_1"), idempotency_key=name, request_digest=b"d")
    async with database.transaction() as transaction:
        await transaction.execute(
            "INSERT INTO organisations (id, name, created_at_ms) VALUES (:id, :name, 0)",
            {"id": f"org_{name}", "name": "x" * 200},
        )
        await acts.record(
            transaction,
            act,
            ORGANISATION,
            events=[Event(action="organisation.created", target=Target(type="organisation", id=f"org_{name}"))],
            changes=[(ChangeKind.ORGANISATION, f"org_{name}")],
        )


async def check(database: Database, acknowledged: Iterable[str]) -> set[str]:
    """Assert that every act is there whole or not at all, and every acknowledged one is; return those there are."""
    found = await database.fetch("SELECT id FROM organisations WHERE id <> 'org_default'")
    names = {row[0].removeprefix("org_") for row in found}
    bodies = await database.fetch("SELECT body FROM audit_events WHERE action = 'organisation.created'")
    audited = [json.loads(row[0])["target"]["id"].removeprefix("org_") for row in bodies]
    changes = await database.fetch("SELECT revision, id FROM changes WHERE kind = 'organisation' ORDER BY revision")
    claims = await database.fetch("SELECT key FROM idempotency_keys")
    assert sorted(audited) == sorted(names)
    assert sorted(row[1].removeprefix("org_") for row in changes) == sorted(names)
    assert {row[0] for row in claims} == names
    revisions = [row[0] for row in changes]
    assert revisions == list(range(revisions[0], revisions[0] + len(revisions))) if revisions else True
    if names:
        report = await verify_stored(database, ORGANISATION, PublicKeys([]))
        assert report.is_intact, report.faults
        assert report.events == len(names)
    lost = set(acknowledged) - names
    assert not lost, f"{len(lost)} acknowledged acts are lost, such as {sorted(lost)[0]}"
    return names
