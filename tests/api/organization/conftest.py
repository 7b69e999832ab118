"""An office that speaks OpenAI's `/v1/organization`, and OpenAI's own client."""

from collections.abc import AsyncIterator

import pytest
from openai import AsyncOpenAI
from tests.api.admin.office import OPERATOR, Office

from mainstay.api.organization.groups import organization_routes
from mainstay.api.organization.parts import Parts
from mainstay.kit.database import Database
from mainstay.platform.identity.held_roles import HeldRoles
from mainstay.platform.identity.role_exchange import RoleExchange


def parts_of(office: Office) -> Parts:
    return Parts(
        database=office.database,
        projects=office.projects,
        users=office.users,
        accounts=office.accounts,
        exchange=RoleExchange(office.database, office.acts, office.clock),
        held_roles=HeldRoles(office.database, office.clock),
        writing=office.writing,
        giving=office.giving,
        visibility=office.visibility,
        authority=office.authority,
        idempotency=office.idempotency,
    )


@pytest.fixture
async def office(database: Database) -> Office:
    office = Office(database, more_routes=lambda office: organization_routes(parts_of(office)))
    await office.refresh()
    return office


def client_of(office: Office, secret: str = OPERATOR) -> AsyncOpenAI:
    return AsyncOpenAI(
        api_key=secret,
        admin_api_key=secret,
        base_url="http://mainstay.test/v1",
        http_client=office.http(None),
        max_retries=0,
    )


@pytest.fixture
async def openai(office: Office) -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's client with the operator's key."""
    async with client_of(office) as client:
        yield client
