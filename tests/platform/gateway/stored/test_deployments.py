"""The store of deployments: targets that are there, names that are free, nobody else's."""

import msgspec
import pytest
from tests.platform.gateway.stored.conftest import ORGANISATION, OTHER

from mainstay.kit.errors import ConflictError, InvalidRequestError, NotFoundError, VersionMismatchError
from mainstay.kit.pages import PageRequest
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.gateway import Table
from mainstay.platform.gateway.stored import deployments as module
from mainstay.platform.gateway.stored.records import DeploymentChanges, NewDeployment, PriceSpec, TargetSpec
from mainstay.platform.identity.organisations import DEFAULT_ORGANISATION_ID


async def change(gateway, deployment, organisation_id=ORGANISATION, expected_version=None, **changes):
    return await gateway.deployments.update(
        SYSTEM, organisation_id, deployment.id, DeploymentChanges(**changes), expected_version=expected_version
    )


async def test_deployment_is_what_was_asked_for(gateway):
    await gateway.provider()
    prices = PriceSpec(input_per_million=2.5, currency="EUR")
    made = await gateway.deployment(prices=prices, description="Über\nzwei Zeilen")
    assert await gateway.deployments.get(ORGANISATION, made.id) == made
    assert (made.prices, made.targets[0].model, made.version) == (prices, "m", 1)


async def test_target_must_be_at_a_provider_of_the_organisation(gateway):
    await gateway.provider(organisation_id=OTHER)
    for provider in ("acme", "local", "of-the-file"):
        with pytest.raises(InvalidRequestError, match=f"no provider '{provider}'; it has: none yet") as caught:
            await gateway.deployment(targets=(TargetSpec(provider=provider, model="m"),))
        assert caught.value.param == "targets[0].provider"
    assert await gateway.audited() == []


async def test_what_runs_here_is_for_the_organisation_of_the_installation(gateway):
    gateway.router.replace(Table(local=lambda _: object()))
    here = (TargetSpec(provider="local", model="tiny"),)
    await gateway.deployment(organisation_id=DEFAULT_ORGANISATION_ID, targets=here)
    with pytest.raises(InvalidRequestError, match="no provider 'local'"):
        await gateway.deployment(targets=here)
    gateway.router.replace(Table())
    with pytest.raises(InvalidRequestError, match="No model runs here, 'tiny' neither"):
        await gateway.deployment("other", organisation_id=DEFAULT_ORGANISATION_ID, targets=here)


@pytest.mark.parametrize(
    "members",
    [
        {"targets": []},
        {"targets": [{"provider": "acme", "model": "m"}] * 65},
        {"targets": [{"provider": "acme", "model": ""}]},
        {"targets": [{"provider": "acme", "model": "m\u0000"}]},
        {"targets": [{"provider": "acme", "model": "m", "weight": 0}]},
        {"targets": [{"provider": "acme", "model": "m", "api_base": "http://evil"}]},
        {"description": "\u0000"},
        {"description": "x" * 1001},
        {"prices": {"input_per_million": -1}},
        {"prices": {"input_per_million": 1, "currency": "eur"}},
        {"name": "a/../b\n"},
        {"organisation_id": "org_b"},
    ],
)
def test_what_cannot_be_is_refused(members):
    body = {"name": "big", "targets": [{"provider": "acme", "model": "m"}]} | members
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(body), type=NewDeployment)


async def test_name_is_taken_once_in_each_organisation(gateway):
    for organisation in (ORGANISATION, OTHER):
        await gateway.provider(organisation_id=organisation)
        await gateway.deployment(organisation_id=organisation)
    with pytest.raises(ConflictError, match="'big' already"):
        await gateway.deployment()


async def test_nobody_reaches_another_organisations_deployment(gateway):
    await gateway.provider()
    deployment = await gateway.deployment()
    for attempt in (
        gateway.deployments.get(OTHER, deployment.id),
        change(gateway, deployment, OTHER, is_enabled=False),
        gateway.deployments.delete(SYSTEM, OTHER, deployment.id),
        gateway.deployments.get(ORGANISATION, "dep_\x00"),
    ):
        with pytest.raises(NotFoundError, match="There is no deployment"):
            await attempt
    assert (await gateway.deployments.list(OTHER, PageRequest())).items == []


async def test_changes_are_written_with_their_event_and_nothing_is_without_one(gateway):
    await gateway.provider()
    deployment = await gateway.deployment()
    assert await change(gateway, deployment, is_enabled=True) == deployment
    changed = await change(gateway, deployment, description="new", prices=PriceSpec(input_per_million=1))
    assert changed.version == 2
    with pytest.raises(VersionMismatchError):
        await change(gateway, deployment, description="newer", expected_version=1)
    with pytest.raises(InvalidRequestError, match="no provider 'gone'"):
        await change(gateway, deployment, targets=(TargetSpec(provider="gone", model="m"),))
    await gateway.deployments.delete(SYSTEM, ORGANISATION, deployment.id, expected_version=2)
    events = (await gateway.audited())[1:]
    assert [event["action"] for event in events] == ["deployment.created", "deployment.updated", "deployment.deleted"]
    assert events[1]["changed"]["description"] == ["", "new"]
    assert set(events[1]["changed"]) == {"description", "prices"}


async def test_pages_are_cut_by_id(gateway):
    await gateway.provider()
    for number in range(5):
        await gateway.deployment(f"d{number}")
    first = await gateway.deployments.list(ORGANISATION, PageRequest(limit=3))
    rest = await gateway.deployments.list(ORGANISATION, PageRequest(limit=3, after=first.items[-1].id))
    assert [one.name for one in first.items + rest.items] == [f"d{number}" for number in range(5)]
    assert (first.has_more, rest.has_more) == (True, False)


async def test_there_are_only_so_many_deployments(gateway, monkeypatch):
    monkeypatch.setattr(module, "DEPLOYMENTS_MAX", 1)
    await gateway.provider()
    await gateway.deployment()
    with pytest.raises(ConflictError, match="1 deployments already"):
        await gateway.deployment("other")


async def test_deployment_that_takes_the_name_of_a_deleted_one_is_not_shared_with_its_guests(gateway):
    await gateway.provider()
    deployment = await gateway.deployment()
    insert = (
        "INSERT INTO grants (id, organisation_id, resource_type, resource_id, principal_id, level, created_by, "
        "created_at_ms) VALUES (:id, :organisation_id, 'deployment', :name, '', 'viewer', 'someone', 0)"
    )
    async with gateway.database.transaction() as transaction:
        for organisation_id in (ORGANISATION, OTHER):
            await transaction.execute(
                "INSERT INTO organisations (id, name, created_at_ms) VALUES (:id, 'Org', 0) ON CONFLICT DO NOTHING",
                {"id": organisation_id},
            )
        for organisation_id, name in (
            (ORGANISATION, deployment.name),
            (ORGANISATION, "else"),
            (OTHER, deployment.name),
        ):
            values = {"id": f"grant_{organisation_id}_{name}", "organisation_id": organisation_id, "name": name}
            await transaction.execute(insert, values)
    await gateway.deployments.delete(SYSTEM, ORGANISATION, deployment.id)
    left = await gateway.database.fetch("SELECT organisation_id, resource_id FROM grants ORDER BY id")
    assert sorted(left) == sorted([(ORGANISATION, "else"), (OTHER, deployment.name)])
    told = await gateway.database.fetch("SELECT id FROM changes WHERE kind = 'grants'")
    assert told == [(f"deployment:{deployment.name}",)]
