"""A scripted vendor, and models that call it."""

from collections.abc import Callable

import msgspec
import pytest
import uvloop

from mainstay.inference import Operation, Request
from mainstay.kit.http import Timeouts
from mainstay.platform.gateway import OpenAIModel, Provider, ProviderKind, open_pools
from mainstay.platform.gateway import open_model as open_model_of
from mainstay.testing.vendor import Vendor

KEY = "sk-vendor-secret-0123456789"
PATIENT = Timeouts(connect_seconds=10, first_byte_seconds=20, idle_seconds=20)
QUICK = Timeouts(connect_seconds=10, first_byte_seconds=0.3, idle_seconds=0.3)


def pytest_asyncio_loop_factories(config, item):
    return {"uvloop": uvloop.new_event_loop}


def make_request(*, operation: Operation = Operation.CHAT, wants_usage: bool = False, **fields: object) -> Request:
    """A call as serving hands it to a model."""
    body = msgspec.json.encode({"model": "callers-name", "messages": [{"role": "user", "content": "hi"}], **fields})
    return Request(
        operation=operation,
        body=body,
        fields=msgspec.json.decode(body, type=dict[str, msgspec.Raw]),
        is_stream=bool(fields.get("stream")),
        request_id="req_1",
        wants_usage=wants_usage,
    )


@pytest.fixture
async def vendor():
    async with Vendor(api_key=KEY) as vendor:
        yield vendor


@pytest.fixture
async def open_model():
    """Make a model of a vendor: `open_model(vendor, "name", kind=..., timeouts=...)`."""
    pools = []

    def make(vendor: Vendor, name: str = "m", **options: object) -> OpenAIModel:
        kind = options.get("kind", ProviderKind.OPENAI)
        base_url = vendor.url if kind is ProviderKind.OPENAI else vendor.root_url
        settings = {"kind": kind, "base_url": base_url, "api_key": KEY, "timeouts": PATIENT} | options
        provider = Provider(name="acme", **settings)
        pool = open_pools([provider], kept={})[provider]
        pools.append(pool)
        return open_model_of(provider, name, pool)

    yield make
    for pool in pools:
        await pool.aclose()


Opener = Callable[..., OpenAIModel]


async def read(stream) -> list[bytes]:
    """Read a stream to its end."""
    async with stream:
        return [chunk for batch in [batch async for batch in stream] for chunk in batch]
