"""Names, aliases, and tables replaced under open streams."""

import pytest
from tests.platform.gateway.conftest import make_request, read

from mainstay.inference import InferenceError
from mainstay.kit.errors import ConfigurationError, NotFoundError
from mainstay.platform.gateway import Deployment, OpenAIModel, Provider, ProviderKind, Router, Table, Target, open_pools
from mainstay.platform.metering.prices import Price
from mainstay.testing.vendor import Reply, Vendor


def build(provider, *, kept=None, name="chat", aliases=None):
    pools = open_pools([provider], kept=kept or {})
    model = OpenAIModel(provider, "m", pools[provider])
    deployment = Deployment(name, (Target(provider.name, "m", model),))
    return Table({name: deployment}, aliases or {}, pools)


@pytest.fixture
async def slow_vendor():
    async with Vendor(Reply(chunks=6, delay_seconds=0.03)) as vendor:
        yield vendor


def provider_of(vendor, **options):
    return Provider("acme", ProviderKind.OPENAI, vendor.url, **options)


async def test_names_and_aliases_resolve_to_deployments(vendor):
    router = Router(build(provider_of(vendor), aliases={"gpt-4o": "chat", "dangling": "nothing"}))
    assert router.resolve("chat", "org_a") is router.resolve("gpt-4o", "org_a")
    assert router.resolve("chat", "org_a").target.provider == "acme"
    assert router.names("org_a") == ["chat", "dangling", "gpt-4o"]


@pytest.mark.parametrize("name", ["nope", "", "dangling", "x" * 10_000])
async def test_an_unknown_name_is_not_found_with_the_code_that_clients_know(vendor, name):
    router = Router(build(provider_of(vendor), aliases={"dangling": "nothing"}))
    with pytest.raises(NotFoundError, match="mainstay deployments list") as caught:
        router.resolve(name, "org_a")
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")
    assert f"`{name[:100]}" in caught.value.message
    assert len(caught.value.message) < 300


async def test_an_organisations_own_deployment_comes_first_and_is_nobody_elses(vendor):
    router = Router(build(provider_of(vendor), aliases={"gpt-4o": "chat"}))
    own = {name: Deployment(name, (Target("theirs", "m", None),)) for name in ("chat", "gpt-4o", "secret")}
    router.replace_own({"org_a": own})
    assert [router.resolve(name, "org_a") for name in own] == list(own.values())
    assert router.names("org_a") == ["chat", "gpt-4o", "secret"]
    assert router.names("org_b") == ["chat", "gpt-4o"]
    assert router.resolve("gpt-4o", "org_b").target.provider == "acme"
    with pytest.raises(NotFoundError):
        router.resolve("secret", "org_b")
    router.replace_own({})
    assert router.resolve("chat", "org_a").target.provider == "acme"


async def test_a_target_of_the_installation_is_a_provider_or_a_model_that_runs_here(vendor):
    router = Router(build(provider_of(vendor)))
    assert router.installed_target("acme", "any").model_name == "any"
    for provider in ("local", "nobody"):
        with pytest.raises(NotFoundError):
            router.installed_target(provider, "any")


async def test_a_deployment_answers_as_its_target_does(vendor):
    router = Router(build(provider_of(vendor, api_key="sk-wrong-key")))
    with pytest.raises(InferenceError):
        await router.resolve("chat", "org_a").answer(make_request())
    await router.aclose()


async def test_replacing_the_table_cuts_no_stream(slow_vendor):
    router = Router(build(provider_of(slow_vendor)))
    stream = await router.resolve("chat", "org_a").stream(make_request(stream=True))
    first = await anext(aiter(stream))
    router.replace(build(provider_of(slow_vendor, headers=(("x", "new"),)), name="other"))
    with pytest.raises(NotFoundError):
        router.resolve("chat", "org_a")
    rest = await read(stream)
    assert len(first) + len(rest) == 8
    await slow_vendor.wait_until(lambda vendor: vendor.open_connections == 0)
    await router.aclose()


async def test_a_call_that_was_resolved_before_a_reload_still_works(vendor):
    router = Router(build(provider_of(vendor, api_key="sk-vendor-secret-0123456789")))
    deployment = router.resolve("chat", "org_a")
    router.replace(Table())
    assert await deployment.answer(make_request())


async def test_unchanged_providers_keep_their_connections(slow_vendor):
    provider = provider_of(slow_vendor)
    router = Router(build(provider))
    await router.resolve("chat", "org_a").answer(make_request())
    router.replace(build(provider_of(slow_vendor), kept=router.pools))
    await router.resolve("chat", "org_a").answer(make_request())
    assert slow_vendor.accepted_connections == 1
    await router.aclose()


def test_a_base_url_that_is_none_is_a_configuration_error():
    with pytest.raises(ConfigurationError, match="http"):
        open_pools([Provider("p", ProviderKind.OPENAI, "acme.example/v1")], kept={})


def test_currencies_are_those_of_what_an_organisation_can_call():
    euro, dollar = Price(1.0, currency="EUR"), Price(1.0, currency="USD")
    router = Router(Table({"a": Deployment("a", (), euro), "b": Deployment("b", (), dollar), "c": Deployment("c", ())}))
    router.replace_own({"org_own": {"a": Deployment("a", (), Price(1.0, currency="CHF"))}})
    assert router.currencies("org_other") == ["EUR", "USD"]
    assert router.currencies("org_own") == ["CHF", "USD"]
