"""From settings to what the gateway routes by."""

from mainstay.platform.gateway import Router
from mainstay.server.targets import build_table
from mainstay.settings import Settings

CONFIGURATION = """
[[providers]]
name = "vendor"
kind = "openai"
base_url = "http://127.0.0.1:1/v1"
api_key = "sk-vendor"

[[deployments]]
name = "big"
targets = [{ provider = "vendor", model = "gpt-4.1" }]

[aliases]
"gpt-4o" = "gpt-4.1"
"gpt-4.1" = "big"
"""


def test_an_alias_of_an_alias_leads_to_the_deployment_at_its_end(tmp_path):
    (tmp_path / "mainstay.toml").write_text(CONFIGURATION)
    router = Router(build_table(Settings.load(tmp_path, {}), kept={}, local=None))
    assert router.names("org_a") == ["big", "gpt-4.1", "gpt-4o"]
    assert {router.resolve(name, "org_a").name for name in router.names("org_a")} == {"big"}


def test_what_the_file_says_of_a_deployment_is_known_to_the_router(tmp_path):
    more = """
[[deployments]]
name = "many"
description = "Two ways"
targets = [{ provider = "vendor", model = "b", priority = 2, weight = 3 }, { provider = "vendor", model = "a" }]
prices = { input_per_million = 2.0 }
"""
    (tmp_path / "mainstay.toml").write_text(CONFIGURATION + more)
    router = Router(build_table(Settings.load(tmp_path, {}), kept={}, local=None))
    found = router.resolve("many", "org_a")
    assert [(one.model_name, one.weight, one.priority) for one in found.targets] == [("a", 1, 0), ("b", 3, 2)]
    assert (found.description, found.price.input_per_million) == ("Two ways", 2.0)
    assert router.installed_target("vendor", "any").provider == "vendor"
