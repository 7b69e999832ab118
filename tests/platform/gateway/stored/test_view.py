"""What organisations have made, as calls meet it: changed, switched off, broken, and pointed inside."""

import logging

import pytest
from tests.platform.gateway.conftest import make_request, read
from tests.platform.gateway.stored.conftest import CANARY, ORGANISATION, OTHER

from mainstay.inference import Failure, InferenceError
from mainstay.kit.errors import NotFoundError
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.gateway import Provider, ProviderKind, Router, Table, open_pools
from mainstay.platform.gateway.stored.records import DeploymentChanges, PriceSpec, ProviderChanges, TargetSpec
from mainstay.platform.gateway.stored.view import OrganisationTables
from mainstay.platform.identity.change_feed import ChangeFeed
from mainstay.platform.identity.organisations import DEFAULT_ORGANISATION_ID
from mainstay.testing.vendor import Reply, Vendor


@pytest.fixture
async def vendor():
    async with Vendor(Reply(chunks=6, delay_seconds=0.01), api_key=CANARY) as vendor:
        yield vendor


async def answer(gateway, name="big", organisation_id=ORGANISATION):
    return await gateway.router.resolve(name, organisation_id).answer(make_request())


async def failure(gateway, name="big", organisation_id=ORGANISATION):
    with pytest.raises(InferenceError) as caught:
        await answer(gateway, name, organisation_id)
    return caught.value


async def test_deployment_answers_with_the_sealed_key_for_its_organisation_alone(gateway, vendor):
    await gateway.provider(vendor.url)
    await gateway.deployment(prices=PriceSpec(input_per_million=2.0), description="Big")
    with pytest.raises(NotFoundError):
        gateway.router.resolve("big", ORGANISATION)
    await gateway.feed.refresh()
    assert b"scripted vendor" in (await answer(gateway)).body
    deployment = gateway.router.resolve("big", ORGANISATION)
    assert (deployment.price.input_per_million, deployment.description) == (2.0, "Big")
    for organisation in (OTHER, DEFAULT_ORGANISATION_ID):
        with pytest.raises(NotFoundError):
            gateway.router.resolve("big", organisation)


async def test_change_of_the_key_cuts_no_stream_and_holds_for_the_next_call(gateway, vendor):
    provider = await gateway.provider(vendor.url)
    await gateway.deployment()
    await gateway.feed.refresh()
    stream = await gateway.router.resolve("big", ORGANISATION).stream(make_request(stream=True))
    await gateway.providers.update(SYSTEM, ORGANISATION, provider.id, ProviderChanges(api_key="sk-wrong-0123456789"))
    await gateway.feed.refresh()
    assert len(await read(stream)) == 8
    assert (await failure(gateway)).failure is Failure.CREDENTIALS_REFUSED


async def test_unchanged_provider_keeps_its_connections(gateway, vendor):
    provider = await gateway.provider(vendor.url)
    await gateway.deployment()
    await gateway.feed.refresh()
    await answer(gateway)
    await gateway.deployment("other")
    await gateway.feed.refresh()
    await gateway.tables.reload()
    gateway.tables.rebuild()
    await answer(gateway, "other")
    assert vendor.accepted_connections == 1
    await gateway.deployments.delete(SYSTEM, ORGANISATION, (await _only(gateway, "big")).id)
    await gateway.deployments.delete(SYSTEM, ORGANISATION, (await _only(gateway, "other")).id)
    await gateway.providers.delete(SYSTEM, ORGANISATION, provider.id)
    await gateway.feed.refresh()
    await vendor.wait_until(lambda vendor: vendor.open_connections == 0)
    assert gateway.router.names(ORGANISATION) == []


async def test_models_are_made_once_and_forgotten_with_their_deployments(gateway, vendor):
    await gateway.provider(vendor.url)
    first = await gateway.deployment("first", targets=(TargetSpec(provider="acme", model="one"),))
    await gateway.deployment("second", targets=(TargetSpec(provider="acme", model="two"),))
    await gateway.feed.refresh()
    kept = gateway.router.resolve("second", ORGANISATION).target.model
    await gateway.deployments.delete(SYSTEM, ORGANISATION, first.id)
    await gateway.feed.refresh()
    assert gateway.router.resolve("second", ORGANISATION).target.model is kept
    (opened,) = gateway.tables._providers.values()
    assert opened.models == {"two": kept}


async def _only(gateway, name):
    from mainstay.kit.pages import PageRequest

    (found,) = (await gateway.deployments.list(ORGANISATION, PageRequest(), name=name)).items
    return found


