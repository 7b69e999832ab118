"""The store of providers: credentials that never come back, addresses that lead inside, two who write at once."""

import asyncio

import msgspec
import pytest
from tests.platform.gateway.stored.conftest import CANARY, ORGANISATION, OTHER, PUBLIC_URL

from mainstay.kit.errors import ConflictError, InvalidRequestError, NotFoundError, VersionMismatchError
from mainstay.kit.http import ForbiddenAddressError
from mainstay.kit.pages import PageRequest
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.gateway.stored import providers as module
from mainstay.platform.gateway.stored.records import NewProvider, ProviderChanges, ProviderTimeouts, TargetSpec


def decode(**members):
    body = {"name": "acme", "kind": "openai", "base_url": PUBLIC_URL} | members
    return msgspec.json.decode(msgspec.json.encode(body), type=NewProvider)


async def change(gateway, provider, organisation_id=ORGANISATION, expected_version=None, **changes):
    return await gateway.providers.update(
        SYSTEM, organisation_id, provider.id, ProviderChanges(**changes), expected_version=expected_version
    )


async def test_credentials_are_kept_sealed_and_only_their_traces_are_shown(gateway):
    made = await gateway.provider(headers={"x-gateway-key": CANARY})
    provider = await gateway.providers.get(ORGANISATION, made.id)
    assert provider == made
    assert provider.options.has_api_key
    assert provider.options.api_key_hint == f"…{CANARY[-4:]}"
    assert provider.options.header_names == ("x-gateway-key",)
    credentials = await gateway.providers.credentials(provider)
    assert (credentials.api_key, credentials.headers) == (CANARY, {"x-gateway-key": CANARY})
    rows = await gateway.database.fetch("SELECT * FROM providers")
    everything = repr(rows) + repr(provider) + repr(credentials) + repr(await gateway.audited())
    assert CANARY not in everything
    assert CANARY.encode() not in bytes(rows[0][5])


async def test_short_key_leaves_no_hint(gateway):
    provider = await gateway.provider(api_key="sk-short")
    assert (provider.options.has_api_key, provider.options.api_key_hint) == (True, None)


async def test_every_write_is_one_audit_event_without_secrets(gateway):
    provider = await gateway.provider()
    provider = await change(gateway, provider, api_key=CANARY + "2", is_enabled=False)
    await change(gateway, provider, is_enabled=False)
    await gateway.providers.delete(SYSTEM, ORGANISATION, provider.id)
    events = await gateway.audited()
    assert [event["action"] for event in events] == ["provider.created", "provider.updated", "provider.deleted"]
    assert events[1]["changed"]["credentials"] == ["changed", "changed"]
    assert events[1]["changed"]["is_enabled"] == [True, False]
    assert CANARY not in repr(events)


@pytest.mark.parametrize(
    ("members", "what"),
    [
        ({"name": "local"}, "means the models that run here"),
        ({"api_version": "2024-10-21"}, 'Only kind "azure"'),
        ({"api_key": "sk-\r\nx-evil: 1"}, "control character|no header can hold"),
        ({"api_key": "sk-é"}, "no header can hold"),
        ({"api_key": "sk-pasted "}, "a space"),
        ({"headers": {"Host": "evil"}}, "is set for each request"),
        ({"headers": {"x\r\ny": "1"}}, "no name of a header"),
        ({"headers": {"x": "1\r\nhost: evil"}}, "line break"),
        ({"base_url": "https://user:pass@h/v1"}, "credentials"),
        ({"base_url": "https://h/v1?key=1"}, "query"),
        ({"base_url": "ftp://h/v1"}, "http"),
        ({"base_url": "http://good\\@127.0.0.1/"}, "holds"),
        ({"base_url": "https://h/v1\n"}, "control character"),
        ({"name": "acme\n"}, "control character"),
        ({"name": "a b"}, "regex"),
        ({"name": ""}, "regex"),
        ({"kind": "gopher"}, "enum"),
        ({"max_connections": 0}, ">= 1"),
        ({"timeouts": {"connect_seconds": -1}}, "> 0"),
        ({"timeouts": {"unknown": 1}}, "unknown"),
        ({"is_admin": True}, "unknown field"),
        ({"api_version": "2024-10-21\n", "kind": "azure"}, "control character"),
    ],
)
async def test_what_cannot_be_is_refused_with_its_reason(gateway, members, what):
    with pytest.raises((InvalidRequestError, msgspec.ValidationError), match=what):
        await gateway.providers.create(SYSTEM, ORGANISATION, decode(**members))
    assert await gateway.audited() == []


