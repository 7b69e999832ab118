"""What the tests of limits and budgets share: a clock, acts, and a small organisation."""

import pytest

from mainstay.kit.database import Database
from mainstay.platform.audit.ledger import Ledger
from mainstay.platform.identity.acts import Acts
from mainstay.testing.clock import StandingClock

ORGANISATION = "org_default"


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def acts(clock: StandingClock) -> Acts:
    return Acts(Ledger(clock), clock)


@pytest.fixture
async def town(database: Database) -> Database:
    """A user, a service account, a group and a key, and another organisation with a user."""
    people = [
        ("user_1", ORGANISATION, "user"),
        ("sa_1", ORGANISATION, "service_account"),
        ("group_1", ORGANISATION, "group"),
        ("user_other", "org_other", "user"),
    ]
    async with database.transaction() as transaction:
        await transaction.execute(
            "INSERT INTO organisations (id, name, created_at_ms) VALUES ('org_other', 'Other', 0)"
        )
        for id_, organisation_id, kind in people:
            await transaction.execute(
                "INSERT INTO principals (id, organisation_id, type, name, status, created_at_ms, updated_at_ms, "
                "version) VALUES (:id, :organisation_id, :kind, :id, 'active', 0, 0, 1)",
                {"id": id_, "organisation_id": organisation_id, "kind": kind},
            )
        await transaction.execute(
            "INSERT INTO api_keys (id, organisation_id, project_id, name, digest, pepper_id, hint, scopes, "
            "created_at_ms, revision) VALUES ('key_1', 'org_default', 'proj_default', 'k', :digest, 'p', 'h', '[]', "
            "0, 0)",
            {"digest": b"d"},
        )
    return database