async def test_what_is_switched_off_does_not_answer(gateway, vendor):
    provider = await gateway.provider(vendor.url)
    deployment = await gateway.deployment()
    await gateway.providers.update(SYSTEM, ORGANISATION, provider.id, ProviderChanges(is_enabled=False))
    await gateway.feed.refresh()
    error = await failure(gateway)
    assert (error.status, error.code, error.can_retry) == (503, "deployment_unavailable", False)
    assert "switched off" in error.message
    with pytest.raises(InferenceError, match="switched off"):
        await gateway.router.resolve("big", ORGANISATION).stream(make_request(stream=True))
    await gateway.deployments.update(SYSTEM, ORGANISATION, deployment.id, DeploymentChanges(is_enabled=False))
    await gateway.feed.refresh()
    with pytest.raises(NotFoundError):
        gateway.router.resolve("big", ORGANISATION)


async def test_target_that_can_be_called_stands_in_for_one_that_cannot(gateway, vendor):
    off = await gateway.provider(vendor.url, name="off")
    await gateway.provider(vendor.url)
    targets = (TargetSpec(provider="acme", model="m", priority=2), TargetSpec(provider="off", model="m", priority=1))
    await gateway.deployment(targets=targets)
    await gateway.feed.refresh()
    assert gateway.router.resolve("big", ORGANISATION).target.provider == "off"
    await gateway.providers.update(SYSTEM, ORGANISATION, off.id, ProviderChanges(is_enabled=False))
    await gateway.feed.refresh()
    assert gateway.router.resolve("big", ORGANISATION).target.provider == "acme"


async def test_credentials_that_do_not_open_stop_that_provider_alone(gateway, vendor, caplog):
    provider = await gateway.provider(vendor.url)
    await gateway.provider(vendor.url, name="whole")
    await gateway.deployment()
    await gateway.deployment("fine", targets=(TargetSpec(provider="whole", model="m"),))
    async with gateway.database.transaction() as transaction:
        await transaction.execute(
            "UPDATE providers SET credentials = (SELECT credentials FROM providers WHERE name = 'whole') "
            "WHERE id = :id",
            {"id": provider.id},
        )
    with caplog.at_level(logging.ERROR):
        await gateway.tables.reload()
    assert provider.id in caplog.text
    assert CANARY not in caplog.text
    assert "enter them again" in (await failure(gateway)).message
    assert await answer(gateway, "fine")


async def test_own_deployment_hides_the_installations_of_that_name(gateway, vendor):
    provider = Provider("declared", ProviderKind.OPENAI, vendor.url, api_key=CANARY)
    gateway.router.replace(Table(pools=open_pools([provider], kept={})))
    await gateway.deployment(
        organisation_id=DEFAULT_ORGANISATION_ID, targets=(TargetSpec(provider="declared", model="m"),)
    )
    await gateway.feed.refresh()
    assert await answer(gateway, "big", DEFAULT_ORGANISATION_ID)
    gateway.router.replace(Table())
    gateway.tables.rebuild()
    error = await failure(gateway, "big", DEFAULT_ORGANISATION_ID)
    assert "There is no provider 'declared' in mainstay.toml" in error.message


@pytest.mark.parametrize("allowed", [()])
async def test_name_that_leads_inside_is_refused_at_every_connection(gateway, vendor, allowed):
    gateway.names["rebind.example"] = ["93.184.216.34", "127.0.0.1"]
    await gateway.provider(f"http://rebind.example:{vendor.port}/v1")
    await gateway.deployment()
    await gateway.feed.refresh()
    error = await failure(gateway)
    assert (error.failure, error.status) == (Failure.FORBIDDEN_ADDRESS, 502)
    assert vendor.accepted_connections == 0


async def test_connection_goes_to_the_address_that_was_checked(gateway, vendor):
    gateway.names["named.example"] = ["127.0.0.1"]
    await gateway.provider(f"http://named.example:{vendor.port}/v1")
    await gateway.deployment()
    await gateway.feed.refresh()
    assert await answer(gateway)
    assert vendor.requests[-1].headers["host"] == f"named.example:{vendor.port}"


async def test_another_worker_finds_everything_in_the_database(gateway, vendor):
    await gateway.provider(vendor.url)
    await gateway.deployment()
    router = Router()
    tables = OrganisationTables(gateway.database, gateway.tables._sealer, router, gateway.tables._outbound)
    await ChangeFeed(gateway.database, [tables]).refresh()
    assert await router.resolve("big", ORGANISATION).answer(make_request())
    await tables.aclose()