@pytest.mark.parametrize("allowed", [()])
@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/v1", "http://[::1]/v1", "http://169.254.169.254/latest", "http://inside/v1"]
)
async def test_address_that_leads_inside_is_refused_when_it_is_entered(gateway, url, allowed):
    gateway.names["inside"] = ["10.0.0.7"]
    with pytest.raises(ForbiddenAddressError, match="allowed_networks") as caught:
        await gateway.provider(url)
    assert (caught.value.status, caught.value.code) == (400, "forbidden_address")
    assert "10.0.0.7" not in caught.value.message


async def test_name_that_nobody_knows_yet_may_be_entered(gateway):
    assert (await gateway.provider("https://not-yet.example/v1/")).base_url == "https://not-yet.example/v1"


async def test_name_is_taken_once_in_each_organisation(gateway):
    await gateway.provider()
    with pytest.raises(ConflictError, match="'acme' already"):
        await gateway.provider()
    await gateway.provider(organisation_id=OTHER)


async def test_nobody_reaches_another_organisations_provider(gateway):
    provider = await gateway.provider()
    for attempt in (
        gateway.providers.get(OTHER, provider.id),
        change(gateway, provider, OTHER, is_enabled=False),
        gateway.providers.delete(SYSTEM, OTHER, provider.id),
        gateway.providers.get(ORGANISATION, "prov_\x00"),
    ):
        with pytest.raises(NotFoundError, match="There is no provider"):
            await attempt
    assert (await gateway.providers.list(OTHER, PageRequest())).items == []
    assert (await gateway.providers.list(ORGANISATION, PageRequest(), name="acme")).items == [provider]
    assert (await gateway.providers.list(ORGANISATION, PageRequest(), name="x\x00")).items == []


@pytest.mark.parametrize("url", ["https://93.184.216.35/v1", "http://93.184.216.34/v1", "https://93.184.216.34:444/v1"])
async def test_credentials_never_follow_to_another_server(gateway, url):
    provider = await gateway.provider(headers={"x-key": "1"})
    with pytest.raises(InvalidRequestError, match="api_key and headers"):
        await change(gateway, provider, base_url=url)
    with pytest.raises(InvalidRequestError, match="leads to another server than the headers"):
        await change(gateway, provider, base_url=url, api_key="sk-new")
    moved = await change(gateway, provider, base_url=url, api_key=None, headers={})
    assert (moved.base_url, moved.has_credentials) == (url, False)


async def test_another_path_of_the_same_server_keeps_the_credentials(gateway):
    provider = await gateway.provider()
    moved = await change(gateway, provider, base_url="https://93.184.216.34:443/openai/v1/")
    assert moved.base_url == "https://93.184.216.34/openai/v1"
    assert (await gateway.providers.credentials(moved)).api_key == CANARY


async def test_change_keeps_what_it_does_not_name(gateway):
    provider = await gateway.provider(headers={"x-key": "1"}, timeouts=ProviderTimeouts(connect_seconds=3))
    changed = await change(gateway, provider, max_connections=7)
    assert changed.options.max_connections == 7
    assert changed.options.timeouts.connect_seconds == 3
    credentials = await gateway.providers.credentials(changed)
    assert (credentials.api_key, credentials.headers) == (CANARY, {"x-key": "1"})
    assert changed.version == 2


async def test_old_version_is_not_overwritten(gateway):
    provider = await gateway.provider()
    await change(gateway, provider, is_enabled=False, expected_version=1)
    with pytest.raises(VersionMismatchError):
        await change(gateway, provider, is_enabled=True, expected_version=1)
    with pytest.raises(VersionMismatchError):
        await gateway.providers.delete(SYSTEM, ORGANISATION, provider.id, expected_version=1)


async def test_two_who_change_at_once_both_have_their_way(gateway):
    provider = await gateway.provider()
    await asyncio.gather(
        change(gateway, provider, max_connections=7), change(gateway, provider, api_key="sk-of-the-second-0123456789")
    )
    after = await gateway.providers.get(ORGANISATION, provider.id)
    assert (after.options.max_connections, after.version) == (7, 3)
    assert (await gateway.providers.credentials(after)).api_key == "sk-of-the-second-0123456789"


async def test_provider_with_deployments_is_not_deleted(gateway):
    provider = await gateway.provider()
    await gateway.deployment("big", targets=(TargetSpec(provider="acme", model="m"),))
    with pytest.raises(ConflictError, match="used by deployments: big"):
        await gateway.providers.delete(SYSTEM, ORGANISATION, provider.id)


async def test_there_are_only_so_many_providers(gateway, monkeypatch):
    monkeypatch.setattr(module, "PROVIDERS_MAX", 2)
    for name in ("a", "b"):
        await gateway.provider(name=name)
    with pytest.raises(ConflictError, match="2 providers already"):
        await gateway.provider(name="c")
