"""A house with a door for every identity provider, and a provider that does as it is told."""

from collections.abc import AsyncIterator

import pytest
from tests.platform.identity.oidc.house import House, build_house
from tests.platform.identity.oidc.mock_provider import MockProvider, Signer, providing

from mainstay.kit.database import Database
from mainstay.testing.clock import StandingClock


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer()


@pytest.fixture(scope="session")
def stranger() -> Signer:
    """Somebody else's key that calls itself as the provider's."""
    return Signer()


@pytest.fixture
async def house(database: Database, clock: StandingClock) -> House:
    return await build_house(database, clock)


@pytest.fixture
async def mock(signer: Signer, clock: StandingClock) -> AsyncIterator[MockProvider]:
    async with providing(signer, clock.wall) as provider:
        yield provider
