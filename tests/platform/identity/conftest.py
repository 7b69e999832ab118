"""What the tests of identity share: a clock, acts, and a second organisation."""

import pytest

from mainstay.kit.database import Database
from mainstay.platform.audit.ledger import Ledger
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.organisations import Tenant
from mainstay.testing.clock import StandingClock

OTHER = Tenant("org_other", "proj_other")


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def acts(clock: StandingClock) -> Acts:
    return Acts(Ledger(clock), clock)


@pytest.fixture
async def other_tenant(database: Database) -> Tenant:
    """A second organisation with a project."""
    async with database.transaction() as transaction:
        await transaction.execute(
            "INSERT INTO organisations (id, name, created_at_ms) VALUES ('org_other', 'Other', 0)"
        )
        await transaction.execute(
            "INSERT INTO projects (organisation_id, id, name, created_at_ms) "
            "VALUES ('org_other', 'proj_other', 'Other', 0)"
        )
    return OTHER
