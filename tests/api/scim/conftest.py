"""A SCIM server on each database, and a directory that talks to it."""

from collections.abc import Iterator

import httpx2
import pytest
from tests.api.scim.serving import ScimServer, client_of, running


@pytest.fixture
def server(database_url: str) -> Iterator[ScimServer]:
    with running(database_url) as server:
        yield server


@pytest.fixture
def http(server: ScimServer) -> Iterator[httpx2.Client]:
    """The directory of the default organisation."""
    with client_of(server, server.token(), httpx2.Client) as client:
        yield client
