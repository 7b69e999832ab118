"""One running server for all contract tests: models that run here, and a scripted vendor in a process of its own."""

import subprocess
import sys

import pytest

from mainstay.testing.installation import Installation

VENDOR_KEY = "vendor-key-that-nobody-may-see"
CHAT = "qwen2.5-coder-0.5b-instruct"
SMALL = "smollm2-135m-instruct"
FAULTS = {
    "retired": "fault:status@404",
    "overloaded": "fault:status@503",
    "limited": "fault:status@429",
    "unauthorized": "fault:status@401",
    "broken": "fault:status@500",
    "refusing": "fault:refuse",
    "cut": "fault:close@700",
    "reset": "fault:reset@700",
    "html": "fault:html",
    "wrong-json": "fault:wrong_json",
    "wrong-type": "fault:wrong_type",
    "empty": "fault:empty",
    "malformed": "fault:malformed@2",
    "error-event": "fault:error_event@2",
    "stalled": "fault:stall@2",
    "silent": "fault:silent",
    "no-done": "fault:unfinished",
}


def _configuration(vendor_port: int) -> str:
    lines = [
        "[models]",
        f'default = "{CHAT}"',
        "slots = 4",
        "[server]",
        'region = "test-site"',
        "max_body_bytes = 33554432",
        "[[providers]]",
        'name = "vendor"',
        'kind = "openai"',
        f'base_url = "http://127.0.0.1:{vendor_port}/v1"',
        f'api_key = "{VENDOR_KEY}"',
        "timeouts = { idle_seconds = 2, first_byte_seconds = 3 }",
        "[[providers]]",
        'name = "azure-vendor"',
        'kind = "azure"',
        f'base_url = "http://127.0.0.1:{vendor_port}"',
        'api_version = "2024-10-21"',
        f'api_key = "{VENDOR_KEY}"',
        "[[providers]]",
        'name = "nobody"',
        'kind = "openai"',
        'base_url = "http://127.0.0.1:1/v1"',
    ]
    targets = {
        "chat": ("local", CHAT),
        "small": ("local", SMALL),
        "embeddings": ("local", "all-minilm-l6-v2"),
        "upstream": ("vendor", "vendor-model"),
        "upstream-azure": ("azure-vendor", "their deployment"),
        "name with/odd characters": ("vendor", "odd"),
        "unreachable": ("nobody", "any"),
    } | {name: ("vendor", model) for name, model in FAULTS.items()}
    for name, (provider, model) in targets.items():
        if name == "name with/odd characters":
            name = "odd/name"
        lines += [
            "[[deployments]]",
            f'name = "{name}"',
            f'targets = [{{ provider = "{provider}", model = "{model}" }}]',
        ]
        if name == "upstream":
            lines.append("prices = { input_per_million = 2.0, output_per_million = 8.0 }")
    lines += ["[aliases]", '"gpt-4o" = "upstream"']
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def vendor_port():
    process = subprocess.Popen(
        [sys.executable, "-m", "mainstay.testing.vendor", "--port", "0", "--print-port", "--api-key", VENDOR_KEY],
        stdout=subprocess.PIPE,
        text=True,
    )
    yield int(process.stdout.readline())
    process.terminate()
    process.wait(10)
    process.stdout.close()


@pytest.fixture(scope="session")
def server(vendor_port):
    with Installation(_configuration(vendor_port)) as installation:
        yield installation


@pytest.fixture(scope="session")
def api_key(server):
    return server.create_key("--scopes", "inference,admin")


@pytest.fixture(scope="session")
def url(server):
    return server.url
