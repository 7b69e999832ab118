"""An office for the tests of administration, on each database."""

import pytest
from tests.api.admin.office import Office

from mainstay.kit.database import Database


@pytest.fixture
async def office(database: Database) -> Office:
    office = Office(database)
    await office.refresh()
    return office
